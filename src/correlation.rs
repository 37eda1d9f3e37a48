//! The correlation id and the trace of this thread or task.
//!
//! Messages written inside a scope carry its id in `dop-correlation-id`, and its trace in
//! `traceparent` and `tracestate` (W3C Trace Context). Handling a message opens a scope with the
//! message's own, so that a chain of messages can be followed. A scope is also a `tracing` span
//! `correlated` with the field `correlation_id`.

use std::cell::RefCell;
use std::future::Future;
use std::pin::pin;
use std::task::Poll;

use tracing::{Instrument, Span, info_span};

/// W3C Trace Context, "traceparent Header".
pub const TRACEPARENT: &str = "traceparent";
/// W3C Trace Context, "tracestate Header".
pub const TRACESTATE: &str = "tracestate";
/// A longer `tracestate` may be truncated by others, so it is left out.
const TRACESTATE_LIMIT: usize = 512;

/// A trace that is passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    parent: String,
    state: Option<String>,
}

impl Trace {
    /// A trace from the values of its two headers. `None` if `parent` is not a valid `traceparent`.
    #[must_use]
    pub fn new(parent: &str, state: Option<&str>) -> Option<Self> {
        let fits = |state: &&str| !state.is_empty() && state.len() <= TRACESTATE_LIMIT;
        is_traceparent(parent).then(|| Self {
            parent: parent.to_owned(),
            state: state.filter(fits).map(str::to_owned),
        })
    }

    /// The value of `traceparent`.
    #[must_use]
    pub fn parent(&self) -> &str {
        &self.parent
    }

    /// The value of `tracestate`.
    #[must_use]
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }
}

/// `version-trace_id-parent_id-flags` in lower-case hex, with ids that are not all zero. Later versions may
/// have more after another hyphen.
fn is_traceparent(text: &str) -> bool {
    let mut parts = text.split('-');
    let mut next = |length: usize| {
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let part = parts.next().unwrap_or_default();
        (part.len() == length && part.bytes().all(is_hex)).then_some(part)
    };
    let (Some(version), Some(trace), Some(parent), Some(_)) =
        (next(2), next(32), next(16), next(2))
    else {
        return false;
    };
    let is_zero = |id: &str| id.bytes().all(|digit| digit == b'0');
    version != "ff" && !is_zero(trace) && !is_zero(parent) && (version != "00" || text.len() == 55)
}

/// The content of a scope.
#[derive(Debug, Clone, Default)]
struct Context {
    id: Option<String>,
    trace: Option<Trace>,
}

thread_local! {
    static CURRENT: RefCell<Context> = const { RefCell::new(Context { id: None, trace: None }) };
}

/// Restores the outer context, also if the scope ends in a panic.
struct Restore(Context);

impl Drop for Restore {
    fn drop(&mut self) {
        let outer = std::mem::take(&mut self.0);
        CURRENT.with(|current| *current.borrow_mut() = outer);
    }
}

fn enter(context: Context) -> Restore {
    Restore(CURRENT.with(|current| current.replace(context)))
}

fn inherited() -> Context {
    CURRENT.with(|current| current.borrow().clone())
}

fn span(context: &Context) -> Span {
    match &context.id {
        Some(id) => info_span!("correlated", correlation_id = id),
        None => Span::current(),
    }
}

/// The id of the innermost open scope of this thread or task.
#[must_use]
pub fn current() -> Option<String> {
    CURRENT.with(|current| current.borrow().id.clone())
}

/// The trace of the innermost open scope of this thread or task.
#[must_use]
pub fn current_trace() -> Option<Trace> {
    CURRENT.with(|current| current.borrow().trace.clone())
}

/// Runs `work` with `id` as the correlation id; the trace of an outer scope continues.
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
    let id = Some(id.into());
    within(Context { id, ..inherited() }, work)
}

/// Runs a future with `id` as the correlation id, whichever threads poll it.
pub async fn scope_async<T>(id: impl Into<String>, work: impl Future<Output = T>) -> T {
    let id = Some(id.into());
    within_async(Context { id, ..inherited() }, work).await
}

