//! Reading JSON strictly: every value is asked for by what it must be, every problem is noted with the
//! place it is at, and reading goes on, so that a user sees all of them at once.

use std::cell::RefCell;
use std::fmt;

use serde_json::{Map, Value};

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}{}{reason}", if path.is_empty() { "" } else { ": " })]
pub(crate) struct Problem {
    /// Where in the JSON, as `rate_limits[0].actions[1]`; empty for the whole of it.
    pub(crate) path: String,
    /// What is wrong, and what would be right.
    pub(crate) reason: String,
}

/// The problems found so far.
#[derive(Debug, Default)]
pub(super) struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    pub(super) fn into_vec(self) -> Vec<Problem> {
        self.0.into_inner()
    }
}

/// Where a value is: the key or index within what is around it.
#[derive(Clone, Copy, Debug)]
enum Path<'j> {
    Root,
    Key(&'j Self, &'j str),
    Index(&'j Self, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Key(Self::Root, key) => f.write_str(key),
            Self::Key(around, key) => write!(f, "{around}.{key}"),
            Self::Index(around, index) => write!(f, "{around}[{index}]"),
        }
    }
}

/// A key that an object may have but this filter does not honour, and what to do about it.
pub(super) type NotSupported = (&'static str, &'static str);

/// A value and where it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'j> {
    value: &'j Value,
    path: Path<'j>,
    problems: &'j Problems,
}

impl<'j> Reader<'j> {
    /// The outermost value.
    pub(super) fn root(value: &'j Value, problems: &'j Problems) -> Self {
        Self {
            value,
            path: Path::Root,
            problems,
        }
    }

    /// Notes that something is wrong here.
    pub(super) fn problem(&self, reason: impl Into<String>) {
        let problem = Problem {
            path: self.path.to_string(),
            reason: reason.into(),
        };
        self.problems.0.borrow_mut().push(problem);
    }

    /// The value as an object with these keys and no others.
    pub(super) fn object(
        &'j self,
        known: &[&str],
        not_supported: &[NotSupported],
    ) -> Option<Object<'j>> {
        let Value::Object(fields) = self.value else {
            self.problem(format!("must be an object, not {}", kind(self.value)));
            return None;
        };
        for key in fields.keys().filter(|key| !known.contains(&key.as_str())) {
            let field = Self {
                path: Path::Key(&self.path, key),
                ..*self
            };
            match not_supported.iter().find(|(name, _)| name == key) {
                Some((_, advice)) => field.problem(format!("is not supported here: {advice}")),
                None if known.is_empty() => field.problem("is not known; nothing can be set here"),
                None => field.problem(format!("is not known; known are {}", known.join(", "))),
            }
        }
        Some(Object {
            reader: self,
            fields,
        })
    }

    /// The elements of an array, each with what `read` makes of it. What cannot be read is left out.
    pub(super) fn elements<T>(&self, mut read: impl FnMut(Reader<'_>) -> Option<T>) -> Vec<T> {
        let Value::Array(elements) = self.value else {
            self.problem(format!("must be a list, not {}", kind(self.value)));
            return Vec::new();
        };
        let read_at = |(index, value)| {
            read(Reader {
                value,
                path: Path::Index(&self.path, index),
                problems: self.problems,
            })
        };
        elements.iter().enumerate().filter_map(read_at).collect()
    }

    /// A text.
    pub(super) fn text(&self) -> Option<&'j str> {
        let text = self.value.as_str();
        if text.is_none() {
            self.problem(format!("must be a text, not {}", kind(self.value)));
        }
        text
    }

    /// A text that says something.
    pub(super) fn nonempty_text(&self) -> Option<&'j str> {
        let text = self.text()?;
        if text.is_empty() {
            self.problem("must not be empty");
            return None;
        }
        Some(text)
    }

    /// A yes or no.
    pub(super) fn boolean(&self) -> Option<bool> {
        let boolean = self.value.as_bool();
        if boolean.is_none() {
            self.problem(format!("must be true or false, not {}", kind(self.value)));
        }
        boolean
    }

    /// A whole number. Protobuf's JSON writes those of 64 bits as texts, so texts of digits count too.
    pub(super) fn integer(&self) -> Option<i64> {
        let integer = match self.value {
            Value::String(digits) => digits.parse().ok(),
            number => number.as_i64(),
        };
        if integer.is_none() {
            self.problem("must be a whole number of 64 bits");
        }
        integer
    }

    /// A number in a range.
    pub(super) fn number_in(&self, range: std::ops::RangeInclusive<u32>) -> Option<u32> {
        let integer = self.integer()?;
        let number = u32::try_from(integer)
            .ok()
            .filter(|number| range.contains(number));
        if number.is_none() {
            self.problem(format!(
                "must be within {} and {}, not {integer}",
                range.start(),
                range.end()
            ));
        }
        number
    }
}

/// An object whose keys are known to be known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Object<'j> {
    reader: &'j Reader<'j>,
    fields: &'j Map<String, Value>,
}

impl<'j> Object<'j> {
    /// A field, when it is there; `null` is the same as leaving it out, as in protobuf's JSON.
    pub(super) fn field(&self, key: &'static str) -> Option<Reader<'j>> {
        let value = self.fields.get(key).filter(|value| !value.is_null())?;
        Some(Reader {
            value,
            path: Path::Key(&self.reader.path, key),
            ..*self.reader
        })
    }

    /// A field that must be there.
    pub(super) fn required(&self, key: &'static str) -> Option<Reader<'j>> {
        let field = self.field(key);
        if field.is_none() {
            let missing = Reader {
                path: Path::Key(&self.reader.path, key),
                ..*self.reader
            };
            missing.problem("is missing");
        }
        field
    }

    /// The one of these fields that is there; protobuf calls that a `oneof`.
    pub(super) fn at_most_one_of(
        &self,
        keys: &[&'static str],
    ) -> Option<(&'static str, Reader<'j>)> {
        let mut present = keys.iter().filter_map(|key| Some((*key, self.field(key)?)));
        let first = present.next();
        if let (Some((one, _)), Some((other, _))) = (first, present.next()) {
            self.problem(format!("{one} and {other} exclude each other"));
        }
        first
    }

    /// A flag that is false unless set.
    pub(super) fn flag(&self, key: &'static str) -> bool {
        self.field(key)
            .and_then(|field| field.boolean())
            .unwrap_or(false)
    }

    /// Whether there is anything in it.
    pub(super) fn is_empty(&self) -> bool {
        self.fields.values().all(Value::is_null)
    }

    /// Notes that something is wrong with the object.
    pub(super) fn problem(&self, reason: impl Into<String>) {
        self.reader.problem(reason);
    }
}

/// What a value is, for messages.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
