//! The relays, subscribers and executors whose addresses the settings name.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Url;

use crate::http_client;

/// How long a process may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// A longer answer is not read.
const LONGEST: usize = 16 << 20;
/// How `/health/ready` begins the line of an open circuit.
const CIRCUIT: &str = "circuit open: ";

/// The processes, as they were when they were asked last.
#[derive(Debug, Default)]
pub(super) struct Processes(Mutex<Vec<Process>>);

/// A process, as it was when it was asked last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    /// Its address, without a user.
    pub(super) address: String,
    /// When it was asked.
    pub(super) asked: DateTime<Utc>,
    /// What it said, or why it said nothing.
    pub(super) state: Result<State, String>,
}

/// The state of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct State {
    /// Why it is not ready; empty: it is.
    pub(super) problems: Vec<String>,
    /// The destinations whose circuits are open.
    pub(super) open_circuits: Vec<String>,
    /// What it does, with the number of messages or calls since it started.
    pub(super) work: Vec<(&'static str, u64)>,
}

/// A counter that only programs of a kind have, and what it counts.
const COUNTERS: [(&str, &str); 3] = [
    ("outbox_published_total", "sent"),
    ("outbox_inbox_received_total", "received"),
    ("outbox_calls_executed_total", "executed"),
];

impl Processes {
    /// Asks the processes at these addresses.
    pub(super) async fn ask(&self, addresses: &[String]) {
        let asked = join_all(addresses.iter().map(|address| ask(address))).await;
        let mut processes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *processes = asked;
    }

    /// The processes, in the order of the settings.
    pub(super) fn all(&self) -> Vec<Process> {
        let processes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        processes.clone()
    }
}

async fn ask(address: &str) -> Process {
    let state = match Url::parse(address) {
        Ok(url) => match timeout(PATIENCE, read(&url)).await {
            Ok(state) => state,
            Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
        },
        Err(error) => Err(error.to_string()),
    };
    Process {
        address: shown(address),
        asked: Utc::now(),
        state,
    }
}

/// The address without a user and a password.
fn shown(address: &str) -> String {
    let place = address.rsplit_once('@').map_or(address, |(_, place)| place);
    let place = place.trim_start_matches("http://");
    place.trim_end_matches('/').to_owned()
}

async fn read(url: &Url) -> Result<State, String> {
    let (_, ready) = get(url, "/health/ready").await?;
    let mut state = State::default();
    for line in ready.lines().filter(|line| *line != "ready") {
        match line.strip_prefix(CIRCUIT) {
            Some(destination) => state.open_circuits.push(destination.to_owned()),
            None => state.problems.push(line.to_owned()),
        }
    }
    let (_, metrics) = get(url, "/metrics").await?;
    let counted = COUNTERS.into_iter();
    let counted = counted.filter_map(|(name, what)| Some((what, sum(&metrics, name)?)));
    state.work = counted.collect();
    Ok(state)
}

async fn get(url: &Url, page: &str) -> Result<(u16, String), String> {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or(80);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((bare, port)).await;
    let stream = stream.map_err(|error| error.to_string())?;
    let path = format!("{}{page}", url.path().trim_end_matches('/'));
    let answer = http_client::get(stream, &format!("{host}:{port}"), &path, &[], LONGEST).await;
    let (status, body) = answer.map_err(|error| error.to_string())?;
    match status {
        200 | 503 => Ok((status, String::from_utf8_lossy(&body).into_owned())),
        _ => Err(format!(
            "{page} answers with the status {status}: is this the address of `metrics_listen`?"
        )),
    }
}

/// The sum of a counter over its labels, if there is such a series.
fn sum(metrics: &str, name: &str) -> Option<u64> {
    let samples = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        if !rest.starts_with(['{', ' ']) {
            return None;
        }
        // A label may contain spaces; the value is behind the last one.
        rest.rsplit(' ').next()?.parse::<f64>().ok()
    });
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a counter
    let sum = samples.fold(None, |sum: Option<u64>, value| {
        Some(sum.unwrap_or_default() + value as u64)
    });
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_added_over_its_labels() {
        let text = "# TYPE outbox_published_total counter\n\
            outbox_published_total{destination=\"/queue/a b\"} 3\n\
            outbox_published_total{destination=\"x\"} 4\n\
            outbox_published_total_more 9\n\
            outbox_in_flight 1\n";
        assert_eq!(sum(text, "outbox_published_total"), Some(7));
        assert_eq!(sum(text, "outbox_calls_executed_total"), None);
        assert_eq!(
            sum("outbox_published_total 0", "outbox_published_total"),
            Some(0)
        );
        assert_eq!(shown("http://u:p@[::1]:9464/"), "[::1]:9464");
    }
}
