//! A newcomer that takes over step by step, and stops wherever a test wants it to.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::sockopt::{self, Timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, connect, recvmsg, send, socket_with,
};

use super::Site;

/// The newcomer.
#[derive(Debug)]
pub(crate) struct Newcomer(OwnedFd);

impl Newcomer {
    /// Knocks at the door of the site's region.
    pub(crate) fn knock(site: &Site) -> Self {
        let flags = SocketFlags::CLOEXEC;
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("a socket");
        let door = SocketAddrUnix::new(site.path("region.handover")).expect("an address");
        connect(&socket, &door).expect("the door is open");
        let patience = Some(Duration::from_secs(30));
        sockopt::set_socket_timeout(&socket, Timeout::Recv, patience).expect("a timeout");
        Self(socket)
    }

    /// Says something.
    pub(crate) fn say(&self, text: &str) {
        send(&self.0, text.as_bytes(), SendFlags::NOSIGNAL).expect("somebody listens");
    }

    /// The answer, empty when the other side has ended the conversation, and what came with it.
    pub(crate) fn hear(&self) -> (String, Vec<OwnedFd>) {
        let mut bytes = vec![0; 65_536];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            &self.0,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut beside,
            RecvFlags::CMSG_CLOEXEC,
        )
        .expect("an answer in time");
        bytes.truncate(received.bytes);
        let handles = beside.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(handles) => Some(handles),
            _ => None,
        });
        let handles = handles.flatten().collect();
        (String::from_utf8(bytes).expect("text"), handles)
    }

    /// Asks, and takes what is offered.
    pub(crate) fn ask(&self) -> Vec<OwnedFd> {
        self.say(r#"{"ask":{"protocol":1}}"#);
        let (offer, handles) = self.hear();
        assert!(offer.contains("offer"), "{offer}");
        handles
    }

    /// Takes over; what it is told then.
    pub(crate) fn take(&self) -> String {
        self.say("\"take\"");
        self.hear().0
    }
}
