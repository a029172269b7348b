//! Settings that envoyproxy/ratelimit makes of several variables.

use std::path::{Path, PathBuf};

use super::reading::{Reading, boolean};
use super::table::{
    CONFIG_TYPE, METRICS_BIND, PROMETHEUS, PROMETHEUS_ADDRESS, SERVER_TLS, XDS_SERVER,
    XDS_SERVER_KEY,
};
use super::variables::Variables;

/// A value for one of our keys, and the variables it comes from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Combined {
    pub(super) key: &'static str,
    pub(super) value: String,
    pub(super) variables: Vec<&'static str>,
}

/// What is wrong with a variable.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) variable: &'static str,
    pub(super) message: String,
}

/// Everything that is made of several variables.
pub(super) fn all(variables: &Variables<'_>) -> (Vec<Combined>, Vec<Wrong>) {
    let mut made: Vec<Combined> = config_path(variables).into_iter().collect();
    let mut wrong: Vec<Wrong> = server_tls(variables).into_iter().collect();
    match require_initial_config(variables) {
        Ok(combined) => made.extend(combined),
        Err(error) => wrong.push(error),
    }
    (made, wrong)
}

/// What envoyproxy/ratelimit takes where a variable is not set and others make it matter. A layer below that
/// says something else wins.
pub(super) fn defaults(variables: &Variables<'_>) -> impl Iterator<Item = Combined> {
    metrics_bind(variables)
        .into_iter()
        .chain(xds_server(variables))
}

/// The directory rules are in: root, subdirectory and the one below it that is called `config` unless
/// another name is given.
fn config_path(variables: &Variables<'_>) -> Option<Combined> {
    const PARTS: [(&str, &str); 3] = [
        ("RUNTIME_ROOT", "/srv/runtime_data/current"),
        ("RUNTIME_SUBDIRECTORY", ""),
        ("RUNTIME_APPDIRECTORY", "config"),
    ];
    let given: Vec<&str> = PARTS
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| variables.get(name).is_some())
        .collect();
    if given.is_empty() {
        return None;
    }
    let mut path = PathBuf::new();
    for (name, default) in PARTS {
        let part = variables.get(name).unwrap_or(default);
        if path.as_os_str().is_empty() {
            path.push(part);
        } else {
            // An absolute part would take the place of what is there; Go joins it to that.
            path.push(Path::new(part.trim_start_matches('/')));
        }
    }
    Some(Combined {
        key: "rate_limiting.config_path",
        value: path.to_string_lossy().trim_end_matches('/').to_owned(),
        variables: given,
    })
}

/// Where the exporter for Prometheus listens when it is on and nothing else is said. A switch that is
/// wrong is reported where it is read.
fn metrics_bind(variables: &Variables<'_>) -> Option<Combined> {
    let is_on = variables.get(PROMETHEUS).and_then(boolean)?;
    let is_by_default = is_on && variables.get(PROMETHEUS_ADDRESS).is_none();
    is_by_default.then(|| Combined {
        key: METRICS_BIND,
        value: "0.0.0.0:9090".to_owned(),
        variables: vec![PROMETHEUS],
    })
}

/// The management server, where rules come from one and nothing is said of it.
fn xds_server(variables: &Variables<'_>) -> Option<Combined> {
    let source = Reading::Source.read(variables.get(CONFIG_TYPE)?);
    let is_by_default = source.as_deref() == Ok("xds") && variables.get(XDS_SERVER).is_none();
    is_by_default.then(|| Combined {
        key: XDS_SERVER_KEY,
        value: "localhost:18000".to_owned(),
        variables: vec![CONFIG_TYPE],
    })
}

/// Whether to be ready only with rules: unless the service may start without any, and then too if it is
/// not to be called healthy without.
fn require_initial_config(variables: &Variables<'_>) -> Result<Option<Combined>, Wrong> {
    const FORCE: &str = "FORCE_START_WITHOUT_INITIAL_CONFIG";
    const HEALTHY: &str = "HEALTHY_WITH_AT_LEAST_ONE_CONFIG_LOADED";
    let force = flag(variables, FORCE)?;
    let healthy = flag(variables, HEALTHY)?;
    let given = [(FORCE, force), (HEALTHY, healthy)];
    let given: Vec<&str> = given
        .into_iter()
        .filter(|(_, flag)| flag.is_some())
        .map(|(name, _)| name)
        .collect();
    if given.is_empty() {
        return Ok(None);
    }
    let required = !force.unwrap_or(false) || healthy.unwrap_or(false);
    Ok(Some(Combined {
        key: "rate_limiting.require_initial_config",
        value: required.to_string(),
        variables: given,
    }))
}

