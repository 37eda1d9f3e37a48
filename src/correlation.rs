//! The correlation id of what this thread or task is doing.
//!
//! Messages written inside a scope carry its id in `dop-correlation-id`; handling a message opens
//! a scope with the message's own, so that a chain of messages can be followed.

use std::cell::RefCell;
use std::future::Future;
use std::pin::pin;
use std::task::Poll;

thread_local! {
    static CURRENT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Puts the outer id back, also when the scope ends in a panic.
struct Restore(Option<String>);

impl Drop for Restore {
    fn drop(&mut self) {
        let outer = self.0.take();
        CURRENT.with(|current| *current.borrow_mut() = outer);
    }
}

fn enter(id: String) -> Restore {
    Restore(CURRENT.with(|current| current.borrow_mut().replace(id)))
}

/// The id of the innermost open scope of this thread or task.
#[must_use]
pub fn current() -> Option<String> {
    CURRENT.with(|current| current.borrow().clone())
}

/// Runs `work` with `id` as the correlation id.
///
/// ```
/// use diesel_outbox::correlation;
///
/// correlation::scope("request-7", || {
///     assert_eq!(correlation::current().as_deref(), Some("request-7"));
/// });
/// assert_eq!(correlation::current(), None);
/// ```
pub fn scope<T>(id: impl Into<String>, work: impl FnOnce() -> T) -> T {
    let _restore = enter(id.into());
    work()
}

/// Runs a future with `id` as the correlation id, whichever threads poll it.
pub async fn scope_async<T>(id: impl Into<String>, work: impl Future<Output = T>) -> T {
    let id = id.into();
    let mut work = pin!(work);
    std::future::poll_fn(move |context| -> Poll<T> {
        let _restore = enter(id.clone());
        work.as_mut().poll(context)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_nest_and_survive_a_panic() {
        scope("outer", || {
            scope("inner", || assert_eq!(current().as_deref(), Some("inner")));
            let caught = std::panic::catch_unwind(|| scope("panics", || panic!("on purpose")));
            assert!(caught.is_err());
            assert_eq!(current().as_deref(), Some("outer"));
        });
        assert_eq!(current(), None);
    }

    #[tokio::test]
    async fn a_task_keeps_its_id_over_awaits_and_leaks_none() {
        let task = scope_async("task", async {
            tokio::task::yield_now().await;
            current()
        });
        let other = async {
            tokio::task::yield_now().await;
            current()
        };
        let (inside, outside) = tokio::join!(task, other);
        assert_eq!(inside.as_deref(), Some("task"));
        assert_eq!(outside, None);
    }
}
