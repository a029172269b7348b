//! Which keys there are, and where they belong.

use crate::yaml::{Invisible, Mapping, closest};

/// A kind of mapping in a rule file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Top,
    Descriptor,
    RateLimit,
    /// `hivemind`: what envoyproxy/ratelimit does not know.
    Extension,
    Replaces,
}

impl Place {
    const ALL: [Self; 5] = [
        Self::Top,
        Self::Descriptor,
        Self::RateLimit,
        Self::Extension,
        Self::Replaces,
    ];

    /// The keys a mapping of this kind may have.
    pub(super) fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Top => &["domain", "descriptors"],
            Self::Descriptor => &[
                "key",
                "value",
                "rate_limit",
                "rate_limits",
                "descriptors",
                "shadow_mode",
                "quota_mode",
                "share_threshold",
                "detailed_metric",
                "value_to_metric",
                "metadata",
            ],
            Self::RateLimit => &[
                "unit",
                "unit_multiplier",
                "requests_per_unit",
                "unlimited",
                "name",
                "replaces",
                "hivemind",
            ],
            Self::Extension => &["algorithm", "burst", "count_denied", "debt"],
            Self::Replaces => &["name"],
        }
    }

    /// Where such a mapping is found, in words.
    fn whereabouts(self) -> &'static str {
        match self {
            Self::Top => "at the top of the file",
            Self::Descriptor => "in a descriptor, beside 'rate_limit'",
            Self::RateLimit => "in 'rate_limit'",
            Self::Extension => "in 'hivemind', within 'rate_limit'",
            Self::Replaces => "in an element of 'replaces'",
        }
    }
}

/// The sections of meshd's service file, which is easily taken for a file of rules.
pub const SERVICE_SECTIONS: [&str; 9] = [
    "node",
    "region",
    "server",
    "admin",
    "rate_limiting",
    "xds",
    "metrics",
    "mesh",
    "log",
];

/// A section of a service file in a mapping that has nothing of a file of rules.
pub(super) fn service_section(top: &Mapping) -> Option<&'static str> {
    let is_rules = Place::Top.keys().iter().any(|key| top.get(key).is_some());
    let mut sections = SERVICE_SECTIONS.into_iter();
    sections.find(|section| !is_rules && top.get(section).is_some())
}

/// What is wrong with a key, if anything, and what to do about it.
pub(super) fn complaint(key: &str, place: Place) -> Option<(String, String)> {
    if place.keys().contains(&key) {
        return None;
    }
    let shown = crate::yaml::printable(key);
    if let Some(invisible) = Invisible::first_in(key) {
        let message = format!("config error, unknown key '{shown}'");
        return Some((message, invisible.advice()));
    }
    if let Some(home) = Place::ALL
        .into_iter()
        .find(|place| place.keys().contains(&key))
    {
        return Some((
            format!("config error, misplaced key '{shown}'"),
            format!("it belongs {}", home.whereabouts()),
        ));
    }
    let elsewhere = Place::ALL
        .into_iter()
        .flat_map(|place| place.keys().iter().copied());
    let hint = match closest(key, place.keys().iter().copied()).or_else(|| closest(key, elsewhere))
    {
        Some(meant) => format!("did you mean '{meant}'?"),
        None => format!("known here: {}", place.keys().join(", ")),
    };
    Some((format!("config error, unknown key '{shown}'"), hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_keys_are_fine_where_they_belong() {
        for place in Place::ALL {
            assert!(
                place
                    .keys()
                    .iter()
                    .all(|key| complaint(key, place).is_none())
            );
        }
    }

    #[test]
    fn a_key_in_the_wrong_place_is_sent_home() {
        let (message, hint) = complaint("shadow_mode", Place::RateLimit).unwrap();
        assert_eq!(message, "config error, misplaced key 'shadow_mode'");
        assert_eq!(hint, "it belongs in a descriptor, beside 'rate_limit'");
        assert_eq!(
            complaint("unit", Place::Descriptor).unwrap().1,
            "it belongs in 'rate_limit'"
        );
    }

    #[test]
    fn a_key_with_something_invisible_in_it_says_what() {
        let (message, hint) = complaint("unit\u{200b}", Place::RateLimit).unwrap();
        assert_eq!(message, "config error, unknown key 'unit\\u{200b}'");
        assert!(hint.contains("U+200B (zero width space)"), "{hint}");
    }

    #[test]
    fn an_unknown_key_gets_the_closest_one_as_hint() {
        let (message, hint) = complaint("requestsperunit", Place::RateLimit).unwrap();
        assert_eq!(message, "config error, unknown key 'requestsperunit'");
        assert_eq!(hint, "did you mean 'requests_per_unit'?");
        assert_eq!(
            complaint("color", Place::Top).unwrap().1,
            "known here: domain, descriptors"
        );
    }
}
