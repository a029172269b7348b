//! Log lines on standard error, by `tracing`.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::{Layer, Registry};

use crate::config::{Log, LogFilter, LogFormat, LogLevel};

/// What is logged, and the means to change it; cloning shares it.
#[derive(Clone, Debug)]
pub struct LogControl(Arc<Control>);

#[derive(Debug)]
struct Control {
    targets: Handle<Targets, Registry>,
    in_force: Mutex<InForce>,
}

/// What is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    /// The least important lines that are written.
    pub level: LogLevel,
    /// What `RUST_LOG` says of some targets, or of all.
    pub rust_log: Option<String>,
}

/// Sends log lines to standard error from now on.
///
/// Called once; a second call in one process, as tests make it, changes nothing.
pub fn init(config: Log, filter: Option<&LogFilter>) -> LogControl {
    let text = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        // That a line cannot be written would be told on standard error, and panic where that fails too: a
        // pipe whose reader has gone must not stop meshd.
        .log_internal_errors(false);
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match config.format {
        LogFormat::Text => text.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => text.json().flatten_event(true).boxed(),
    };
    let (targets, handle) = reload::Layer::new(targets(config.level, filter));
    let subscriber = Registry::default().with(layer.with_filter(targets));
    // Only fails when there is one already.
    let _ = tracing::subscriber::set_global_default(subscriber);
    LogControl(Arc::new(Control {
        targets: handle,
        in_force: Mutex::new(InForce {
            level: config.level,
            rust_log: filter.map(|filter| filter.text().to_owned()),
        }),
    }))
}

impl LogControl {
    /// What is logged now.
    pub fn in_force(&self) -> InForce {
        let in_force = self.0.in_force.lock();
        in_force.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Logs lines of this level and above from now on, whatever `RUST_LOG` says.
    pub fn set(&self, level: LogLevel) {
        let in_force = self.0.in_force.lock();
        let mut in_force = in_force.unwrap_or_else(PoisonError::into_inner);
        // Only fails when there was another one before.
        let _ = self.0.targets.reload(targets(level, None));
        *in_force = InForce {
            level,
            rust_log: None,
        };
    }
}

/// Our own lines from `level` on; those of libraries only where they matter, or when all is asked for. What the
/// filter says of a target, or of all, has the last word.
fn targets(level: LogLevel, filter: Option<&LogFilter>) -> Targets {
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
    let targets = Targets::new()
        .with_target("meshd", ours)
        .with_target("hivemind", ours)
        .with_default(others);
    match filter.map(LogFilter::targets) {
        None => targets,
        Some(all) if all.default_level().is_some() => all.clone(),
        Some(some) => targets.with_targets(
            some.iter()
                .map(|(target, level)| (target.to_owned(), level)),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    fn with_rust_log(level: LogLevel, text: &str) -> Targets {
        let filter: LogFilter = text.parse().unwrap();
        targets(level, Some(&filter))
    }

    #[test]
    fn libraries_are_quieter_than_we_are() {
        let targets = targets(LogLevel::Debug, None);
        assert!(targets.would_enable("meshd::server", &Level::DEBUG));
        assert!(!targets.would_enable("h2::codec", &Level::DEBUG));
        assert!(targets.would_enable("h2::codec", &Level::WARN));
    }

    #[test]
    fn off_is_off_for_everyone() {
        let targets = targets(LogLevel::Off, None);
        assert!(!targets.would_enable("meshd", &Level::ERROR));
        assert!(!targets.would_enable("h2", &Level::ERROR));
    }

    #[test]
    fn rust_log_has_the_last_word_on_what_it_names() {
        let some = with_rust_log(LogLevel::Info, "h2=debug,meshd::mesh=off");
        assert!(some.would_enable("h2::codec", &Level::DEBUG));
        assert!(!some.would_enable("meshd::mesh::worker", &Level::ERROR));
        assert!(some.would_enable("meshd::server", &Level::INFO));
        assert!(!some.would_enable("hyper", &Level::INFO));

        let all = with_rust_log(LogLevel::Info, "debug,h2=error");
        assert!(all.would_enable("meshd", &Level::DEBUG));
        assert!(all.would_enable("hyper", &Level::DEBUG));
        assert!(!all.would_enable("h2", &Level::WARN));
        assert!(!with_rust_log(LogLevel::Trace, "off").would_enable("meshd", &Level::ERROR));
    }
}
