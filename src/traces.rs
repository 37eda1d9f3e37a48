//! Spans of `tracing` for messages and calls, and the hook for a tracing system such as OpenTelemetry.
//!
//! | span | kind | where |
//! | --- | --- | --- |
//! | `create` | producer | a message or a call is written |
//! | `send` | client | a relay or a [`Producer`](crate::Producer) sends a message, until its receipt |
//! | `process` | consumer | one attempt to handle a message, or one execution of a call |
//!
//! The context of `create` is stored in the headers `traceparent` and `tracestate` (W3C Trace Context). `send` and
//! `process` continue from it, also in other processes. This crate does not depend on a tracing system: an
//! application installs a [`Propagator`] once, when the process starts. Without one the spans are not connected, and
//! messages carry the trace of the open [`trace_scope`](crate::correlation::trace_scope).
//!
//! The spans have the level DEBUG and the target [`TARGET`]. If no subscriber of `tracing` is interested in them, they
//! are not created. Names and attributes are those of OpenTelemetry's semantic conventions for messaging.

mod spans;

use std::sync::OnceLock;

use tracing::Span;

use crate::correlation::{self, Trace};
use crate::headers::Headers;

pub(crate) use spans::*;

/// The target of the spans, for filters: `info,diesel_outbox::traces=debug`.
pub const TARGET: &str = "diesel_outbox::traces";

/// Connects spans with a tracing system, such as OpenTelemetry.
///
/// Its methods are called by the thread that writes, sends or handles: they must not block.
pub trait Propagator: Send + Sync {
    /// Returns the context of a span, for the headers of a message. `None` if the span is in no trace.
    ///
    /// `span` is disabled if no subscriber is interested in the spans of this crate and no span is open.
    fn context(&self, span: &Span) -> Option<Trace>;

    /// Continues a trace in a new span, which was not entered yet: `trace` becomes its parent, a link, or both.
    fn continue_trace(&self, span: &Span, trace: &Trace);

    /// Exports spans that are buffered. The programs of [`cli`](crate::cli) call it before they end the process.
    fn flush(&self) {}
}

static PROPAGATOR: OnceLock<Box<dyn Propagator>> = OnceLock::new();

/// A propagator is already set and is kept.
#[derive(Debug, thiserror::Error)]
#[error("a propagator is set already; set it once, when the process starts")]
pub struct PropagatorIsSet;

/// Sets the propagator of the whole process.
///
/// # Errors
///
/// [`PropagatorIsSet`] if a propagator is already set.
pub fn set_propagator(propagator: impl Propagator + 'static) -> Result<(), PropagatorIsSet> {
    PROPAGATOR
        .set(Box::new(propagator))
        .map_err(|_| PropagatorIsSet)
}

/// Flushes the propagator before the process ends.
#[cfg(feature = "cli")]
pub(crate) fn flush() {
    if let Some(propagator) = PROPAGATOR.get() {
        propagator.flush();
    }
}

/// Adds the trace of a new message to its headers: the context of the span that is made for it, otherwise the trace of
/// the open scope. Headers that have a trace keep it, and no span is made. The span ends when the result is dropped.
pub(crate) fn propagate(headers: &mut Headers, span: impl FnOnce() -> Span) -> Span {
    if headers.contains_key(correlation::TRACEPARENT) {
        return Span::none();
    }
    let span = span();
    let Some(trace) = context(&span).or_else(correlation::current_trace) else {
        return span;
    };
    let parent = trace.parent().to_owned();
    headers.insert(correlation::TRACEPARENT.to_owned(), parent);
    // It would belong to another trace.
    headers.remove(correlation::TRACESTATE);
    if let Some(state) = trace.state() {
        headers.insert(correlation::TRACESTATE.to_owned(), state.to_owned());
    }
    span
}

/// The context of a span, or of the innermost open one if no subscriber is interested in this span.
fn context(span: &Span) -> Option<Trace> {
    let propagator = PROPAGATOR.get()?;
    if span.is_disabled() {
        propagator.context(&Span::current())
    } else {
        propagator.context(span)
    }
}

