//! What answers like a meshd's admin port.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;

use serde_json::Value;

/// Answers one request for a path with this status and body; the thread gives the document that was posted back.
pub(crate) fn admin_port(path: &str, status: u16, body: &str) -> (SocketAddr, JoinHandle<Value>) {
    let request = format!("post {path} http/1.1\r\n");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{body}"
    );
    let thread = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            reader.read_line(&mut head).unwrap();
        }
        let head = head.to_ascii_lowercase();
        assert!(head.starts_with(&request), "{head}");
        assert!(
            head.contains("content-type: application/json\r\n"),
            "{head}"
        );
        let length = head.split("content-length: ").nth(1).unwrap();
        let length = length.split("\r\n").next().unwrap().parse().unwrap();
        let mut document = vec![0; length];
        reader.read_exact(&mut document).unwrap();
        reader.into_inner().write_all(answer.as_bytes()).unwrap();
        serde_json::from_slice(&document).unwrap()
    });
    (address, thread)
}
