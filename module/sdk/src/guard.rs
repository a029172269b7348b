//! The wall no panic gets through.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::abi::envoy_dynamic_module_type_log_level::Error;
use crate::log;

/// Panics caught in this process.
static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Runs the body of a hook. When it panics, says so in Envoy's log and returns `fallback`.
///
/// A filter that panics may do so on every request, and a log line a request is an outage of its
/// own: only the 1st, 2nd, 4th, 8th … panic of the process is logged.
#[inline]
pub(crate) fn guard<R>(hook: &str, fallback: R, body: impl FnOnce() -> R) -> R {
    // Unwind safety: what a panic leaves half done belongs to one stream's filter or to a
    // configuration, whose types keep their own invariants; memory safety depends on neither.
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(result) => result,
        Err(panic) => {
            report(hook, panic);
            fallback
        }
    }
}

#[cold]
fn report(hook: &str, panic: Box<dyn Any + Send>) {
    // Relaxed: a count that orders nothing.
    let count = PANICS.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
    if count.is_power_of_two() {
        let text = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("(a panic without text)");
        log::write(
            Error,
            &format!(
                "a bug in the module: {hook} panicked: {text}; the stream goes on without it \
                 (panic {count} of this process)"
            ),
        );
    }
    // Dropping what was thrown may panic again, and that panic would have nobody to catch it.
    std::mem::forget(panic);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_envoy::with;

    #[test]
    fn a_hook_that_always_panics_is_logged_but_does_not_flood_the_log() {
        for _ in 0..64 {
            assert_eq!(guard("some_hook", 7, || panic!("a panic for the test")), 7);
        }
        // Other tests may panic meanwhile, so where in the count these 64 fell is not known.
        let lines = with(|envoy| envoy.log.clone());
        assert!((1..=8).contains(&lines.len()), "{lines:?}");
        assert!(
            lines[0].contains("some_hook panicked: a panic for the test"),
            "{lines:?}"
        );
    }

    #[test]
    fn a_panic_that_panics_again_when_dropped_stays_inside() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("a second panic for the test");
            }
        }
        assert_eq!(guard("some_hook", 7, || std::panic::panic_any(Bomb)), 7);
    }
}