/// Runs `work` as a part of a trace; the correlation id of an outer scope continues.
///
/// ```
/// use diesel_outbox::correlation::{self, Trace};
///
/// let trace = Trace::new("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", None);
/// correlation::trace_scope(trace, || {
///     // What is published here carries the header `traceparent`.
///     assert!(correlation::current_trace().is_some());
/// });
/// ```
pub fn trace_scope<T>(trace: Option<Trace>, work: impl FnOnce() -> T) -> T {
    let outer = inherited();
    let _restore = enter(Context { trace, ..outer });
    work()
}

/// Runs a future as a part of a trace, whichever threads poll it.
pub async fn trace_scope_async<T>(trace: Option<Trace>, work: impl Future<Output = T>) -> T {
    entered(
        Context {
            trace,
            ..inherited()
        },
        work,
    )
    .await
}

/// Runs `work` on behalf of a message, in the span of the message.
#[cfg(any(feature = "subscriber", feature = "calls"))]
pub(crate) fn on_behalf<T>(
    id: &str,
    trace: Option<Trace>,
    span: &Span,
    work: impl FnOnce() -> T,
) -> T {
    let id = Some(id.to_owned());
    span.in_scope(|| within(Context { id, trace }, work))
}

/// Runs a future on behalf of a message, in the span of the message.
#[cfg(any(feature = "subscriber", feature = "calls"))]
pub(crate) async fn on_behalf_async<T>(
    id: String,
    trace: Option<Trace>,
    span: Span,
    work: impl Future<Output = T>,
) -> T {
    let id = Some(id);
    within_async(Context { id, trace }, work)
        .instrument(span)
        .await
}

fn within<T>(context: Context, work: impl FnOnce() -> T) -> T {
    let span = span(&context);
    let _restore = enter(context);
    span.in_scope(work)
}

async fn within_async<T>(context: Context, work: impl Future<Output = T>) -> T {
    let span = span(&context);
    entered(context, work).instrument(span).await
}

async fn entered<T>(context: Context, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    std::future::poll_fn(move |task| -> Poll<T> {
        let _restore = enter(context.clone());
        work.as_mut().poll(task)
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

    #[test]
    fn log_lines_in_a_scope_carry_its_id() {
        use std::sync::{Arc, Mutex};

        #[derive(Clone, Default)]
        struct Lines(Arc<Mutex<Vec<u8>>>);

        impl std::io::Write for Lines {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(bytes);
                Ok(bytes.len())
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }

        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            scope("chain-7", || tracing::info!("within"));
            tracing::info!("without");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let (within, without) = text.split_once('\n').unwrap();
        assert!(
            within.contains("correlated{correlation_id=\"chain-7\"}"),
            "{within}"
        );
        assert!(!without.contains("chain-7"), "{without}");
    }

    #[test]
    fn only_a_valid_trace_is_propagated() {
        let valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        for (parent, expected) in [
            (valid.to_owned(), true),
            (valid.replacen("00", "01", 1) + "-more", true),
            (valid.to_owned() + "-more", false),
            (valid.replacen("00", "ff", 1), false),
            (valid.to_uppercase(), false),
            (
                valid.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
                false,
            ),
            (valid.replace("00f067aa0ba902b7", &"0".repeat(16)), false),
            (valid[..54].to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(Trace::new(&parent, None).is_some(), expected, "{parent}");
        }
        let state = |text: &str| Trace::new(valid, Some(text)).unwrap().state;
        assert_eq!(state("a=b").as_deref(), Some("a=b"));
        assert_eq!(state(""), None);
        assert_eq!(state(&"x".repeat(513)), None);
    }

    #[test]
    fn scopes_of_both_kinds_keep_what_the_other_holds() {
        let trace = Trace::new(
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            None,
        );
        scope("id", || {
            trace_scope(trace.clone(), || {
                assert_eq!(current().as_deref(), Some("id"));
                scope("other", || assert_eq!(current_trace(), trace));
                on_behalf("message", None, &Span::none(), || {
                    assert_eq!(current_trace(), None);
                });
            });
            assert_eq!(current_trace(), None);
        });
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
