//! Bytes that are held for a connection.

use std::sync::Arc;

use super::Member;
use super::cause::Refusal;

/// What a call takes: tasks, buffers, the state of a stream, and a small message each way.
const CALL_BYTES: usize = 4 * 1_024;

/// Bytes of a message each way that are among what every call takes.
pub(super) const SMALL_BYTES: usize = 1_024;

/// Bytes held for a connection, until dropped.
#[derive(Debug)]
pub struct Held {
    member: Arc<Member>,
    bytes: usize,
    /// Whether they are (part of) an answer that has to be read.
    is_answer: bool,
}

impl Held {
    /// None so far.
    pub fn nothing(member: &Arc<Member>) -> Self {
        Self {
            member: Arc::clone(member),
            bytes: 0,
            is_answer: false,
        }
    }

    /// Those of a call that begins with a head of so many bytes.
    ///
    /// # Errors
    ///
    /// When the connection holds too many.
    pub fn call(member: &Arc<Member>, head: &http::HeaderMap) -> Result<Self, Refusal> {
        let headers = head.iter();
        let bytes = headers.map(|(name, value)| name.as_str().len() + value.len());
        let bytes = CALL_BYTES + bytes.sum::<usize>();
        let mut held = Self::nothing(member);
        held.grow(bytes)?;
        Ok(held)
    }

    /// Those of a part of an answer. It is there already, so there is no bound to it.
    pub(super) fn part(member: &Arc<Member>, bytes: usize) -> Self {
        // Cannot fail without a bound.
        let _ = member.take_bytes(bytes, usize::MAX);
        member.progressed();
        member.begin_part();
        Self {
            member: Arc::clone(member),
            bytes,
            is_answer: true,
        }
    }

    /// Holds more.
    ///
    /// # Errors
    ///
    /// When the connection holds too many.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        let bound = self.member.all().limits().connection_bytes;
        self.member.take_bytes(bytes, bound)?;
        self.bytes += bytes;
        Ok(())
    }

    /// From now on they are an answer that has to be read. The connection was used just now.
    pub fn become_answer(&mut self) {
        if !self.is_answer {
            self.is_answer = true;
            self.member.begin_part();
        }
    }

    /// The connection.
    pub const fn member(&self) -> &Arc<Member> {
        &self.member
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.member.give_bytes(self.bytes);
        if self.is_answer {
            self.member.end_part();
        }
    }
}
