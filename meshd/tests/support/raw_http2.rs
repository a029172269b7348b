//! A peer that begins to speak HTTP/2 and then never reacts to anything.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::PATIENCE;

/// The peer.
#[derive(Debug)]
pub(crate) struct Peer(TcpStream);

impl Peer {
    /// Connects and sends a preface and a SETTINGS frame without settings.
    pub(crate) fn connect(port: u16) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the port is open");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
            .expect("sent");
        Self(stream)
    }

    /// Waits for the first frame of the server.
    pub(crate) fn wait_for_settings(&mut self) {
        let mut settings = [0; 9];
        self.0
            .read_exact(&mut settings)
            .expect("meshd speaks HTTP/2");
    }

    /// The types of all frames the server sends until it closes the connection.
    pub(crate) fn frames_until_the_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.0
            .read_to_end(&mut bytes)
            .expect("the connection is closed, not reset, and in time");
        let mut rest = bytes.as_slice();
        let mut types = Vec::new();
        while let Some((head, more)) = rest.split_first_chunk::<9>() {
            let length =
                usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            types.push(head[3]);
            rest = more.get(length..).expect("whole frames");
        }
        types
    }
}
