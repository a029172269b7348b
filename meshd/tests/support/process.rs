//! What the kernel says of a meshd.

use std::fs;

use super::Meshd;

/// The most memory it has had at once, in MiB.
pub(crate) fn peak_mib(meshd: &Meshd) -> u64 {
    status_kib(meshd, "VmHWM:") / 1_024
}

/// Its memory, in MiB.
pub(crate) fn resident_mib(meshd: &Meshd) -> u64 {
    status_kib(meshd, "VmRSS:") / 1_024
}

fn status_kib(meshd: &Meshd, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", meshd.pid())).expect("it runs");
    let value = status.lines().find_map(|line| line.strip_prefix(name));
    let value = value.and_then(|value| value.trim().strip_suffix(" kB"));
    value
        .and_then(|value| value.parse().ok())
        .expect("a number")
}

/// A sample of `/metrics`; 0 when there is none.
pub(crate) fn sample(meshd: &Meshd, series: &str) -> u64 {
    let metrics = meshd.admin("/metrics").1;
    let mut samples = metrics
        .lines()
        .filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    samples
        .next()
        .map_or(0, |value| value.parse().expect("a number"))
}
