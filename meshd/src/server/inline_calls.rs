//! Answers the calls of a connection on the task of the connection.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use hyper::rt::Executor;

/// What answers a call.
type Call = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Calls of one connection that were accepted and not looked at yet; cloning shares them.
///
/// A task of the runtime for each would cost a call a tenth more: it is moved several times and waits for its turn.
#[derive(Clone, Default)]
pub(super) struct InlineCalls(Arc<Mutex<Vec<Call>>>);

impl fmt::Debug for InlineCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InlineCalls").finish_non_exhaustive()
    }
}

impl<F> Executor<F> for InlineCalls
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, call: F) {
        self.accepted(|calls| calls.push(Box::pin(call)));
    }
}

impl InlineCalls {
    /// Drives a connection that gives its calls to `self`. All that have come are accepted, then answered, and then
    /// the answers are written: together, where they came together.
    pub(super) fn poll<C: Future>(
        &self,
        mut connection: Pin<&mut C>,
        context: &mut Context<'_>,
    ) -> Poll<C::Output> {
        loop {
            let polled = connection.as_mut().poll(context);
            if !self.answer() || polled.is_ready() {
                return polled;
            }
        }
    }

    /// Answers each call as far as that goes, which for a request that has come as a whole is to its end. One that
    /// has to wait becomes a task of the runtime. `false`: there was none.
    fn answer(&self) -> bool {
        let mut calls = self.accepted(std::mem::take);
        if calls.is_empty() {
            return false;
        }
        for mut call in calls.drain(..) {
            // Nobody is to be woken: the runtime polls what is spawned once more and brings a waker of its own.
            let mut context = Context::from_waker(Waker::noop());
            // As the runtime does: a panic ends this call and nothing else.
            let polled = catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(&mut context)));
            if polled.is_ok_and(|polled| polled.is_pending()) {
                tokio::spawn(call);
            }
        }
        // The room is good for the next ones.
        self.accepted(|accepted| {
            if accepted.is_empty() {
                *accepted = calls;
            }
        });
        true
    }

    fn accepted<T>(&self, change: impl FnOnce(&mut Vec<Call>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    fn poll_once<C: Future>(calls: &InlineCalls, connection: Pin<&mut C>) -> Poll<C::Output> {
        calls.poll(connection, &mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn calls_that_came_together_are_answered_before_the_connection_is_polled_again() {
        let calls = InlineCalls::default();
        let answered = Arc::new(AtomicUsize::new(0));
        let mut seen = Vec::new();
        let connection = pin!(poll_fn(|_| {
            seen.push(answered.load(Ordering::Relaxed));
            if seen.len() == 1 {
                for _ in 0..3 {
                    let answered = Arc::clone(&answered);
                    calls.execute(async move {
                        answered.fetch_add(1, Ordering::Relaxed);
                    });
                }
            }
            Poll::<()>::Pending
        }));
        // Without a runtime: nothing is spawned.
        assert!(poll_once(&calls, connection).is_pending());
        assert_eq!(seen, [0, 3]);
    }

    #[test]
    fn calls_that_were_accepted_are_answered_though_the_connection_has_ended() {
        let calls = InlineCalls::default();
        let answered = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&answered);
        calls.execute(async move {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert!(poll_once(&calls, pin!(async {})).is_ready());
        assert_eq!(answered.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_call_that_waits_goes_on_when_it_is_woken() {
        let calls = InlineCalls::default();
        let (ask, asked) = oneshot::channel::<u32>();
        let (answer, answered) = oneshot::channel();
        calls.execute(async move {
            let number = asked.await.unwrap();
            answer.send(number + 1).unwrap();
        });
        assert!(poll_once(&calls, pin!(pending::<()>())).is_pending());
        ask.send(1).unwrap();
        assert_eq!(answered.await, Ok(2));
    }

    #[tokio::test]
    async fn a_call_that_panics_takes_no_other_with_it() {
        let calls = InlineCalls::default();
        let (lost, is_lost) = oneshot::channel::<()>();
        let (answer, answered) = oneshot::channel();
        calls.execute(async move {
            let _lost = lost;
            panic!("as a bug would");
        });
        calls.execute(async move { answer.send(()).unwrap() });
        assert!(poll_once(&calls, pin!(pending::<()>())).is_pending());
        assert!(is_lost.await.is_err());
        assert_eq!(answered.await, Ok(()));
    }
}
