//! The variables of the process, as far as they say something.

use std::collections::BTreeMap;
use std::ffi::OsString;

/// Variables by name. One that is empty is as good as not set: that is how a compose file passes on what
/// nobody has given it.
#[derive(Debug)]
pub(super) struct Variables<'a> {
    texts: BTreeMap<&'a str, &'a str>,
    /// Names of those whose values are not UTF-8.
    pub(super) unreadable: Vec<&'a str>,
}

impl<'a> Variables<'a> {
    /// Sorts the variables of a process.
    pub(super) fn of(environment: &'a [(OsString, OsString)]) -> Self {
        let mut variables = Self {
            texts: BTreeMap::new(),
            unreadable: Vec::new(),
        };
        for (name, value) in environment {
            let Some(name) = name.to_str() else {
                continue;
            };
            match value.to_str() {
                Some("") => {}
                Some(text) => {
                    variables.texts.insert(name, text);
                }
                None => variables.unreadable.push(name),
            }
        }
        variables
    }

    /// The value of a variable that is set.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.texts.get(name).copied()
    }

    /// Every variable with its value, by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.texts.iter().map(|(name, value)| (*name, *value))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An environment of these variables.
    pub(in super::super) fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)))
            .collect()
    }

    #[test]
    fn an_empty_variable_is_one_that_is_not_set() {
        let pairs = variables(&[("A", ""), ("B", "1")]);
        let variables = Variables::of(&pairs);
        assert_eq!(variables.get("A"), None);
        assert_eq!(variables.iter().collect::<Vec<_>>(), [("B", "1")]);
    }
}
