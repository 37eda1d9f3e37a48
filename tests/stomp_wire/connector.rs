//! Reconnecting.

use std::sync::Mutex;
use std::time::Duration;

use diesel_outbox::stomp::{Connector, Error};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tracing::Level;

use crate::log::Log;
use crate::{accept, listener, options, within};

/// Captures the log from here on. No line may contain the login.
fn start(level: Level) -> (Log, tracing::subscriber::DefaultGuard) {
    let log = Log::default();
    let guard = log.collect(level);
    (log, guard)
}

fn count(log: &Log, words: &str) -> usize {
    let text = log.text();
    assert!(!text.contains("passcode") && !text.contains("u:p"));
    log.count(words)
}

#[tokio::test]
async fn an_outage_is_two_lines_in_the_log() {
    let (log, _guard) = start(Level::INFO);
    let first = listener().await;
    let address = first.local_addr().unwrap();
    let connector = Connector::new(options(&first), Duration::from_millis(20));
    drop(first);
    let attempts = Mutex::new(0);
    let connected = connector.connect(|error| {
        assert!(matches!(error, Error::Connect { .. }));
        *attempts.lock().unwrap() += 1;
        false
    });
    let broker = async {
        while *attempts.lock().unwrap() < 5 {
            tokio::task::yield_now().await;
        }
        assert_eq!(count(&log, "WARN"), 1);
        accept(&TcpListener::bind(address).await.unwrap()).await
    };
    let (client, _peer) = within(async { tokio::join!(connected, broker) }).await;
    assert!(!client.unwrap().is_closed());
    assert_eq!((count(&log, "WARN"), count(&log, "INFO")), (1, 1));
}

#[tokio::test]
async fn give_up_returns_the_error() {
    let (log, _guard) = start(Level::INFO);
    let listener = listener().await;
    let connector = Connector::new(options(&listener), Duration::from_secs(60));
    drop(listener);
    let error = within(connector.connect(|_| true)).await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }));
    assert_eq!(count(&log, "WARN"), 0, "the caller reports the error");
}

#[tokio::test]
async fn reconnecting_slows_down_if_connections_end_at_once() {
    let (log, _guard) = start(Level::INFO);
    let listener = listener().await;
    let connector = Connector::new(options(&listener), Duration::from_millis(200));
    let started = Instant::now();
    for _ in 0..5 {
        let (client, peer) = tokio::join!(connector.connect(|_| false), accept(&listener));
        drop(peer);
        within(client.unwrap().closed()).await;
    }
    // Four delays of at least 100 ms.
    assert!(started.elapsed() >= Duration::from_millis(400));
    assert_eq!((count(&log, "WARN"), count(&log, "INFO")), (1, 0));
}

#[tokio::test]
async fn a_second_connection_does_not_wait_while_the_first_is_open() {
    let (log, _guard) = start(Level::DEBUG);
    let listener = listener().await;
    let connector = Connector::new(options(&listener), Duration::from_millis(200));
    let mut kept = Vec::new();
    for _ in 0..3 {
        let (client, peer) = tokio::join!(connector.connect(|_| false), accept(&listener));
        kept.push((client.unwrap(), peer));
    }
    // Neither after a connection that this side closed.
    kept[2].0.abort();
    within(kept[2].0.closed()).await;
    let (client, peer) = tokio::join!(connector.connect(|_| false), accept(&listener));
    assert_eq!(count(&log, "waiting"), 0);
    // But after a connection that was lost.
    drop(peer);
    within(client.unwrap().closed()).await;
    let (client, _peer) = tokio::join!(connector.connect(|_| false), accept(&listener));
    client.unwrap();
    assert_eq!(count(&log, "waiting"), 1);
}
