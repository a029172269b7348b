//! What clients do that reset calls: those whose time-out has passed while meshd stood still keep their
//! connection, and those that open and reset calls without end lose it.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect"
)]

mod support;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;

use rustix::process::Signal;
use support::raw_http2::{BEGINNING, DATA, END_HEADERS, END_STREAM, HEADERS};
use support::{Meshd, PATIENCE, RULES, Site, admitted, eventually};

/// Calls that meshd lets one connection have in flight.
const IN_FLIGHT_MAX: usize = 1_024;

/// Further types of frames of HTTP/2.
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;

/// The error code of clients that ask for too much, and that of a reset by a time-out.
const ENHANCE_YOUR_CALM: u32 = 11;
const CANCEL: u32 = 8;

/// A message of a call in the domain `test` for the user `ada`, and its prefix in gRPC.
const MESSAGE: &[u8] = b"\0\0\0\0\x15\x0a\x04test\x12\x0d\x0a\x0b\x0a\x04user\x12\x03ada";

/// Whether the stream ends with the message, as Envoy does it, or in a frame of its own, as others do.
#[derive(Clone, Copy, Debug)]
enum End {
    WithMessage,
    Apart,
}

/// A client that writes whole batches of frames and reads what comes.
struct RawClient {
    stream: TcpStream,
    out: Vec<u8>,
    next_id: u32,
    end: End,
}

impl RawClient {
    fn connect(port: u16, end: End) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the port is open");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        Self {
            stream,
            out: BEGINNING.to_vec(),
            next_id: 1,
            end,
        }
    }

    fn frame(&mut self, kind: u8, flags: u8, id: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("a short frame");
        self.out.extend(&length.to_be_bytes()[1..]);
        self.out.extend([kind, flags]);
        self.out.extend(id.to_be_bytes());
        self.out.extend(payload);
    }

    /// Begins a call without its message.
    fn open(&mut self) -> u32 {
        let id = self.next_id;
        self.next_id += 2;
        let mut block = vec![0x83, 0x86]; // POST, http
        if id == 1 {
            // Names and values for the table of both sides, so that later heads are six bytes long.
            let path = b"/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
            for (name, value) in [
                (&[0x44][..], &path[..]),
                (&[0x41], b"test"),
                (&[0x5f], b"application/grpc"),
                (b"\x40\x02te", b"trailers"),
            ] {
                block.extend(name);
                block.push(u8::try_from(value.len()).expect("a short value"));
                block.extend(value);
            }
        } else {
            block.extend([0xc1, 0xc0, 0xbf, 0xbe]);
        }
        self.frame(HEADERS, END_HEADERS, id, &block);
        id
    }

    /// Begins so many calls with their messages.
    fn call(&mut self, count: usize) -> Vec<u32> {
        let calls = (0..count).map(|_| {
            let id = self.open();
            match self.end {
                End::WithMessage => self.frame(DATA, END_STREAM, id, MESSAGE),
                End::Apart => self.frame(DATA, 0, id, MESSAGE),
            }
            id
        });
        calls.collect()
    }

    /// Ends calls that were not ended with their message.
    fn end(&mut self, ids: &[u32]) {
        if matches!(self.end, End::Apart) {
            for &id in ids {
                self.frame(DATA, END_STREAM, id, &[]);
            }
        }
    }

    fn reset(&mut self, ids: &[u32]) {
        for &id in ids {
            self.frame(RST_STREAM, 0, id, &CANCEL.to_be_bytes());
        }
    }

    fn send(&mut self) {
        let out = std::mem::take(&mut self.out);
        self.stream.write_all(&out).expect("the connection is open");
    }

    /// The next frame: type, flags, stream and payload; none at the end of the connection.
    fn read(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).ok()?;
        let [high, middle, low, kind, flags, id @ ..] = head;
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).ok()?;
        Some((kind, flags, u32::from_be_bytes(id), payload))
    }

    /// Reads until all of these calls were answered: a message, and the trailers after it.
    fn await_answers(&mut self, ids: &[u32]) {
        let mut messages = BTreeSet::new();
        let mut missing: BTreeSet<u32> = ids.iter().copied().collect();
        while !missing.is_empty() {
            let Some((kind, flags, id, payload)) = self.read() else {
                panic!(
                    "the connection ended, {} calls were not answered",
                    missing.len()
                );
            };
            match kind {
                DATA if !payload.is_empty() => {
                    messages.insert(id);
                }
                HEADERS if flags & END_STREAM != 0 => {
                    assert!(messages.contains(&id), "call {id} has no answer");
                    missing.remove(&id);
                }
                RST_STREAM => assert!(!missing.contains(&id), "call {id} was reset"),
                GOAWAY => panic!("GOAWAY: {}", String::from_utf8_lossy(&payload)),
                _ => {}
            }
        }
    }

    /// Reads until the connection ends, and what was said about it.
    fn await_goaway(&mut self) -> u32 {
        let mut code = None;
        while let Some((kind, _, _, payload)) = self.read() {
            if kind == GOAWAY {
                code = payload[4..].first_chunk().copied().map(u32::from_be_bytes);
            }
        }
        code.expect("a GOAWAY before the end")
    }
}

