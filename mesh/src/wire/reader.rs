//! Reading numbers out of bytes that anybody may have written.

/// The bytes end too early, or say something that no version of the format says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no content that any member of this cluster writes: a faulty or hostile peer")]
pub struct Malformed;

/// A place in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'b> {
    bytes: &'b [u8],
}

impl<'b> Reader<'b> {
    /// At the beginning of these.
    pub const fn new(bytes: &'b [u8]) -> Self {
        Self { bytes }
    }

    /// Whether nothing is left.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// All that is left.
    pub const fn rest(&self) -> &'b [u8] {
        self.bytes
    }

    /// The next so many bytes.
    ///
    /// # Errors
    /// [`Malformed`] when there are fewer; so for all that follow.
    pub fn bytes(&mut self, count: usize) -> Result<&'b [u8], Malformed> {
        let (bytes, rest) = self.bytes.split_at_checked(count).ok_or(Malformed)?;
        self.bytes = rest;
        Ok(bytes)
    }

    fn array<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], Malformed> {
        let (bytes, rest) = self.bytes.split_first_chunk().ok_or(Malformed)?;
        self.bytes = rest;
        Ok(*bytes)
    }

    /// The next byte.
    pub fn byte(&mut self) -> Result<u8, Malformed> {
        self.array().map(|[byte]| byte)
    }

    /// The next two bytes.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    /// The next four bytes.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    /// The next eight bytes.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    /// The next 16 bytes.
    pub fn u128_bytes(&mut self) -> Result<[u8; 16], Malformed> {
        self.array()
    }

    /// The next varint.
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            if shift == 63 && bits > 1 {
                return Err(Malformed);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    /// The next varint, if it is below 2^32.
    pub fn varint_u32(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.varint()?).map_err(|_| Malformed)
    }

    /// A text behind its length in one byte; what is no UTF-8 is replaced.
    pub fn text(&mut self) -> Result<std::borrow::Cow<'b, str>, Malformed> {
        let length = usize::from(self.byte()?);
        Ok(String::from_utf8_lossy(self.bytes(length)?))
    }
}
