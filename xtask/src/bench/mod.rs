//! `cargo xtask bench`: what a request costs inside a real Envoy, what a call costs meshd, and how soon
//! and how well hosts agree.
//!
//! Nothing in here fails on a figure: it prints what it measured, and the targets beside it.

mod cpu;
mod envoy;
mod h2load;
mod instructions;
mod mesh;
mod rls;
mod scenario;
mod throughput;
mod tool;

use crate::interrupt;

/// What can be measured.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Options {
    /// Instructions, throughput and latency of a request through Envoy, by filter.
    Envoy(envoy::Options),
    /// Calls a second and CPU time a call of meshd's Rate Limit Service.
    Rls(rls::Options),
    /// How soon a hit is seen on other hosts, what a quiet mesh costs, and how far limits are exceeded.
    Mesh(mesh::Options),
}

/// Measures, and prints tables on standard output.
///
/// # Errors
///
/// When a program is missing, does not start, or gives answers that spoil the measurement.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    interrupt::unless(async {
        match options {
            Options::Envoy(options) => envoy::run(options).await,
            Options::Rls(options) => rls::run(options).await,
            Options::Mesh(options) => mesh::run(options).await,
        }
    })
    .await
}

/// The value in the middle, of which as many are above as below; 0 of none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle), values.len() % 2) {
        (None, _) => 0.0,
        (Some(value), 1) => *value,
        (Some(value), _) => (value + values.get(middle - 1).unwrap_or(value)) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_in_the_middle() {
        assert!(median(vec![3.0, 1.0, 2.0]).total_cmp(&2.0).is_eq());
        assert!(median(vec![4.0, 1.0, 2.0, 3.0]).total_cmp(&2.5).is_eq());
        assert!(median(vec![]).total_cmp(&0.0).is_eq());
    }
}
