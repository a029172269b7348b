//! Waiting for something to become true, with an end to the patience.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How often a condition is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// How long a step that takes well under a second on an idle machine may take on a busy one.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How long a cluster may take to agree on something: a few seconds on an idle machine, more when
/// datagrams are lost and hosts have to be declared gone first.
pub const CLUSTER_PATIENCE: Duration = Duration::from_secs(60);

/// A condition did not come true in time.
#[derive(Debug, thiserror::Error)]
#[error("waited {} s for {what}, in vain{}", patience.as_secs(), last_seen(seen))]
pub struct TimedOut {
    /// What was waited for.
    pub what: String,
    /// For how long.
    pub patience: Duration,
    /// What was there instead, when the condition can tell.
    pub seen: Option<String>,
}

fn last_seen(seen: &Option<String>) -> String {
    let seen = seen.as_ref();
    seen.map_or_else(String::new, |seen| format!("; last seen: {seen}"))
}

/// Looks every few milliseconds whether `condition` has a value, until it has one.
///
/// # Errors
///
/// [`TimedOut`] when `patience` is over. The condition is looked at once more at the very end, so a
/// machine that slept through the deadline does not fail for that.
pub async fn until<T>(
    what: impl Into<String>,
    patience: Duration,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> Result<T, TimedOut> {
    let wordless = until_ok(what, patience, async || condition().await.ok_or(""));
    wordless.await.map_err(|timed_out| TimedOut {
        seen: None,
        ..timed_out
    })
}

/// As [`until`], for a condition that tells what there is instead of what was waited for.
///
/// # Errors
///
/// [`TimedOut`], with the condition's last words.
pub async fn until_ok<T, E: ToString>(
    what: impl Into<String>,
    patience: Duration,
    mut condition: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, TimedOut> {
    let deadline = Instant::now() + patience;
    loop {
        let last = Instant::now() >= deadline;
        match condition().await {
            Ok(value) => return Ok(value),
            Err(seen) if last => {
                return Err(TimedOut {
                    what: what.into(),
                    patience,
                    seen: Some(seen.to_string()),
                });
            }
            Err(_) => {}
        }
        sleep(POLL_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_value_of_the_condition_is_handed_back() {
        let mut looks = 0;
        let seen = until("the third look", PATIENCE, async || {
            looks += 1;
            (looks == 3).then_some(looks)
        });
        assert_eq!(seen.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn patience_ends() {
        let error = until("rain", Duration::ZERO, async || None::<()>)
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "waited 0 s for rain, in vain");
    }

    #[tokio::test]
    async fn what_was_seen_instead_is_told() {
        let error = until_ok("rain", Duration::ZERO, async || Err::<(), _>("sun"))
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "waited 0 s for rain, in vain; last seen: sun"
        );
    }
}
