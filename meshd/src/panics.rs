//! Panics, which only bugs bring about: each is an error in the log, and health says what it costs.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::panic::PanicHookInfo;

use tracing::error;

/// Sends panics to the log from now on, in its format, instead of to standard error.
pub fn log() {
    std::panic::set_hook(Box::new(log_panic));
}

fn log_panic(info: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let location = info.location().map(tracing::field::display);
    let panic = info.payload_as_str().unwrap_or("(no text)");
    // Only where RUST_BACKTRACE asks for it.
    let backtrace = Backtrace::capture();
    let is_captured = backtrace.status() == BacktraceStatus::Captured;
    let backtrace = is_captured.then_some(tracing::field::display(backtrace));
    error!(
        thread = thread.name(),
        location, panic, backtrace, "a panic: this is a bug in meshd"
    );
}

/// Does something when the thread or task that has it dies of a panic; nothing when that ends by itself.
pub struct PanicNotice(Option<Box<dyn FnOnce() + Send>>);

impl PanicNotice {
    /// A notice that does this.
    pub fn new(consequence: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(consequence)))
    }
}

impl fmt::Debug for PanicNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PanicNotice")
    }
}

impl Drop for PanicNotice {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(consequence) = self.0.take()
        {
            consequence();
        }
    }
}

/// Runs a thread that has this and panics.
#[cfg(test)]
pub(crate) fn die_with(notice: PanicNotice) {
    let died = std::thread::spawn(move || {
        let _notice = notice;
        panic!("as a bug would");
    });
    assert!(died.join().is_err());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn counting(count: &Arc<AtomicU32>) -> PanicNotice {
        let count = Arc::clone(count);
        PanicNotice::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        })
    }

    #[test]
    fn a_thread_that_panics_has_consequences_and_one_that_ends_has_none() {
        let count = Arc::default();
        let notice = counting(&count);
        let ended = std::thread::spawn(move || drop(notice)).join();
        assert!(ended.is_ok());
        assert_eq!(count.load(Ordering::Relaxed), 0);

        die_with(counting(&count));
        assert_eq!(count.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn so_has_a_task_that_panics_after_a_wait_but_not_one_that_is_aborted() {
        let count = Arc::default();
        let notice = counting(&count);
        let died = tokio::spawn(async move {
            let _notice = notice;
            tokio::task::yield_now().await;
            panic!("as a bug would");
        });
        assert!(died.await.is_err());
        assert_eq!(count.load(Ordering::Relaxed), 1);

        let notice = counting(&count);
        let aborted = tokio::spawn(async move {
            let _notice = notice;
            std::future::pending::<()>().await;
        });
        tokio::task::yield_now().await;
        aborted.abort();
        assert!(aborted.await.is_err());
        assert_eq!(count.load(Ordering::Relaxed), 1);
    }
}
