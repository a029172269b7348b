//! An HTTP client that keeps its connection until it is told to leave it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

/// The client. It takes a connection that ends without having been told of as a failure.
#[derive(Debug)]
pub(crate) struct LastingHttp {
    port: u16,
    connection: Option<BufReader<TcpStream>>,
}

impl LastingHttp {
    pub(crate) const fn new(port: u16) -> Self {
        Self {
            port,
            connection: None,
        }
    }

    /// POSTs a document to `/json`: the status.
    pub(crate) fn post(&mut self, body: &str) -> u16 {
        let mut connection = self.connection.take().unwrap_or_else(|| {
            let stream = TcpStream::connect(("127.0.0.1", self.port));
            BufReader::new(stream.expect("no connection is refused"))
        });
        let length = body.len();
        let head = format!(
            "POST /json HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n"
        );
        let request = [head.as_bytes(), body.as_bytes()].concat();
        connection
            .get_mut()
            .write_all(&request)
            .expect("the connection is open");

        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            let read = connection.read_line(&mut line).expect("an answer");
            assert!(read > 0, "the connection ended without an answer");
            if line == "\r\n" {
                break;
            }
            lines.push(line.trim_end().to_ascii_lowercase());
        }
        let header = |name: &str| lines.iter().find_map(|line| line.strip_prefix(name));
        let length = header("content-length: ").and_then(|length| length.parse().ok());
        let mut answer = vec![0; length.expect("a length")];
        connection.read_exact(&mut answer).expect("a whole answer");
        if header("connection: ") != Some("close") {
            self.connection = Some(connection);
        }
        let status = lines[0].split(' ').nth(1).and_then(|it| it.parse().ok());
        status.expect("a status")
    }
}
