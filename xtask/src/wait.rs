//! Waiting for something to become true, with an end to the patience.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How often a condition is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// How long a step that takes well under a second on an idle machine may take on a busy one.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A condition did not come true in time.
#[derive(Debug, thiserror::Error)]
#[error("waited {} s for {what}, in vain", patience.as_secs())]
pub struct TimedOut {
    /// What was waited for.
    pub what: String,
    /// For how long.
    pub patience: Duration,
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
    let deadline = Instant::now() + patience;
    loop {
        let last = Instant::now() >= deadline;
        if let Some(value) = condition().await {
            return Ok(value);
        }
        if last {
            return Err(TimedOut {
                what: what.into(),
                patience,
            });
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
}
