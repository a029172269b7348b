//! A peer that speaks HTTP/2 frame by frame, and only as far as a test wants it to.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::PATIENCE;

/// What every client begins with: a preface and a SETTINGS frame without settings.
pub(crate) const BEGINNING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Types of frames.
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;

/// Flags of frames.
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// The peer.
#[derive(Debug)]
pub(crate) struct Peer {
    stream: TcpStream,
    /// Bytes it may send on all its streams together.
    window: usize,
    /// Whether it could not send a whole frame, and so can send no other.
    is_stuck: bool,
}

impl Peer {
    /// Connects and sends a preface and a SETTINGS frame without settings.
    pub(crate) fn connect(port: u16) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the port is open");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        stream.write_all(BEGINNING).expect("sent");
        Self {
            stream,
            window: 65_535,
            is_stuck: false,
        }
    }

    /// Waits for the first frame of the server.
    pub(crate) fn wait_for_settings(&mut self) {
        let mut settings = [0; 9];
        self.stream
            .read_exact(&mut settings)
            .expect("meshd speaks HTTP/2");
    }

    /// The types of all frames the server sends until it closes the connection.
    pub(crate) fn frames_until_the_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.stream
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

    /// Takes answers of any size.
    pub(crate) fn open_windows(&mut self) {
        let mut settings = vec![0, 4];
        settings.extend(0x7fff_ffff_u32.to_be_bytes());
        self.send(SETTINGS, 0, 0, &settings);
        self.send(WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes());
    }

    /// Begins a call.
    pub(crate) fn begin_call(&mut self, stream: u32) {
        assert!(self.try_begin_call(stream), "the connection is open");
    }

    fn try_begin_call(&mut self, stream: u32) -> bool {
        let mut block = vec![0x83, 0x86];
        let literal = |block: &mut Vec<u8>, name: &[u8], value: &str| {
            block.extend(name);
            block.push(u8::try_from(value.len()).expect("a short value"));
            block.extend(value.as_bytes());
        };
        let path = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
        literal(&mut block, &[0x04], path);
        literal(&mut block, &[0x01], "test");
        literal(&mut block, &[0x0f, 0x10], "application/grpc");
        literal(&mut block, b"\0\x02te", "trailers");
        self.try_send(HEADERS, END_HEADERS, stream, &block)
    }

    /// Sends a part of a call, as far as its own window allows, once the window of the connection does.
    /// Whether the connection is still there.
    pub(crate) fn send_data(&mut self, stream: u32, data: &[u8], is_end: bool) -> bool {
        let mut chunks = data.chunks(16_384).peekable();
        while let Some(chunk) = chunks.next() {
            while self.window < chunk.len() {
                if !self.read_frame() {
                    return false;
                }
            }
            self.window -= chunk.len();
            let is_last = is_end && chunks.peek().is_none();
            if !self.try_send(DATA, if is_last { END_STREAM } else { 0 }, stream, chunk) {
                return false;
            }
        }
        true
    }

    /// Makes a call, as far as the connection takes it at once.
    pub(crate) fn try_call(&mut self, stream: u32, message: &[u8]) {
        let short = Some(Duration::from_millis(100));
        self.stream.set_write_timeout(short).expect("a timeout");
        self.window = usize::MAX;
        if !self.is_stuck {
            self.is_stuck = !(self.try_begin_call(stream) && self.send_data(stream, message, true));
        }
    }

    /// Reads a frame, and minds what it says of the window.
    fn read_frame(&mut self) -> bool {
        let mut head = [0; 9];
        if self.stream.read_exact(&mut head).is_err() {
            return false;
        }
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; length];
        if self.stream.read_exact(&mut payload).is_err() {
            return false;
        }
        if head[3] == WINDOW_UPDATE && head[5..] == [0; 4] {
            let payload = payload.try_into().expect("four bytes");
            self.window += u32::from_be_bytes(payload) as usize;
        }
        true
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        assert!(
            self.try_send(kind, flags, stream, payload),
            "the connection is open"
        );
    }

    fn try_send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        let length = u32::try_from(payload.len()).expect("a short frame");
        let mut frame = length.to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.stream.write_all(&frame).is_ok()
    }
}
