//! Bytes that live in Envoy.

#![allow(unsafe_code, reason = "makes slices of what Envoy points to")]

use crate::abi::envoy_dynamic_module_type_envoy_buffer;

/// Bytes that Envoy owns, for as long as the filter they came from is not changed.
///
/// Header values and the like: any bytes, not necessarily UTF-8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EnvoyBuffer<'a> {
    bytes: &'a [u8],
}

impl<'a> EnvoyBuffer<'a> {
    /// A buffer of this text, for a test's stand-in of Envoy.
    pub fn new(text: &'a str) -> Self {
        Self {
            bytes: text.as_bytes(),
        }
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        self.bytes
    }

    /// The bytes a C buffer points to. A null pointer reads as no bytes, whatever the length says.
    ///
    /// # Safety
    /// Unless null, `raw.ptr` points to `raw.length` bytes that are not written to for `'a`.
    #[inline]
    pub(crate) unsafe fn from_raw(raw: envoy_dynamic_module_type_envoy_buffer) -> Self {
        if raw.ptr.is_null() {
            return Self::default();
        }
        // SAFETY: not null, and the caller vouches for the length and for `'a`. Alignment of bytes
        // is 1, and no object of Envoy's is larger than `isize::MAX`.
        let bytes = unsafe { std::slice::from_raw_parts(raw.ptr.cast::<u8>(), raw.length) };
        Self { bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_null_buffer_is_empty_whatever_its_length() {
        let raw = envoy_dynamic_module_type_envoy_buffer {
            ptr: std::ptr::null(),
            length: 3,
        };
        // SAFETY: null needs nothing.
        let buffer = unsafe { EnvoyBuffer::from_raw(raw) };
        assert_eq!(buffer.as_slice(), b"");
    }

    #[test]
    fn a_buffer_shows_the_bytes_it_was_made_of() {
        let bytes = b"\xffabc";
        let raw = envoy_dynamic_module_type_envoy_buffer {
            ptr: bytes.as_ptr().cast(),
            length: 4,
        };
        // SAFETY: points to four bytes of a constant.
        let buffer = unsafe { EnvoyBuffer::from_raw(raw) };
        assert_eq!(buffer.as_slice(), bytes);
    }
}
