//! Lists of names with values.

use super::setting::{Setting, Value, quoted};

/// Names with their values, `zone=eu,tier=edge`, in the order they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairs(Vec<(String, String)>);

impl Pairs {
    /// Each name with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl Setting for Pairs {
    fn read(value: &Value) -> Result<Self, String> {
        let texts: Vec<&str> = match value {
            // As the environment and flags write a list.
            Value::Text(text) => text.split(',').collect(),
            Value::List(texts) => texts.iter().map(String::as_str).collect(),
        };
        let pairs = texts
            .into_iter()
            .map(str::trim)
            .filter(|text| !text.is_empty());
        let pairs = pairs.map(|text| match text.split_once('=') {
            Some((name, value)) if !name.is_empty() && !text.contains(char::is_control) => {
                Ok((name.to_owned(), value.to_owned()))
            }
            _ => Err(format!("expected name=value, not {text:?}")),
        });
        pairs.collect::<Result<_, _>>().map(Self)
    }

    fn show(&self) -> String {
        let pairs: Vec<String> = self
            .iter()
            .map(|(name, value)| quoted(&format!("{name}={value}")))
            .collect();
        format!("[{}]", pairs.join(", "))
    }
}

/// Headers of a request. Their values may be secret, and are not shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Pairs);

impl Headers {
    /// Each name with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter()
    }
}

impl std::fmt::Debug for Headers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.show())
    }
}

impl Setting for Headers {
    fn read(value: &Value) -> Result<Self, String> {
        let pairs = Pairs::read(value).map_err(|_| {
            // What was given may be secret as well.
            "expected a list of name=value".to_owned()
        })?;
        for (name, value) in pairs.iter() {
            let is_name = http::HeaderName::from_bytes(name.as_bytes()).is_ok();
            if !is_name || name.starts_with("grpc-") || name.ends_with("-bin") {
                return Err(format!(
                    "{name:?} cannot be the name of a header: letters, digits and dashes, neither \
                     beginning with grpc- nor ending with -bin"
                ));
            }
            if !value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
                return Err(format!("the value of header {name:?} is not plain ASCII"));
            }
        }
        Ok(Self(pairs))
    }

    fn show(&self) -> String {
        let names: Vec<String> = self
            .iter()
            .map(|(name, _)| quoted(&format!("{name}=<not shown>")))
            .collect();
        format!("[{}]", names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn pairs_are_separated_by_commas_and_by_the_first_equals_sign() {
        let pairs = Pairs::read(&text("zone=eu, path=a=b,empty=,")).unwrap();
        let all: Vec<_> = pairs.iter().collect();
        assert_eq!(all, [("zone", "eu"), ("path", "a=b"), ("empty", "")]);
        assert!(Pairs::read(&text("")).unwrap().iter().next().is_none());
        for wrong in ["zone", "=eu", "zone:eu"] {
            assert!(Pairs::read(&text(wrong)).is_err(), "{wrong:?} was taken");
        }
    }

    #[test]
    fn values_of_headers_are_never_shown() {
        let headers = Headers::read(&text("authorization=Bearer s3cret")).unwrap();
        assert!(!headers.show().contains("s3cret"));
        assert!(!format!("{headers:?}").contains("s3cret"));
        for wrong in [
            "a b=c",
            "grpc-timeout=s3cret",
            "x-bin=s3cret",
            "x=s3cret\u{fc}",
            "s3cret",
        ] {
            let error = Headers::read(&text(wrong)).unwrap_err();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
