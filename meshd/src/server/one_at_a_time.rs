//! Answers that take their time.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// Puts answers together that look at everything, one at a time and beside the thread that accepts calls:
/// whoever asks often gets no more memory and no more cores than whoever asks once.
#[derive(Clone, Debug)]
pub struct OneAtATime(Arc<Semaphore>);

impl Default for OneAtATime {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl OneAtATime {
    /// Does the work once those who asked before have their answers. `None` when it panicked, or meshd ends.
    pub(super) async fn answer<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let turn = Arc::clone(&self.0).acquire_owned().await.ok()?;
        let answer = tokio::task::spawn_blocking(move || {
            let answer = work();
            // Held until here, also when whoever asked has left meanwhile.
            drop(turn);
            answer
        });
        answer.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn an_answer_waits_for_the_one_before_also_when_nobody_waits_for_that_any_more() {
        let answers = OneAtATime::default();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (started, has_started) = tokio::sync::oneshot::channel();
        let (go_on, may_go_on) = mpsc::channel();
        let first = tokio::spawn({
            let (answers, log) = (answers.clone(), Arc::clone(&log));
            async move {
                let work = move || {
                    started.send(()).unwrap();
                    may_go_on.recv().unwrap();
                    log.lock().unwrap().push("first");
                };
                answers.answer(work).await
            }
        });
        has_started.await.unwrap();
        first.abort();
        let second = tokio::spawn({
            let log = Arc::clone(&log);
            async move {
                answers
                    .answer(move || log.lock().unwrap().push("second"))
                    .await
            }
        });
        assert!(log.lock().unwrap().is_empty());
        go_on.send(()).unwrap();
        second.await.unwrap().unwrap();
        assert_eq!(*log.lock().unwrap(), ["first", "second"]);
    }
}
