//! Rules from bytes that anybody may have written.

use std::num::NonZeroU32;
use std::sync::Arc;

use thiserror::Error;

use super::compile::{CompileError, DESCRIPTORS_MAX, Draft, DraftNode, LIMITS_MAX, compile};
use super::near_limit::NearLimitRatio;
use super::rule::{Algorithm, Modes, Origin, Place, Rule, RuleLimit};
use super::set::{Parent, RuleSet};
use super::wire::{Reader, UNLIMITED, VERSION, mode_flag, node_flag, rule_flag};
use crate::token_bucket::{TokenBucket, TokenBucketError};
use crate::window::Period;

/// Why bytes are no rules. Nothing but the bytes is at fault: whoever wrote them is not a meshd of
/// this version, or they were damaged since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// No bytes at all, or the encoding of another version.
    #[error("rules are encoded in version {found}, this program reads version {VERSION}")]
    Version {
        /// The version the bytes name.
        found: u8,
    },
    /// The bytes end before the rules do, or a count in them is more than they could hold.
    #[error("encoded rules are cut short at byte {offset}")]
    Truncated {
        /// Where something was missing.
        offset: usize,
    },
    /// Bytes are left over after the last rule.
    #[error("encoded rules end at byte {offset}, but bytes follow")]
    Trailing {
        /// Where the rules end.
        offset: usize,
    },
    /// A number does not fit 32 bits.
    #[error("number too large at byte {offset} of encoded rules")]
    NumberTooLarge {
        /// Where it begins.
        offset: usize,
    },
    /// A text is not UTF-8.
    #[error("text that is not UTF-8 at byte {offset} of encoded rules")]
    NotText {
        /// Where it begins.
        offset: usize,
    },
    /// A text, unit, flag or ratio has a number that stands for nothing.
    #[error("number without a meaning before byte {offset} of encoded rules")]
    Unknown {
        /// Where it ends.
        offset: usize,
    },
    /// The descriptors are no tree.
    #[error("encoded rules do not fit together: {0}")]
    Structure(#[from] CompileError),
}

/// Fewest bytes an encoded descriptor takes: parent, key, flags.
const DESCRIPTOR_BYTES_MIN: usize = 3;

/// Decodes what [`encode`](super::encode) wrote.
///
/// # Errors
///
/// Whatever the bytes are, the worst they can do is end in a [`DecodeError`]: memory and time are
/// bounded by their number, and by [`DESCRIPTORS_MAX`].
pub fn decode(bytes: &[u8]) -> Result<RuleSet, DecodeError> {
    let mut reader = Reader::new(bytes);
    let found = reader.byte()?;
    if found != VERSION {
        return Err(DecodeError::Version { found });
    }
    let modes = reader.byte()?;
    if modes & !mode_flag::ALL != 0 {
        return Err(DecodeError::Unknown {
            offset: reader.offset(),
        });
    }
    let near_limit_ratio =
        NearLimitRatio::from_bits(reader.number()?).ok_or_else(|| DecodeError::Unknown {
            offset: reader.offset(),
        })?;
    let mut texts = Vec::new();
    for _ in 0..reader.count(1)? {
        texts.push(Arc::from(reader.text()?));
    }
    let mut decoder = Decoder { reader, texts };
    let draft = Draft {
        modes: Modes {
            shadow: modes & mode_flag::SHADOW != 0,
            quota: modes & mode_flag::QUOTA != 0,
            denied_uncounted: modes & mode_flag::DENIED_UNCOUNTED != 0,
        },
        near_limit_ratio,
        ..decoder.draft()?
    };
    if decoder.reader.remaining() > 0 {
        return Err(DecodeError::Trailing {
            offset: decoder.reader.offset(),
        });
    }
    Ok(compile(draft)?)
}

struct Decoder<'a> {
    reader: Reader<'a>,
    texts: Vec<Arc<str>>,
}

