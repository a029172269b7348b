//! Answers calls on the task of their connection.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Waker};

use hyper::rt::Executor;

/// Runs the task of a call on the spot as far as it gets, which for a request that has come as a whole is to its end.
/// Only a task that has to wait becomes one of the runtime's.
///
/// Spawning every task would cost a call a tenth more: the task is moved several times and waits for its turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct AtOnce;

impl<F> Executor<F> for AtOnce
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        let mut task = Box::pin(task);
        // Nobody is to be woken: the runtime polls what is spawned once more and brings a waker of its own.
        let mut context = Context::from_waker(Waker::noop());
        // As the runtime does: a panic ends this task and nothing else.
        let polled = catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(&mut context)));
        if polled.is_ok_and(|polled| polled.is_pending()) {
            tokio::spawn(task as Pin<Box<F>>);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn a_task_that_has_nothing_to_wait_for_ends_on_the_spot_without_a_runtime() {
        let is_done = Arc::new(AtomicBool::new(false));
        let done = Arc::clone(&is_done);
        AtOnce.execute(async move { done.store(true, Ordering::Relaxed) });
        assert!(is_done.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn a_task_that_waits_goes_on_when_it_is_woken() {
        let (ask, asked) = oneshot::channel::<u32>();
        let (answer, answered) = oneshot::channel();
        AtOnce.execute(async move {
            let number = asked.await.unwrap();
            answer.send(number + 1).unwrap();
        });
        ask.send(1).unwrap();
        assert_eq!(answered.await, Ok(2));
    }

    #[tokio::test]
    async fn a_task_that_panics_takes_nobody_with_it() {
        let (answer, answered) = oneshot::channel::<()>();
        AtOnce.execute(async move {
            let _answer = answer;
            panic!("as a bug would");
        });
        assert!(answered.await.is_err());
    }
}
