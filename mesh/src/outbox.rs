//! Datagrams on their way out.

use std::net::SocketAddr;

/// Sealed datagrams to send; one may go to several peers. Keep it and hand it in again: its memory is
/// used again.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    to: Vec<SocketAddr>,
    datagrams: Vec<Ends>,
}

/// Where a datagram's bytes and receivers end; they begin where those of the one before end.
#[derive(Clone, Copy, Debug)]
struct Ends {
    bytes: usize,
    to: usize,
}

impl Outbox {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a datagram for each of `to`. `write` appends its bytes to the buffer it gets, and must leave
    /// alone what is in there.
    pub fn push<E>(
        &mut self,
        to: impl IntoIterator<Item = SocketAddr>,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.bytes.len();
        if let Err(error) = write(&mut self.bytes) {
            self.bytes.truncate(start);
            return Err(error);
        }
        self.to.extend(to);
        self.datagrams.push(Ends {
            bytes: self.bytes.len(),
            to: self.to.len(),
        });
        Ok(())
    }

    /// Every datagram with its receivers, in the order they were added.
    pub fn datagrams(&self) -> impl Iterator<Item = (&[u8], &[SocketAddr])> {
        let mut start = Ends { bytes: 0, to: 0 };
        self.datagrams.iter().map(move |&end| {
            let from = std::mem::replace(&mut start, end);
            (
                &self.bytes[from.bytes..end.bytes],
                &self.to[from.to..end.to],
            )
        })
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// Forgets everything, and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.to.clear();
        self.datagrams.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_come_out_as_they_went_in() {
        let [a, b]: [SocketAddr; 2] = [([127, 0, 0, 1], 1).into(), ([127, 0, 0, 1], 2).into()];
        let mut outbox = Outbox::new();
        let write = |bytes: &'static [u8]| {
            move |buffer: &mut Vec<u8>| {
                buffer.extend_from_slice(bytes);
                Ok::<(), ()>(())
            }
        };
        outbox.push([a, b], write(b"both")).unwrap();
        outbox
            .push([a], |buffer| {
                buffer.extend_from_slice(b"half a datagram");
                Err(())
            })
            .unwrap_err();
        outbox.push([b], write(b"one")).unwrap();
        let sent: Vec<_> = outbox.datagrams().collect();
        assert_eq!(
            sent,
            [(b"both".as_slice(), [a, b].as_slice()), (b"one", &[b])]
        );
        outbox.clear();
        assert!(outbox.is_empty());
    }
}