/// Continues the trace of a message in a new span.
#[cfg(feature = "stomp")]
fn continued(span: Span, trace: Option<&Trace>) -> Span {
    if let (Some(propagator), Some(trace)) = (PROPAGATOR.get(), trace)
        && !span.is_disabled()
    {
        propagator.continue_trace(&span, trace);
    }
    span
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use tracing::field::{Field, Visit};
    use tracing_subscriber::layer::{Context, SubscriberExt};
    use tracing_subscriber::registry::LookupSpan;
    use tracing_subscriber::{Layer, Registry as Subscriber};

    use super::*;
    use crate::{Message, correlation};

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const OTHER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-aaaaaaaaaaaaaaaa-00";

    thread_local! {
        /// The trace that spans of this thread are in.
        static OF_THREAD: RefCell<Option<Trace>> = const { RefCell::new(None) };
        /// The fields of the last new span.
        static LAST: RefCell<BTreeMap<String, String>> = const { RefCell::new(BTreeMap::new()) };
    }

    /// Only in the thread of a test that asks for it: the tests share the process.
    struct OfThread;

    impl Propagator for OfThread {
        fn context(&self, span: &Span) -> Option<Trace> {
            let trace = OF_THREAD.with_borrow(Clone::clone);
            trace.filter(|_| !span.is_disabled())
        }

        fn continue_trace(&self, _: &Span, _: &Trace) {}
    }

    /// Keeps the fields of the spans of this name.
    struct Fields(&'static str);

    impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Fields {
        fn on_new_span(
            &self,
            attributes: &tracing::span::Attributes<'_>,
            _: &tracing::span::Id,
            _: Context<'_, S>,
        ) {
            if attributes.metadata().name() == self.0 {
                let mut visitor = Visitor(BTreeMap::new());
                attributes.record(&mut visitor);
                LAST.set(visitor.0);
            }
        }

        fn on_record(
            &self,
            id: &tracing::span::Id,
            values: &tracing::span::Record<'_>,
            context: Context<'_, S>,
        ) {
            if context.metadata(id).is_some_and(|it| it.name() == self.0) {
                let mut visitor = Visitor(LAST.take());
                values.record(&mut visitor);
                LAST.set(visitor.0);
            }
        }
    }

    struct Visitor(BTreeMap<String, String>);

    impl Visit for Visitor {
        fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
            self.0.insert(field.name().to_owned(), format!("{value:?}"));
        }
    }

    fn written(message: Message) -> Headers {
        message.ready().unwrap().headers
    }

    #[test]
    fn a_message_carries_the_context_of_its_span() {
        // Another test may have set it.
        let _ = set_propagator(OfThread);
        assert!(set_propagator(OfThread).is_err(), "it is kept");
        OF_THREAD.set(Trace::new(TRACE, Some("a=b")));
        let message = || Message::new("/queue/a", 1);
        let trace = || Trace::new(OTHER, None);
        // No subscriber is interested: the open scope counts.
        let headers = correlation::trace_scope(trace(), || written(message()));
        assert_eq!(headers[correlation::TRACEPARENT], OTHER);
        let headers = written(message());
        assert!(!headers.contains_key(correlation::TRACEPARENT));
        tracing::subscriber::with_default(Subscriber::default().with(Fields("create")), || {
            let headers = correlation::trace_scope(trace(), || written(message()));
            assert_eq!(headers[correlation::TRACEPARENT], TRACE);
            assert_eq!(headers[correlation::TRACESTATE], "a=b");
            let fields = LAST.take();
            assert_eq!(fields["otel.name"], "create /queue/a");
            assert_eq!(fields["messaging.operation.type"], "\"create\"");
            assert_eq!(fields["messaging.message.id"], headers["dop-msg-id"]);
            // A trace of the writer's own: OpenTelemetry asks for no span then.
            let headers = written(message().header(correlation::TRACEPARENT, OTHER));
            assert_eq!(headers[correlation::TRACEPARENT], OTHER);
            assert!(!headers.contains_key(correlation::TRACESTATE));
            assert!(LAST.take().is_empty(), "no span");
            // The span is in no trace.
            OF_THREAD.set(None);
            assert!(!written(message()).contains_key(correlation::TRACEPARENT));
        });
    }

    #[cfg(all(feature = "sqlite", feature = "testing"))]
    #[test]
    fn the_span_of_an_attempt_has_its_outcome() {
        use diesel::{Connection, SqliteConnection};

        use crate::migrations::Migrate;
        use crate::{BoxError, Outcome, Payload, Registry, testing};

        fn bill(_: &mut SqliteConnection, payload: &Payload) -> Result<Outcome, BoxError> {
            match payload.body().as_str() {
                Some("discard") => Ok(Outcome::Discard("not ours".to_owned())),
                Some("fail") => Err("the bank is closed".into()),
                _ => Ok(Outcome::Done),
            }
        }
        let mut conn = SqliteConnection::establish(":memory:").unwrap();
        conn.migrate().unwrap();
        let registry = Registry::new().on("bill", bill);
        let id = uuid::Uuid::now_v7();
        tracing::subscriber::with_default(Subscriber::default().with(Fields("process")), || {
            let mut fields = |message: Message| {
                testing::handle(&mut conn, &registry, "bill", message).unwrap();
                LAST.take()
            };
            let message = |body: &str| Message::new("/queue/a", body);
            let done = fields(message("x").id(id));
            assert_eq!(done["outbox.outcome"], "\"done\"");
            assert_eq!(done["otel.name"], "process /queue/a");
            assert_eq!(done["messaging.message.id"], format!("\"{id}\""));
            assert!(!done.contains_key("error.type"));
            let again = fields(message("x").id(id));
            assert_eq!(again["outbox.outcome"], "\"duplicate\"");
            let discarded = fields(message("discard"));
            assert_eq!(discarded["outbox.outcome"], "\"discarded\"");
            let failed = fields(message("fail"));
            assert_eq!(failed["outbox.outcome"], "\"failed\"");
            assert_eq!(failed["error.type"], "\"failed\"");
            assert_eq!(failed["otel.status_code"], "\"ERROR\"");
            assert_eq!(failed["otel.status_description"], "the bank is closed");
        });
    }
}
