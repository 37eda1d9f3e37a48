//! Serves the metrics and the health of a program over HTTP: the setting `metrics_listen`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::health::Health;
use super::http_server;
use super::run::Failure;
use crate::admin::{Rows, Status};
use crate::backend::Backend;
use crate::config::Config;
use crate::db::{Db, DbError};
use crate::metrics::{BUCKETS, DatabaseErrors, Sampler};
use crate::runtime::shutdown::Shutdown;

/// Least time between two samples of the database.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// How long a scrape waits for a sample. After that the last one is served.
const SAMPLE_TIMEOUT: Duration = Duration::from_secs(4);
/// How often recorded times are sorted into their buckets, whether somebody scrapes or not.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A listener, and the recorder of this process.
pub(super) struct MetricsServer {
    listener: std::net::TcpListener,
    recorded: PrometheusHandle,
}

impl MetricsServer {
    /// Listens at the address of the settings, and installs the recorder. Call it before a relay, a subscriber or an
    /// executor is created. Returns `None` if the settings have no address.
    pub(super) async fn start(config: &Config) -> Result<Option<Self>, Failure> {
        let Some(address) = config.metrics_listen else {
            return Ok(None);
        };
        let unusable = |error| {
            Failure::usage(format!(
                "cannot listen at metrics_listen = {address}: {error}"
            ))
        };
        let listener = TcpListener::bind(address).await.map_err(unusable)?;
        let address = listener.local_addr().map_err(unusable)?;
        let builder = PrometheusBuilder::new().set_buckets(BUCKETS);
        let recorder = builder.map_err(Failure::runtime)?.build_recorder();
        let recorded = recorder.handle();
        metrics::set_global_recorder(recorder).map_err(Failure::runtime)?;
        let listener = listener.into_std().map_err(unusable)?;
        tracing::info!(%address, "serving metrics and health");
        Ok(Some(Self { listener, recorded }))
    }

    /// Serves in tasks of the present runtime: the health, and samples of these rows.
    pub(super) fn serve<C: Backend>(self, health: Arc<Health<C>>, rows: &[Rows]) -> io::Result<()> {
        let listener = TcpListener::from_std(self.listener)?;
        let sampling = (!rows.is_empty()).then(|| Sampling {
            db: health.db().clone(),
            rows: rows.to_vec(),
            errors: DatabaseErrors::default(),
            state: Mutex::new((Sampler::new(rows), None)),
        });
        let pages = Arc::new(Pages {
            recorded: self.recorded,
            sampling,
            health,
        });
        tokio::spawn(upkeep(pages.recorded.clone()));
        let handler = move |request: Request<Incoming>, _| {
            let pages = Arc::clone(&pages);
            async move { pages.answer(request).await }
        };
        tokio::spawn(http_server::serve(listener, Shutdown::new(), handler));
        Ok(())
    }
}

/// Sorts recorded times into their buckets from time to time; otherwise they would stay in memory one by one.
async fn upkeep(recorded: PrometheusHandle) {
    let mut rounds = interval(UPKEEP_INTERVAL);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        recorded.run_upkeep();
    }
}

/// What is served.
struct Pages<C: Backend> {
    recorded: PrometheusHandle,
    sampling: Option<Sampling<C>>,
    health: Arc<Health<C>>,
}

impl<C: Backend> Pages<C> {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        if !["/metrics", "/health/live", "/health/ready"].contains(&path) {
            return page(
                StatusCode::NOT_FOUND,
                TEXT,
                "/metrics, /health/live and /health/ready are here\n",
            );
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut refused = page(StatusCode::METHOD_NOT_ALLOWED, TEXT, "GET or HEAD\n");
            let allowed = HeaderValue::from_static("GET, HEAD");
            refused.headers_mut().insert(ALLOW, allowed);
            return refused;
        }
        match path {
            "/health/live" => health(self.health.live(), "live", &[]),
            "/health/ready" => {
                let problems = self.health.ready().await;
                health(problems, "ready", &self.health.notes())
            }
            _ => self.metrics(&request).await,
        }
    }

    async fn metrics(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if let Some(sampling) = &self.sampling {
            sampling.sample().await;
        }
        let text = self.recorded.render();
        let mut accepted = request.headers().get_all(ACCEPT).iter();
        let takes_open_metrics = accepted.any(|types| {
            let types = types.to_str().unwrap_or_default();
            types.contains("application/openmetrics-text")
        });
        if takes_open_metrics {
            page(StatusCode::OK, OPEN_METRICS, open_metrics(&text))
        } else {
            page(StatusCode::OK, TEXT, text)
        }
    }
}