/// TLS that is turned on needs a certificate and its key.
fn server_tls(variables: &Variables<'_>) -> Option<Wrong> {
    let is_on = match flag(variables, SERVER_TLS) {
        Ok(is_on) => is_on.unwrap_or(false),
        Err(wrong) => return Some(wrong),
    };
    let has_both = ["GRPC_SERVER_TLS_CERT", "GRPC_SERVER_TLS_KEY"]
        .into_iter()
        .all(|name| variables.get(name).is_some());
    (is_on && !has_both).then(|| Wrong {
        variable: SERVER_TLS,
        message: "it is true, so GRPC_SERVER_TLS_CERT and GRPC_SERVER_TLS_KEY have to be set"
            .to_owned(),
    })
}

/// A switch; none when it is not set.
fn flag(variables: &Variables<'_>, variable: &'static str) -> Result<Option<bool>, Wrong> {
    let Some(value) = variables.get(variable) else {
        return Ok(None);
    };
    boolean(value).map(Some).ok_or_else(|| Wrong {
        variable,
        message: format!("expected true or false, not {value:?}"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::variables::tests::variables;
    use super::*;

    fn made(pairs: &[(&str, &str)]) -> Vec<(&'static str, String)> {
        let pairs = variables(pairs);
        let (made, wrong) = all(&Variables::of(&pairs));
        assert_eq!(wrong, []);
        made.into_iter()
            .map(|made| (made.key, made.value))
            .collect()
    }

    fn by_default_of(pairs: &[(&str, &str)]) -> Vec<(&'static str, String)> {
        let pairs = variables(pairs);
        defaults(&Variables::of(&pairs))
            .map(|made| (made.key, made.value))
            .collect()
    }

    #[test]
    fn the_directory_of_rules_is_put_together_from_its_parts() {
        for (pairs, path) in [
            (
                &[
                    ("RUNTIME_ROOT", "/data"),
                    ("RUNTIME_SUBDIRECTORY", "ratelimit"),
                ][..],
                "/data/ratelimit/config",
            ),
            (&[("RUNTIME_ROOT", "/data/")], "/data/config"),
            (
                &[
                    ("RUNTIME_SUBDIRECTORY", "/a/"),
                    ("RUNTIME_APPDIRECTORY", "b"),
                ],
                "/srv/runtime_data/current/a/b",
            ),
            (
                &[("RUNTIME_ROOT", "rules"), ("RUNTIME_SUBDIRECTORY", "")],
                "rules/config",
            ),
        ] {
            assert_eq!(
                made(pairs),
                [("rate_limiting.config_path", path.to_owned())]
            );
        }
        assert_eq!(made(&[("PORT", "1")]), []);
    }

    #[test]
    fn a_start_without_rules_is_ready_unless_health_needs_rules() {
        const FORCE: &str = "FORCE_START_WITHOUT_INITIAL_CONFIG";
        const HEALTHY: &str = "HEALTHY_WITH_AT_LEAST_ONE_CONFIG_LOADED";
        for (pairs, required) in [
            (&[(FORCE, "true")][..], "false"),
            (&[(FORCE, "false")], "true"),
            (&[(HEALTHY, "false")], "true"),
            (&[(FORCE, "1"), (HEALTHY, "1")], "true"),
        ] {
            let expected = ("rate_limiting.require_initial_config", required.to_owned());
            assert_eq!(made(pairs), [expected], "{pairs:?}");
        }
    }

    #[test]
    fn the_exporter_listens_where_it_did_when_nothing_is_said() {
        let by_default = ("metrics.bind", "0.0.0.0:9090".to_owned());
        assert_eq!(by_default_of(&[("USE_PROMETHEUS", "true")]), [by_default]);
        assert_eq!(by_default_of(&[("USE_PROMETHEUS", "false")]), []);
        let with_address = [("USE_PROMETHEUS", "true"), ("PROMETHEUS_ADDR", ":1")];
        assert_eq!(by_default_of(&with_address), []);
    }

    #[test]
    fn the_management_server_is_where_it_was_when_nothing_is_said() {
        let xds = (CONFIG_TYPE, "GRPC_XDS_SOTW");
        let by_default = ("xds.server", "localhost:18000".to_owned());
        assert_eq!(by_default_of(&[xds]), [by_default]);
        assert_eq!(by_default_of(&[xds, (XDS_SERVER, "gateway:1")]), []);
        assert_eq!(by_default_of(&[(CONFIG_TYPE, "FILE")]), []);
    }

    #[test]
    fn tls_without_a_certificate_is_wrong() {
        let pairs = variables(&[(SERVER_TLS, "true"), ("GRPC_SERVER_TLS_CERT", "c")]);
        let (_, wrong) = all(&Variables::of(&pairs));
        assert!(
            wrong[0].message.contains("GRPC_SERVER_TLS_KEY"),
            "{wrong:?}"
        );
        let pairs = variables(&[(SERVER_TLS, "false")]);
        assert_eq!(all(&Variables::of(&pairs)).1, []);
    }
}
