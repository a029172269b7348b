//! Why connections are closed or refused, and requests refused.

use std::sync::atomic::Ordering;

use hivemind_shared::sync::AtomicWord;

/// Why a connection was closed or refused by meshd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It was the one that was idle for longest when there was no room for another.
    Displaced,
    /// It was refused: there was no room, and every other connection was in use.
    Full,
    /// The beginning of HTTP/2 or the head of a request did not come in time.
    HeaderTimeout,
    /// The peer did not read an answer in time.
    WriteTimeout,
    /// Too many bytes were buffered for all connections together, and it had some of them for longest.
    BufferedBytes,
}

impl Cause {
    /// All of them, in order.
    pub const ALL: [Self; 5] = [
        Self::Displaced,
        Self::Full,
        Self::HeaderTimeout,
        Self::WriteTimeout,
        Self::BufferedBytes,
    ];

    /// Its name among the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Displaced => "displaced",
            Self::Full => "full",
            Self::HeaderTimeout => "header_timeout",
            Self::WriteTimeout => "write_timeout",
            Self::BufferedBytes => "buffered_bytes",
        }
    }
}

/// Why a request was refused before it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its body did not come in time.
    BodyTimeout,
    /// Its connection had too many bytes of requests and answers already.
    ConnectionBytes,
}

impl Refusal {
    /// All of them, in order.
    pub const ALL: [Self; 2] = [Self::BodyTimeout, Self::ConnectionBytes];

    /// Its name among the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BodyTimeout => "body_timeout",
            Self::ConnectionBytes => "connection_bytes",
        }
    }
}

/// Numbers since the start, one for each of `N` causes.
#[derive(Debug)]
pub(super) struct Counts<const N: usize>([AtomicWord; N]);

impl<const N: usize> Default for Counts<N> {
    fn default() -> Self {
        Self([const { AtomicWord::new(0) }; N])
    }
}

impl<const N: usize> Counts<N> {
    pub(super) fn add(&self, place: usize) {
        // Relaxed: a number that is only shown.
        if let Some(count) = self.0.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn get(&self, place: usize) -> u64 {
        self.0
            .get(place)
            .map_or(0, |count| count.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_in_their_own_places() {
        for (place, cause) in Cause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, place);
        }
        for (place, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal as usize, place);
        }
    }
}
