//! Log lines on standard error, by `tracing`.

use std::io::IsTerminal;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry};

use crate::config::{Log, LogFormat, LogLevel};

/// Sends log lines to standard error from now on.
///
/// Called once; a second call in one process, as tests make it, changes nothing.
pub fn init(config: Log) {
    let text = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        // That a line cannot be written would be told on standard error, and panic where that fails too: a
        // pipe whose reader has gone must not stop meshd.
        .log_internal_errors(false);
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match config.format {
        LogFormat::Text => text.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => text.json().flatten_event(true).boxed(),
    };
    let subscriber = Registry::default().with(layer.with_filter(targets(config.level)));
    // Only fails when there is one already.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Our own lines from `level` on; those of libraries only where they matter, or when all is asked for.
fn targets(level: LogLevel) -> Targets {
    let ours = match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let others = match level {
        LogLevel::Trace => LevelFilter::TRACE,
        LogLevel::Off | LogLevel::Error => ours,
        LogLevel::Warn | LogLevel::Info | LogLevel::Debug => LevelFilter::WARN,
    };
    Targets::new()
        .with_target("meshd", ours)
        .with_target("hivemind", ours)
        .with_default(others)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn libraries_are_quieter_than_we_are() {
        let targets = targets(LogLevel::Debug);
        assert!(targets.would_enable("meshd::server", &Level::DEBUG));
        assert!(!targets.would_enable("h2::codec", &Level::DEBUG));
        assert!(targets.would_enable("h2::codec", &Level::WARN));
    }

    #[test]
    fn off_is_off_for_everyone() {
        let targets = targets(LogLevel::Off);
        assert!(!targets.would_enable("meshd", &Level::ERROR));
        assert!(!targets.would_enable("h2", &Level::ERROR));
    }
}
