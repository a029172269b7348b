//! The bytes of datagrams under way. Memory is used again and again, and one datagram to many receivers
//! is kept once.

/// Bytes of datagrams, each with the number of arrivals still to come.
#[derive(Clone, Debug, Default)]
pub struct Payloads {
    entries: Vec<Entry>,
    free: Vec<usize>,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    bytes: Vec<u8>,
    arrivals: u32,
}

impl Payloads {
    /// Keeps a datagram's bytes and says where. They stay until as many [`Self::arrive`] as
    /// [`Self::expect`], or [`Self::release`].
    pub fn add(&mut self, bytes: &[u8]) -> usize {
        let place = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry::default());
            self.entries.len() - 1
        });
        let entry = &mut self.entries[place];
        entry.bytes.clear();
        entry.bytes.extend_from_slice(bytes);
        entry.arrivals = 0;
        place
    }

    /// One more arrival is to come.
    pub fn expect(&mut self, place: usize) {
        self.entries[place].arrivals += 1;
    }

    /// Frees the bytes if no arrival is to come.
    pub fn release(&mut self, place: usize) {
        if self.entries[place].arrivals == 0 {
            self.free.push(place);
        }
    }

    /// Puts the bytes into `datagram`, replacing what was there, and frees them if this was the last
    /// arrival.
    pub fn arrive(&mut self, place: usize, datagram: &mut Vec<u8>) {
        let entry = &mut self.entries[place];
        datagram.clear();
        datagram.extend_from_slice(&entry.bytes);
        entry.arrivals = entry.arrivals.saturating_sub(1);
        self.release(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stay_until_the_last_arrival_and_their_memory_is_used_again() {
        let mut payloads = Payloads::default();
        let place = payloads.add(b"twice");
        payloads.expect(place);
        payloads.expect(place);
        payloads.release(place);
        let other = payloads.add(b"never");
        payloads.release(other);
        assert_ne!(place, other);
        let mut datagram = Vec::new();
        payloads.arrive(place, &mut datagram);
        payloads.arrive(place, &mut datagram);
        assert_eq!(datagram, b"twice");
        assert!([place, other].contains(&payloads.add(b"again")));
        assert!([place, other].contains(&payloads.add(b"again")));
    }
}
