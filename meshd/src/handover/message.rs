//! What the two say to each other: one JSON object a packet, with the handles beside it.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

use super::belongings::{Label, Role};

/// The version of this conversation. Fields and roles may be added to it; another number is another
/// conversation.
pub(super) const PROTOCOL: u32 = 1;

/// Bytes of one message at most.
const MESSAGE_BYTES_MAX: usize = 32 * 1_024;

/// Handles that come with one message at most; there are eight of ours.
const HANDLES_MAX: usize = 16;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Message {
    /// The newcomer asks whether somebody hands over.
    Ask {
        /// Its [`PROTOCOL`].
        protocol: u32,
        /// Its name.
        #[serde(default)]
        node: String,
    },
    /// The owner has these things, whose handles come along in this order.
    Offer {
        /// What they are.
        labels: Vec<Label>,
        /// The network the ports are in, see [`super::belongings::network`].
        #[serde(default)]
        network: Option<String>,
        /// The owner's name.
        #[serde(default)]
        node: String,
        /// Its process, if the owner can see that of the newcomer.
        #[serde(default)]
        pid: Option<u32>,
        /// How many hand-overs in a row there will have been, see [`super::succession`].
        #[serde(default)]
        in_a_row: u32,
    },
    /// The owner does not hand over.
    Refusal {
        /// Why, for people.
        reason: String,
    },
    /// The newcomer has everything it needs: the owner may let go.
    Take,
    /// The owner rests.
    Yours(Estate),
    /// The newcomer serves.
    Ready {
        /// The Unix sockets it uses of those it was offered: their files are its own now.
        kept: Vec<Role>,
    },
}

/// What the owner knows that is in no handle.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estate {
    /// The cluster of its mesh; empty when there is no mesh.
    #[serde(default)]
    pub cluster: String,
    /// Where its peers are; empty when there is no mesh.
    pub peers: Vec<SocketAddr>,
    /// Whether the mesh was ready: the region has what peers have counted.
    pub is_joined: bool,
}

impl Estate {
    /// What is of use to a mesh in `cluster`: in another one there are other peers, and their counts are in
    /// the region only if it is still the one of before.
    #[must_use]
    pub fn of_use_in(self, cluster: &str, is_resumed: bool) -> Self {
        if self.cluster != cluster {
            return Self::default();
        }
        Self {
            is_joined: self.is_joined && is_resumed,
            ..self
        }
    }
}

/// Sends a message with handles.
pub(super) fn send(
    socket: impl AsFd,
    message: &Message,
    handles: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > MESSAGE_BYTES_MAX || handles.len() > HANDLES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "message too long",
        ));
    }
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(HANDLES_MAX))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !handles.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(handles)) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "too many handles",
        ));
    }
    // Without a signal when the other side is gone.
    rustix::io::retry_on_intr(|| {
        sendmsg(
            &socket,
            &[IoSlice::new(&bytes)],
            &mut beside,
            SendFlags::NOSIGNAL,
        )
    })?;
    Ok(())
}

/// Receives a message with its handles; `None` when the other side is gone.
pub(super) fn receive(socket: impl AsFd) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; MESSAGE_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(HANDLES_MAX))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        recvmsg(
            &socket,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut beside,
            RecvFlags::CMSG_CLOEXEC,
        )
    });
    let received = match received {
        // It died with something of ours unread.
        Err(rustix::io::Errno::CONNRESET) => return Ok(None),
        received => received?,
    };
    let handles: Vec<OwnedFd> = beside
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(handles) => Some(handles),
            _ => None,
        })
        .flatten()
        .collect();
    if received.bytes == 0 {
        return Ok(None);
    }
    let cut = ReturnFlags::TRUNC | ReturnFlags::CTRUNC;
    if received.flags.intersects(cut) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a message was cut off",
        ));
    }
    let message = serde_json::from_slice(bytes.get(..received.bytes).unwrap_or_default())?;
    Ok(Some((message, handles)))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Seek, Write};

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        let family = AddressFamily::UNIX;
        socketpair(family, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
    }

    #[test]
    fn handles_arrive_with_their_message_and_an_end_is_told() {
        let (one, two) = pair();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"mine").unwrap();
        let offer = Message::Offer {
            labels: Vec::new(),
            network: None,
            node: "edge-1".to_owned(),
            pid: Some(7),
            in_a_row: 2,
        };
        send(&one, &offer, &[file.as_fd()]).unwrap();
        send(&one, &Message::Take, &[]).unwrap();
        drop((one, file));

        let (message, handles) = receive(&two).unwrap().unwrap();
        assert_eq!(message, offer);
        let [handle] = <[OwnedFd; 1]>::try_from(handles).unwrap();
        let mut file = File::from(handle);
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "mine");
        assert_eq!(receive(&two).unwrap().unwrap().0, Message::Take);
        assert!(receive(&two).unwrap().is_none());
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        let (one, two) = pair();
        for bytes in [&b"{}"[..], b"\"take\" and more", &[0xff; 40_000]] {
            let _ = rustix::net::send(&one, bytes, SendFlags::empty());
            assert!(receive(&two).is_err(), "{}", bytes.len());
        }
    }

    #[test]
    fn what_a_mesh_knew_is_of_use_in_its_cluster_and_its_counts_in_its_region() {
        let estate = Estate {
            cluster: "edge".to_owned(),
            peers: vec![([192, 0, 2, 1], 7946).into()],
            is_joined: true,
        };
        assert_eq!(estate.clone().of_use_in("edge", true), estate);
        let in_a_new_region = Estate {
            is_joined: false,
            ..estate.clone()
        };
        assert_eq!(estate.clone().of_use_in("edge", false), in_a_new_region);
        assert_eq!(estate.of_use_in("core", true), Estate::default());
    }

    #[test]
    fn what_a_later_version_adds_is_passed_over() {
        let (one, two) = pair();
        let text = br#"{"ready":{"kept":["grpc","carrier_pigeon"],"since":5}}"#;
        rustix::net::send(&one, text, SendFlags::empty()).unwrap();
        let kept = vec![Role::Grpc, Role::Unknown];
        assert_eq!(receive(&two).unwrap().unwrap().0, Message::Ready { kept });
    }
}
