//! Writing bodies: head, sections, numbers.

use super::{ACKNOWLEDGE, Kind};

/// Longest name that is sent, bytes.
pub const NAME_BYTES_MAX: usize = 63;

/// Writes the head of a body.
pub fn head(buffer: &mut Vec<u8>, kind: Kind) {
    let flags = if kind.is_reliable() { ACKNOWLEDGE } else { 0 };
    buffer.extend_from_slice(&[flags, kind as u8]);
}

/// Writes a section around what `content` writes. Content beyond 65,535 bytes is cut off; nobody writes
/// that much.
pub fn section(buffer: &mut Vec<u8>, code: u8, content: impl FnOnce(&mut Vec<u8>)) {
    buffer.push(code);
    let length_at = buffer.len();
    buffer.extend_from_slice(&[0, 0]);
    let start = buffer.len();
    content(buffer);
    buffer.truncate(start + usize::from(u16::MAX));
    let length = u16::try_from(buffer.len() - start).unwrap_or(u16::MAX);
    buffer[length_at..start].copy_from_slice(&length.to_le_bytes());
}

/// Writes a varint.
pub fn varint(buffer: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = value.to_le_bytes()[0] & 0x7F;
        value >>= 7;
        if value == 0 {
            return buffer.push(low);
        }
        buffer.push(low | 0x80);
    }
}

/// Bytes that [`varint`] writes.
pub const fn varint_bytes(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Writes a name behind its length, cut at [`NAME_BYTES_MAX`] bytes.
pub fn name(buffer: &mut Vec<u8>, name: &str) {
    let mut end = name.len().min(NAME_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    buffer.push(u8::try_from(end).unwrap_or(0));
    buffer.extend_from_slice(&name.as_bytes()[..end]);
}
