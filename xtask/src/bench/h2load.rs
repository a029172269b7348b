//! Exact numbers of requests, by h2load.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::tool::Tool;

/// What h2load is to send.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// To whom.
    pub(super) target: SocketAddr,
    /// The path.
    pub(super) path: &'static str,
    /// How many requests in all.
    pub(super) requests: usize,
    /// Over how many connections.
    pub(super) connections: usize,
    /// How many at once on a connection.
    pub(super) streams: usize,
    /// HTTP/1.1 instead of HTTP/2.
    pub(super) http1: bool,
    /// Header lines.
    pub(super) headers: &'static [&'static str],
    /// A file with the body, for a POST.
    pub(super) body: Option<PathBuf>,
}

impl Plan {
    /// Sends everything and hands back how long it took.
    ///
    /// # Errors
    ///
    /// When h2load fails, and when a request was not answered with 200: what was measured then is
    /// not what was meant.
    pub(super) async fn run(&self) -> anyhow::Result<Duration> {
        let mut arguments = vec![
            "-n".to_owned(),
            self.requests.to_string(),
            "-c".to_owned(),
            self.connections.to_string(),
            "-m".to_owned(),
            self.streams.to_string(),
            "-t".to_owned(),
            "1".to_owned(),
        ];
        if self.http1 {
            arguments.push("--h1".to_owned());
        }
        for header in self.headers {
            arguments.extend(["-H".to_owned(), (*header).to_owned()]);
        }
        if let Some(body) = &self.body {
            arguments.extend(["-d".to_owned(), body.display().to_string()]);
        }
        arguments.push(format!("http://{}{}", self.target, self.path));
        let output = Tool::H2load.run(&arguments).await?;
        let all_well = format!("status codes: {} 2xx, 0 3xx, 0 4xx, 0 5xx", self.requests);
        if !output.contains(&all_well) {
            bail!(
                "h2load should have got {} good answers:\n{output}",
                self.requests
            );
        }
        elapsed(&output).with_context(|| format!("h2load does not say how long it took:\n{output}"))
    }
}

/// Reads `finished in 1.31s, 7633.21 req/s, 1.13MB/s`.
fn elapsed(output: &str) -> Option<Duration> {
    let line = output
        .lines()
        .find_map(|line| line.strip_prefix("finished in "))?;
    duration(line.split(',').next()?)
}

/// Reads `2.5s`, `310.20ms` or `95us`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let number_end = text.find(|it: char| !it.is_ascii_digit() && it != '.')?;
    let (number, unit) = text.split_at(number_end);
    let seconds = match unit {
        "s" => 1.0,
        "ms" => 1e-3,
        "us" => 1e-6,
        "m" => 60.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_elapsed_time_is_read() {
        let output = "progress: 100% done\n\nfinished in 310.20ms, 7633.21 req/s, 1.13MB/s\n";
        assert_eq!(elapsed(output), Some(Duration::from_micros(310_200)));
        assert_eq!(elapsed("nothing of that kind"), None);
    }

    #[test]
    fn durations_are_read_in_every_unit() {
        assert_eq!(duration("95us"), Some(Duration::from_micros(95)));
        assert_eq!(duration(" 1.50ms"), Some(Duration::from_micros(1_500)));
        assert_eq!(duration("2s"), Some(Duration::from_secs(2)));
        assert_eq!(duration("2"), None);
        assert_eq!(duration("s"), None);
    }
}
