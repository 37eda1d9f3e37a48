//! The scope of an execution: the correlation id and the trace that its function continues, and its span.

use tracing::Span;

use crate::calls::function::{CallFuture, CallResult};
use crate::correlation::{self, Trace};
use crate::engine::delivery::Outcome;
use crate::engine::row::Row;
use crate::headers::{CORRELATION_ID, Headers};
use crate::traces;

/// The correlation id and the trace of the code that wrote a call, and the span of its execution.
pub(super) struct Scope {
    /// The id in the headers.
    pub(super) written_id: Option<String>,
    /// The same, or the id of the row.
    correlation_id: String,
    trace: Option<Trace>,
    pub(super) span: Span,
}

impl Scope {
    pub(super) fn of(row: &Row) -> Self {
        // An operator may have changed the row.
        let headers: Headers = serde_json::from_str(&row.claimed.headers).unwrap_or_default();
        let get = |name: &str| headers.get(name).map(String::as_str);
        let written_id = get(CORRELATION_ID).map(str::to_owned);
        let correlation_id = written_id.clone().unwrap_or_else(|| row.id().to_string());
        let trace = get(correlation::TRACEPARENT)
            .and_then(|parent| Trace::new(parent, get(correlation::TRACESTATE)));
        let name = &row.claimed.destination;
        Self {
            span: traces::process_call(name, row.id(), &correlation_id, trace.as_ref()),
            written_id,
            correlation_id,
            trace,
        }
    }

    pub(super) fn of_function<T>(self, work: impl FnOnce() -> T) -> T {
        correlation::on_behalf(&self.correlation_id, self.trace, &self.span, work)
    }

    pub(super) async fn of_future(
        self,
        function: impl FnOnce() -> CallFuture + Send,
    ) -> CallResult {
        let work = async { function().await };
        correlation::on_behalf_async(self.correlation_id, self.trace, self.span, work).await
    }
}

/// Records the result in the span of the execution.
pub(super) fn record_outcome(span: &Span, outcome: &Outcome) {
    let (word, failure) = match outcome {
        Outcome::Sent | Outcome::Recorded => ("done", None),
        Outcome::Refused(reason) | Outcome::Unsendable(reason) => ("failed", Some(reason)),
        Outcome::Interrupted(reason) => ("interrupted", Some(reason)),
        Outcome::NotSent { .. } | Outcome::Unknown => ("unknown", None),
    };
    traces::ended(span, word);
    if let Some(reason) = failure {
        traces::failed(span, word, reason);
    }
}
