//! What the membership wants said and has learned.

use std::net::SocketAddr;

use super::Event;

/// Payloads to send and events. Keep it and hand it in again: its memory is used again.
#[derive(Debug, Default)]
pub struct Output {
    bytes: Vec<u8>,
    /// Each with the end of its bytes; they begin where those of the one before end.
    ends: Vec<(SocketAddr, usize)>,
    /// What happened, in this order.
    pub events: Vec<Event>,
}

impl Output {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every payload with its receiver, in the order they were made.
    pub fn messages(&self) -> impl ExactSizeIterator<Item = (SocketAddr, &[u8])> {
        let mut start = 0;
        self.ends.iter().map(move |&(to, end)| {
            let from = std::mem::replace(&mut start, end);
            (to, &self.bytes[from..end])
        })
    }

    /// Forgets everything, and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.events.clear();
    }

    pub(super) fn push(&mut self, to: SocketAddr, payload: &[u8]) {
        self.bytes.extend_from_slice(payload);
        self.ends.push((to, self.bytes.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_come_out_as_they_went_in() {
        let [a, b]: [SocketAddr; 2] = [([127, 0, 0, 1], 1).into(), ([127, 0, 0, 1], 2).into()];
        let mut output = Output::new();
        output.push(a, b"one");
        output.push(b, b"");
        output.push(a, b"three");
        let sent: Vec<_> = output.messages().collect();
        assert_eq!(
            sent,
            [(a, b"one".as_slice()), (b, b""), (a, b"three".as_slice())]
        );
        output.clear();
        assert_eq!(output.messages().len(), 0);
    }
}
