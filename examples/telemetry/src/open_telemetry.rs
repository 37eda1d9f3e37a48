//! The connection of `tracing`, OpenTelemetry and the outbox. Copy it into your service, with your own exporter.

use std::collections::HashMap;

use diesel_outbox::BoxError;
use diesel_outbox::correlation::{TRACEPARENT, TRACESTATE, Trace};
use diesel_outbox::traces::{self, Propagator};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Span;
use tracing::level_filters::LevelFilter;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::lines::Lines;

/// Carries the context of OpenTelemetry's spans in the headers of messages and calls.
struct OpenTelemetry {
    headers: TraceContextPropagator,
    provider: SdkTracerProvider,
}

impl Propagator for OpenTelemetry {
    fn context(&self, span: &Span) -> Option<Trace> {
        let mut headers = HashMap::new();
        self.headers.inject_context(&span.context(), &mut headers);
        let state = headers.get(TRACESTATE).map(String::as_str);
        Trace::new(headers.get(TRACEPARENT)?, state)
    }

    fn continue_trace(&self, span: &Span, trace: &Trace) {
        let mut headers = HashMap::from([(TRACEPARENT.to_owned(), trace.parent().to_owned())]);
        if let Some(state) = trace.state() {
            headers.insert(TRACESTATE.to_owned(), state.to_owned());
        }
        let writer = self.headers.extract(&headers);
        // The conventions want the link; the parent puts all spans of a message into one trace.
        span.add_link(writer.span().span_context().clone());
        // It fails only if the span has started.
        let _ = span.set_parent(writer);
    }

    fn flush(&self) {
        let _ = self.provider.force_flush();
    }
}

/// Installs tracing for this process: spans are lines on standard output. A real service exports them with
/// `opentelemetry-otlp` and `with_batch_exporter`.
pub(crate) fn install(service: &'static str) -> Result<SdkTracerProvider, BoxError> {
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(Lines { service })
        .with_resource(Resource::builder().with_service_name(service).build())
        .build();
    let spans = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("shop"))
        .with_filter(
            Targets::new()
                .with_default(LevelFilter::INFO)
                .with_target(traces::TARGET, LevelFilter::DEBUG),
        );
    let log = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_filter(LevelFilter::INFO);
    tracing_subscriber::registry()
        .with(spans)
        .with(log)
        .try_init()?;
    traces::set_propagator(OpenTelemetry {
        headers: TraceContextPropagator::new(),
        provider: provider.clone(),
    })?;
    Ok(provider)
}
