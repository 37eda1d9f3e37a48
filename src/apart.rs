//! Work in a task of its own.
//!
//! What runs in the thread of `block_on` is woken from another thread by each message; what runs in a
//! task of the runtime is beside the connection's own.

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

/// Runs `work` in a task and awaits it. Dropped, it ends the task at its next pause; a panic of the
/// task goes on here.
pub(crate) async fn apart<T>(work: impl Future<Output = T> + Send + 'static) -> T
where
    T: Send + 'static,
{
    let work = work.in_current_span().with_current_subscriber();
    let mut task = Bound(tokio::spawn(work));
    match (&mut task.0).await {
        Ok(output) => output,
        Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
        // Nobody else aborts it. Without its runtime it would panic at its next pause anyway.
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
            (outer, apart(async { tokio::task::id() }).await)
        });
        let (outer, inner) = here.await.unwrap();
        assert_ne!(outer, inner);
    }

    #[tokio::test]
    async fn dropped_it_ends_the_task() {
        let (alive, ended) = oneshot::channel::<()>();
        let work = apart(async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        });
        let waited = tokio::time::timeout(Duration::from_millis(10), work).await;
        assert!(waited.is_err());
        assert!(ended.await.is_err(), "what it held is dropped");
    }

    #[tokio::test]
    async fn a_panic_goes_on() {
        let work = AssertUnwindSafe(apart(async { panic!("on purpose") }));
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
                handle.block_on(apart(async move {
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
