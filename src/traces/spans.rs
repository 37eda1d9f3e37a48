//! The spans. Semantic conventions for messaging spans: <https://opentelemetry.io/docs/specs/semconv/messaging/>.

#[cfg(feature = "stomp")]
use std::fmt::Display;

use tracing::Span;
#[cfg(feature = "stomp")]
use tracing::field::{Empty, display};
use uuid::Uuid;

use super::TARGET;
#[cfg(feature = "stomp")]
use super::continued;
#[cfg(feature = "stomp")]
use crate::broker::Broker;
#[cfg(feature = "stomp")]
use crate::correlation::{self, Trace};
#[cfg(feature = "stomp")]
use crate::stomp::SendFrame;

/// `messaging.system` in the process that writes a message: it does not know the broker.
const STOMP: &str = "stomp";
/// `messaging.system` of function calls.
const OUTBOX: &str = "outbox";

/// The span of a message that is written.
pub(crate) fn create(destination: &str, id: Uuid) -> Span {
    created(STOMP, destination, id)
}

/// The span of a function call that is written.
pub(crate) fn create_call(name: &str, id: Uuid) -> Span {
    created(OUTBOX, name, id)
}

fn created(system: &'static str, destination: &str, id: Uuid) -> Span {
    tracing::debug_span!(
        target: TARGET,
        "create",
        otel.name = %format_args!("create {destination}"),
        otel.kind = "producer",
        messaging.system = system,
        messaging.operation.name = "create",
        "messaging.operation.type" = "create",
        messaging.destination.name = destination,
        messaging.message.id = %id,
    )
}

/// The span of a message that is sent, until its receipt.
#[cfg(feature = "stomp")]
pub(crate) fn send(broker: Broker, id: Uuid, frame: &SendFrame) -> Span {
    let span = tracing::debug_span!(
        target: TARGET,
        "send",
        otel.name = %format_args!("send {}", frame.destination),
        otel.kind = "client",
        otel.status_code = Empty,
        otel.status_description = Empty,
        "error.type" = Empty,
        messaging.system = broker.messaging_system().unwrap_or(STOMP),
        messaging.operation.name = "send",
        "messaging.operation.type" = "send",
        messaging.destination.name = frame.destination,
        messaging.message.id = %id,
        messaging.message.body.size = frame.body.len(),
    );
    if span.is_disabled() {
        return span;
    }
    let header = |name: &str| {
        let mut headers = frame.headers.iter();
        let found = headers.find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    };
    let trace = header(correlation::TRACEPARENT)
        .and_then(|parent| Trace::new(parent, header(correlation::TRACESTATE)));
    continued(span, trace.as_ref())
}

/// The span of an attempt to handle a message.
#[cfg(feature = "subscriber")]
pub(crate) fn process(payload: &crate::Payload) -> Span {
    let span = tracing::debug_span!(
        target: TARGET,
        "process",
        otel.name = %format_args!("process {}", payload.destination()),
        otel.kind = "consumer",
        otel.status_code = Empty,
        otel.status_description = Empty,
        "error.type" = Empty,
        messaging.system = payload.broker().messaging_system().unwrap_or(STOMP),
        messaging.operation.name = "process",
        "messaging.operation.type" = "process",
        messaging.destination.name = payload.destination(),
        messaging.destination.subscription.name = payload.queue(),
        messaging.message.id = payload.msg_id(),
        messaging.message.conversation_id = payload.correlation_id(),
        messaging.message.body.size = payload.raw().len(),
        outbox.outcome = Empty,
    );
    if span.is_disabled() {
        return span;
    }
    continued(span, payload.trace().as_ref())
}

/// The span of an execution of a call.
#[cfg(feature = "calls")]
pub(crate) fn process_call(
    name: &str,
    id: Uuid,
    correlation_id: &str,
    trace: Option<&Trace>,
) -> Span {
    let span = tracing::debug_span!(
        target: TARGET,
        "process",
        otel.name = %format_args!("process {name}"),
        otel.kind = "consumer",
        otel.status_code = Empty,
        otel.status_description = Empty,
        "error.type" = Empty,
        messaging.system = OUTBOX,
        messaging.operation.name = "process",
        "messaging.operation.type" = "process",
        messaging.destination.name = name,
        messaging.message.id = %id,
        messaging.message.conversation_id = correlation_id,
        outbox.outcome = Empty,
    );
    continued(span, trace)
}

/// Records the outcome in a span of `process`.
#[cfg(any(feature = "subscriber", feature = "calls"))]
pub(crate) fn ended(span: &Span, outcome: &'static str) {
    span.record("outbox.outcome", outcome);
}

/// Records that the work of a span has failed. `kind` is one of a few words.
#[cfg(feature = "stomp")]
pub(crate) fn failed(span: &Span, kind: &'static str, reason: &dyn Display) {
    span.record("error.type", kind);
    span.record("otel.status_code", "ERROR");
    span.record("otel.status_description", display(reason));
}