fn health(mut problems: Vec<String>, well: &str, notes: &[String]) -> Response<Full<Bytes>> {
    let status = match problems.is_empty() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    if status == StatusCode::OK {
        problems.push(well.to_owned());
    }
    problems.extend_from_slice(notes);
    page(status, TEXT, problems.join("\n") + "\n")
}

fn page(
    status: StatusCode,
    content_type: &'static str,
    text: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Prometheus's text format as OpenMetrics 1.0: the family of a counter is named without `_total`, there are no empty
/// lines, and the text has an end.
fn open_metrics(text: &str) -> String {
    let mut converted = String::with_capacity(text.len() + 8);
    for line in text.lines().filter(|line| !line.is_empty()) {
        let family = ["# HELP ", "# TYPE "].iter().find_map(|start| {
            let (name, rest) = line.strip_prefix(start)?.split_once(' ')?;
            Some((*start, name.strip_suffix("_total")?, rest))
        });
        match family {
            Some((start, name, rest)) => {
                converted.extend([start, name, " ", rest, "\n"]);
            }
            None => converted.extend([line, "\n"]),
        }
    }
    converted.push_str("# EOF\n");
    converted
}

/// Samples of the numbers of rows in the database.
struct Sampling<C: Backend> {
    db: Db<C>,
    rows: Vec<Rows>,
    errors: DatabaseErrors,
    /// The sampler, and the time of its last sample.
    state: Mutex<(Sampler, Option<Instant>)>,
}

impl<C: Backend> Sampling<C> {
    /// Takes a sample, unless there is one from just now.
    async fn sample(&self) {
        // Another scrape takes one: this one serves what is there.
        let Ok(mut state) = self.state.try_lock() else {
            return;
        };
        let (sampler, last) = &mut *state;
        if last.is_some_and(|last| last.elapsed() < SAMPLE_INTERVAL) {
            return;
        }
        match timeout(SAMPLE_TIMEOUT, self.read()).await {
            Ok(Ok(read)) => sampler.record(&read),
            Ok(Err(error)) => {
                self.errors.count(&error);
                tracing::debug!(error = %error, "could not read the numbers of rows");
            }
            Err(_) => {
                self.errors.timeout();
                tracing::debug!("the numbers of rows were not read in time");
            }
        }
        *last = Some(Instant::now());
    }

    async fn read(&self) -> Result<Vec<Status>, DbError> {
        let rows = self.rows.clone();
        let read = move |conn: &mut C| {
            let read = rows.iter().map(|rows| rows.status(conn));
            Ok(read.collect::<Result<Vec<_>, _>>())
        };
        self.db.run(read).await?.map_err(|error| match error {
            crate::admin::AdminError::Database(error) | crate::admin::AdminError::Tables(error) => {
                error.into()
            }
            // No other error can come from counting.
            other => diesel::result::Error::QueryBuilderError(Box::new(other)).into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_format_becomes_open_metrics() {
        let text = "\
# HELP outbox_published_total Messages: a_total b.
# TYPE outbox_published_total counter
outbox_published_total{destination=\"/queue/a_total \"} 3

# TYPE outbox_rows gauge
outbox_rows{state=\"due\"} 1

";
        let expected = "\
# HELP outbox_published Messages: a_total b.
# TYPE outbox_published counter
outbox_published_total{destination=\"/queue/a_total \"} 3
# TYPE outbox_rows gauge
outbox_rows{state=\"due\"} 1
# EOF
";
        assert_eq!(open_metrics(text), expected);
    }
}
