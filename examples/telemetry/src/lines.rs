//! An exporter that writes each span as a line of JSON to standard output.

use std::collections::BTreeMap;
use std::io::Write;

use opentelemetry::trace::SpanId;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

/// Writes the spans of a service.
#[derive(Debug)]
pub(crate) struct Lines {
    pub(crate) service: &'static str,
}

impl Lines {
    fn write(&self, span: &SpanData) -> std::io::Result<()> {
        let attributes = span.attributes.iter();
        let attributes: BTreeMap<&str, String> = attributes
            .map(|it| (it.key.as_str(), it.value.to_string()))
            .collect();
        let links = span.links.iter();
        let links: Vec<String> = links
            .map(|it| it.span_context.span_id().to_string())
            .collect();
        let parent = span.parent_span_id;
        let line = serde_json::json!({
            "service": self.service,
            "name": span.name,
            "trace": span.span_context.trace_id().to_string(),
            "span": span.span_context.span_id().to_string(),
            "parent": (parent != SpanId::INVALID).then(|| parent.to_string()),
            "kind": format!("{:?}", span.span_kind),
            "status": format!("{:?}", span.status),
            "attributes": attributes,
            "links": links,
        });
        writeln!(std::io::stdout(), "{line}")
    }
}

impl SpanExporter for Lines {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let mut spans = batch.iter();
        let written = spans.try_for_each(|span| self.write(span));
        written.map_err(|error| OTelSdkError::InternalFailure(error.to_string()))
    }
}
