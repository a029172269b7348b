//! The pieces that encoded rules are made of. [`super::encode`] describes the whole.

use super::decode::DecodeError;

/// Version of the encoding, its first byte. Another version is refused, never guessed at.
pub(super) const VERSION: u8 = 5;

/// Bits of the modes.
pub(super) mod mode_flag {
    pub(crate) const SHADOW: u8 = 1;
    pub(crate) const QUOTA: u8 = 1 << 1;
    pub(crate) const DENIED_UNCOUNTED: u8 = 1 << 2;
    pub(crate) const ALL: u8 = SHADOW | QUOTA | DENIED_UNCOUNTED;
}

/// Bits of a descriptor's flags.
pub(super) mod node_flag {
    pub(crate) const SHARE: u8 = 1;
    pub(crate) const METRIC_VALUE: u8 = 1 << 1;
    pub(crate) const HAS_VALUE: u8 = 1 << 2;
    pub(crate) const HAS_RULE: u8 = 1 << 3;
    pub(crate) const ALL: u8 = SHARE | METRIC_VALUE | HAS_VALUE | HAS_RULE;
}

/// Bits of a rule's flags.
pub(super) mod rule_flag {
    pub(crate) const SHADOW_MODE: u8 = 1;
    pub(crate) const QUOTA_MODE: u8 = 1 << 1;
    pub(crate) const DETAILED_METRIC: u8 = 1 << 2;
    pub(crate) const HAS_METADATA: u8 = 1 << 3;
    /// Another rule of the same descriptor follows.
    pub(crate) const HAS_NEXT: u8 = 1 << 4;
    pub(crate) const SLIDING_WINDOW: u8 = 1 << 5;
    pub(crate) const KEEPS_DENIED_UNCOUNTED: u8 = 1 << 6;
    /// The size of the bucket follows.
    pub(crate) const TOKEN_BUCKET: u8 = 1 << 7;
    pub(crate) const ALL: u8 = SHADOW_MODE
        | QUOTA_MODE
        | DETAILED_METRIC
        | HAS_METADATA
        | HAS_NEXT
        | SLIDING_WINDOW
        | KEEPS_DENIED_UNCOUNTED
        | TOKEN_BUCKET;
}

/// Code of a rule without a limit, where others have the code of their period.
pub(super) const UNLIMITED: u32 = 0;

/// Appends a number in as few bytes as it needs: seven bits a byte, lowest first, the eighth bit set
/// on all but the last.
pub(super) fn put_number(out: &mut Vec<u8>, mut value: u32) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            out.push(low & 0x7F);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Takes encoded rules apart without ever reading beyond their end.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Offset of the next byte.
    pub(super) fn offset(&self) -> usize {
        self.at
    }

    /// Bytes not read yet.
    pub(super) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(super) fn byte(&mut self) -> Result<u8, DecodeError> {
        let byte = self
            .bytes
            .get(self.at)
            .copied()
            .ok_or(DecodeError::Truncated { offset: self.at })?;
        self.at += 1;
        Ok(byte)
    }

    /// A number as [`put_number`] writes it.
    pub(super) fn number(&mut self) -> Result<u32, DecodeError> {
        let offset = self.at;
        let mut value = 0_u64;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| DecodeError::NumberTooLarge { offset });
            }
        }
        Err(DecodeError::NumberTooLarge { offset })
    }

    /// How many items follow, each of which takes at least `item_bytes_min` bytes: a number that the
    /// remaining bytes cannot hold is refused before anything is allocated for it.
    pub(super) fn count(&mut self, item_bytes_min: usize) -> Result<usize, DecodeError> {
        let offset = self.at;
        let count = self.number()? as usize;
        if count > self.remaining() / item_bytes_min {
            return Err(DecodeError::Truncated { offset });
        }
        Ok(count)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, DecodeError> {
        let len = self.count(1)?;
        let offset = self.at;
        let bytes = self
            .bytes
            .get(offset..offset + len)
            .ok_or(DecodeError::Truncated { offset })?;
        self.at += len;
        std::str::from_utf8(bytes).map_err(|_| DecodeError::NotText { offset })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_length_go_both_ways() {
        for value in [
            0,
            1,
            127,
            128,
            16_383,
            16_384,
            2_097_151,
            268_435_456,
            u32::MAX,
        ] {
            let mut bytes = Vec::new();
            put_number(&mut bytes, value);
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.number(), Ok(value));
            assert_eq!(reader.remaining(), 0);
        }
    }

    #[test]
    fn a_number_beyond_32_bits_is_refused() {
        for bytes in [&[0xFF, 0xFF, 0xFF, 0xFF, 0x1F][..], &[0x80; 9]] {
            assert_eq!(
                Reader::new(bytes).number(),
                Err(DecodeError::NumberTooLarge { offset: 0 })
            );
        }
    }

    #[test]
    fn a_count_that_the_rest_cannot_hold_is_refused() {
        assert_eq!(Reader::new(&[3, 0, 0, 0]).count(1), Ok(3));
        assert_eq!(
            Reader::new(&[3, 0, 0, 0]).count(2),
            Err(DecodeError::Truncated { offset: 0 })
        );
    }
}
