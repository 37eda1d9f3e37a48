//! Runs work in a separate task.
//!
//! A future in `block_on` runs on the caller's thread, and each message of a connection wakes it from another
//! thread. A task runs on the same threads as the task of the connection.

use std::panic::resume_unwind;

use tokio::task::JoinHandle;
use tracing::Instrument;
use tracing::instrument::WithSubscriber;

/// Aborts its task when it is dropped.
struct Bound<T>(JoinHandle<T>);

impl<T> Drop for Bound<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs `work` in a task and waits for it. If this future is dropped, the task ends at its next `await`. A panic
/// of the task continues here.
pub(crate) async fn run_in_task<T>(work: impl Future<Output = T> + Send + 'static) -> T
where
    T: Send + 'static,
{
    let work = work.in_current_span().with_current_subscriber();
    let mut task = Bound(tokio::spawn(work));
    match (&mut task.0).await {
        Ok(output) => output,
        Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
        // Only the end of the runtime aborts it. Without a runtime the caller could not continue either.
        Err(_) => resume_unwind(Box::new("the runtime was shut down")),
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::time::Duration;

    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_it_yields_comes_back_from_another_task() {
        let here = tokio::spawn(async {
            let outer = tokio::task::id();
            (outer, run_in_task(async { tokio::task::id() }).await)
        });
        let (outer, inner) = here.await.unwrap();
        assert_ne!(outer, inner);
    }

    #[tokio::test]
    async fn dropped_it_ends_the_task() {
        let (alive, ended) = oneshot::channel::<()>();
        let work = run_in_task(async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        });
        let waited = tokio::time::timeout(Duration::from_millis(10), work).await;
        assert!(waited.is_err());
        assert!(ended.await.is_err(), "what it held is dropped");
    }

    #[tokio::test]
    async fn a_panic_is_propagated() {
        let work = AssertUnwindSafe(run_in_task(async { panic!("on purpose") }));
        let panic: Box<dyn std::any::Any + Send> = work.catch_unwind().await.unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"on purpose"));
    }

    #[test]
    fn without_its_runtime_it_does_not_wait_for_ever() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let handle = runtime.handle().clone();
        let (begin, begun) = std::sync::mpsc::channel();
        let waiting = std::thread::spawn(move || {
            catch_unwind(AssertUnwindSafe(|| {
                handle.block_on(run_in_task(async move {
                    begin.send(()).unwrap();
                    std::future::pending::<()>().await;
                }));
            }))
        });
        begun.recv().unwrap();
        runtime.shutdown_background();
        assert!(waiting.join().unwrap().is_err());
    }
}