/// The value of a metric.
fn metric(meshd: &Meshd, name: &str) -> u64 {
    let (_, text) = meshd.http("/metrics");
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value
        .unwrap_or_else(|| panic!("no {name}"))
        .parse()
        .expect("a number")
}

const RESET: &str = "hivemind_grpc_calls_reset_total";
const EXCESSIVE: &str = r#"hivemind_grpc_connections_failed_total{cause="excessive_load"}"#;
const PROTOCOL: &str = r#"hivemind_grpc_connections_failed_total{cause="protocol"}"#;

#[test]
fn calls_whose_time_out_passed_in_a_stall_do_not_end_their_connection() {
    let meshd = Site::new(RULES).start();
    for (times, end) in [End::WithMessage, End::Apart].into_iter().enumerate() {
        let mut client = RawClient::connect(meshd.ports.grpc, end);
        let first = client.call(1);
        client.end(&first);
        client.send();
        client.await_answers(&first);

        // With time-outs of 20 ms, this is what is sent while meshd stands still for 50 ms: all that may be
        // in flight is given up twice. What matters to meshd is what it finds then, not how long that took.
        meshd.signal(Signal::STOP);
        for _ in 0..2 {
            let calls = client.call(IN_FLIGHT_MAX);
            client.reset(&calls);
            client.send();
        }
        let last = client.call(IN_FLIGHT_MAX);
        client.end(&last);
        client.send();
        meshd.signal(Signal::CONT);
        client.await_answers(&last);

        // And the connection goes on as if nothing had been.
        for _ in 0..3 {
            let calls = client.call(100);
            client.end(&calls);
            client.send();
            client.await_answers(&calls);
        }
        let resets = 2 * IN_FLIGHT_MAX * (times + 1);
        assert_eq!(metric(&meshd, RESET), resets as u64, "{end:?}");
        assert_eq!(metric(&meshd, EXCESSIVE), 0, "{end:?}");
    }
}

#[test]
fn calls_that_run_into_their_time_out_all_day_do_not_end_their_connection() {
    let meshd = Site::new(RULES).start();
    let mut client = RawClient::connect(meshd.ports.grpc, End::Apart);
    for _ in 0..50 {
        // Their messages have come, and their ends have not, so that nothing is answered before the reset.
        let calls = client.call(200);
        client.reset(&calls);
        let asked = client.call(1);
        client.end(&asked);
        client.send();
        client.await_answers(&asked);
    }
    assert_eq!(metric(&meshd, RESET), 10_000);
    assert_eq!(metric(&meshd, EXCESSIVE), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_flood_of_resets_ends_its_connection_and_no_other() {
    let site = Site::new(RULES);
    let meshd = site.start();
    let mut other = meshd.client().await;
    let mut client = RawClient::connect(meshd.ports.grpc, End::Apart);
    let first = client.call(1);
    client.end(&first);
    client.send();
    client.await_answers(&first);

    meshd.signal(Signal::STOP);
    for _ in 0..8_192 {
        let id = client.open();
        client.reset(&[id]);
    }
    client.send();
    meshd.signal(Signal::CONT);
    assert_eq!(client.await_goaway(), ENHANCE_YOUR_CALM);
    eventually("the end in the metrics", || {
        (metric(&meshd, EXCESSIVE) == 1).then_some(())
    });
    assert!(metric(&meshd, RESET) > 2 * IN_FLIGHT_MAX as u64);
    meshd.await_log("excessive_load");
    assert_eq!(admitted(&mut other, "bob", 1).await, 1, "others go on");
}

#[test]
fn calls_begun_before_the_client_knows_how_many_may_be_are_refused_and_no_more() {
    let meshd = Site::new(RULES).start();
    let mut client = RawClient::connect(meshd.ports.grpc, End::WithMessage);
    // The client has not read a word yet, and so not how many calls may be in flight. Their messages fit into
    // the window that HTTP/2 begins with.
    meshd.signal(Signal::STOP);
    let calls = client.call(2 * IN_FLIGHT_MAX);
    client.send();
    meshd.signal(Signal::CONT);
    client.await_answers(&calls[..IN_FLIGHT_MAX]);
    let asked = client.call(1);
    client.send();
    client.await_answers(&asked);
    assert_eq!(metric(&meshd, EXCESSIVE), 0);
}

#[test]
fn a_connection_that_breaks_the_protocol_is_counted() {
    let meshd = Site::new(RULES).start();
    let mut client = RawClient::connect(meshd.ports.grpc, End::WithMessage);
    client.frame(DATA, 0, 1, b"for a call that was not begun");
    client.send();
    client.await_goaway();
    eventually("the end in the metrics", || {
        (metric(&meshd, PROTOCOL) == 1).then_some(())
    });
}
