//! A descriptor, as it is written on the command line.

use std::str::FromStr;

use hivemind_shared::descriptor::Entry;
use hivemind_shared::descriptor::text::{self, NoEntry};

/// One descriptor: `key=value[,key=value…]`, as [`text`] reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DescriptorArgument {
    /// Keys and values.
    pub(crate) entries: Vec<(String, String)>,
}

impl DescriptorArgument {
    /// As the decision takes it.
    pub(crate) fn entries(&self) -> Vec<Entry<'_>> {
        self.entries
            .iter()
            .map(|(key, value)| Entry::new(key, value))
            .collect()
    }

    /// As it is shown, and can be typed again.
    pub(crate) fn text(&self) -> String {
        let entries = self.entries.iter();
        text::descriptor(entries.map(|(key, value)| (&**key, &**value)))
    }
}

impl FromStr for DescriptorArgument {
    type Err = NoEntry;

    fn from_str(text: &str) -> Result<Self, NoEntry> {
        Ok(Self {
            entries: text::parse(text)?,
        })
    }
}