impl Decoder<'_> {
    fn draft(&mut self) -> Result<Draft, DecodeError> {
        let domain_count = self.limited_count(1)?;
        let mut domains = Vec::with_capacity(domain_count);
        for _ in 0..domain_count {
            domains.push(self.text()?);
        }
        let node_count = self.limited_count(DESCRIPTOR_BYTES_MIN)?;
        let mut nodes = Vec::with_capacity(node_count);
        for _ in 0..node_count {
            nodes.push(self.node(domain_count)?);
        }
        Ok(Draft {
            domains,
            nodes,
            ..Draft::default()
        })
    }

    /// A count of things of which a set has no more than [`DESCRIPTORS_MAX`].
    fn limited_count(&mut self, item_bytes_min: usize) -> Result<usize, DecodeError> {
        let count = self.reader.count(item_bytes_min)?;
        if count > DESCRIPTORS_MAX {
            return Err(CompileError::TooMany(count).into());
        }
        Ok(count)
    }

    fn node(&mut self, domain_count: usize) -> Result<DraftNode, DecodeError> {
        let parent = self.reader.number()?;
        // Whether the parent exists is checked when the draft is compiled.
        let parent = match u32::try_from(domain_count)
            .ok()
            .and_then(|count| parent.checked_sub(count))
        {
            None => Parent::Domain(parent),
            Some(node) => Parent::Node(node),
        };
        let key = self.text()?;
        let flags = self.flags(node_flag::ALL)?;
        let value = if flags & node_flag::HAS_VALUE != 0 {
            Some(self.text()?)
        } else {
            None
        };
        let mut rules = Vec::new();
        let mut has_next = flags & node_flag::HAS_RULE != 0;
        while has_next {
            if rules.len() == LIMITS_MAX {
                return Err(self.unknown());
            }
            let (rule, another) = self.rule()?;
            rules.push(rule);
            has_next = another;
        }
        Ok(DraftNode {
            parent,
            key,
            value,
            share: flags & node_flag::SHARE != 0,
            metric_value: flags & node_flag::METRIC_VALUE != 0,
            rules,
        })
    }

    /// A rule, and whether another one of the same descriptor follows.
    fn rule(&mut self) -> Result<(Rule, bool), DecodeError> {
        let limit = self.limit()?;
        let flags = self.flags(rule_flag::ALL)?;
        let algorithm = self.algorithm(flags, limit)?;
        let debt = self.debt(flags)?;
        let name = self.text()?;
        let replaces_count = self.reader.count(1)?;
        let mut replaces = Vec::with_capacity(replaces_count);
        for _ in 0..replaces_count {
            replaces.push(self.text()?);
        }
        let metadata = if flags & rule_flag::HAS_METADATA != 0 {
            Some(self.text()?)
        } else {
            None
        };
        let rule = Rule {
            limit,
            name,
            replaces: replaces.into(),
            algorithm,
            count_denied: flags & rule_flag::KEEPS_DENIED_UNCOUNTED == 0,
            debt,
            shadow_mode: flags & rule_flag::SHADOW_MODE != 0,
            quota_mode: flags & rule_flag::QUOTA_MODE != 0,
            detailed_metric: flags & rule_flag::DETAILED_METRIC != 0,
            metadata,
            stats_index: self.reader.number()?,
            origin: Origin {
                file: self.text()?,
                line: self.reader.number()?,
            },
            place: Place::default(),
        };
        Ok((rule, flags & rule_flag::HAS_NEXT != 0))
    }

    fn limit(&mut self) -> Result<RuleLimit, DecodeError> {
        let code = self.reader.number()?;
        if code == UNLIMITED {
            return Ok(RuleLimit::Unlimited);
        }
        let period = Period::from_code(code).ok_or_else(|| self.unknown())?;
        Ok(RuleLimit::Limited {
            requests_per_unit: self.reader.number()?,
            period,
        })
    }

    fn algorithm(&mut self, flags: u8, limit: RuleLimit) -> Result<Algorithm, DecodeError> {
        let algorithms = rule_flag::SLIDING_WINDOW | rule_flag::TOKEN_BUCKET;
        match flags & algorithms {
            0 => Ok(Algorithm::FixedWindow),
            rule_flag::SLIDING_WINDOW => Ok(Algorithm::SlidingWindow),
            rule_flag::TOKEN_BUCKET => {
                let burst = NonZeroU32::new(self.reader.number()?).ok_or_else(|| self.unknown())?;
                if let RuleLimit::Limited {
                    requests_per_unit,
                    period,
                } = limit
                {
                    TokenBucket::new(requests_per_unit, period, burst)
                        .map_err(|_: TokenBucketError| self.unknown())?;
                }
                Ok(Algorithm::TokenBucket { burst })
            }
            _ => Err(self.unknown()),
        }
    }

    /// Any number: [`Rule::debt`] bounds it.
    fn debt(&mut self, flags: u8) -> Result<Option<u32>, DecodeError> {
        let gated =
            rule_flag::SLIDING_WINDOW | rule_flag::TOKEN_BUCKET | rule_flag::KEEPS_DENIED_UNCOUNTED;
        if flags & gated == 0 {
            return Ok(None);
        }
        match self.reader.byte()? {
            0 => Ok(None),
            1 => Ok(Some(self.reader.number()?)),
            _ => Err(self.unknown()),
        }
    }

    fn flags(&mut self, known: u8) -> Result<u8, DecodeError> {
        let flags = self.reader.byte()?;
        if flags & !known == 0 {
            Ok(flags)
        } else {
            Err(self.unknown())
        }
    }

    fn text(&mut self) -> Result<Arc<str>, DecodeError> {
        let number = self.reader.number()? as usize;
        self.texts
            .get(number)
            .cloned()
            .ok_or_else(|| self.unknown())
    }

    fn unknown(&self) -> DecodeError {
        DecodeError::Unknown {
            offset: self.reader.offset(),
        }
    }
}
