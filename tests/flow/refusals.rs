//! Programs that end at their start.

use std::fmt::Display;
use std::time::Duration;

use diesel_outbox::relay::Relay;
use diesel_outbox::subscriber::Subscriber;
use diesel_outbox::{Registry, Shutdown};

use crate::place::{Place, Subject};

/// A relay and a subscriber on the database at `url` end with this error.
pub(crate) fn ends_at_the_start<C: Subject>(place: &Place, url: &str, words: &str) {
    let settings = place
        .settings()
        .set("database_url", url)
        .set("database_timeout", "300ms")
        .build()
        .unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let shutdown = Shutdown::new();
    let relay = Relay::<C>::new(&settings).unwrap();
    runtime.block_on(ends_with(words, relay.run(&shutdown)));
    let registry = Registry::<C>::new();
    let topic = place.topic();
    let subscriber = Subscriber::<C>::new(&settings, &registry, "store", &topic, None).unwrap();
    runtime.block_on(ends_with(words, subscriber.run(&shutdown)));
}

async fn ends_with<T, E: Display>(words: &str, run: impl Future<Output = Result<T, E>>) {
    match tokio::time::timeout(Duration::from_secs(20), run).await {
        Ok(Err(error)) => {
            let error = error.to_string();
            assert!(error.contains(words), "{error}");
        }
        Ok(Ok(_)) => panic!("it has stopped without an error: {words}"),
        Err(_) => panic!("it waits: {words}"),
    }
}

/// MariaDB's client library ignores `ssl_mode`, and would send everything in clear text.
#[cfg(feature = "mysql")]
pub(crate) fn a_connection_without_the_required_tls_is_refused<C: Subject>(place: &Place) {
    for mode in ["required", "VERIFY_CA", "verify_identity"] {
        let url = format!("{}?ssl_mode={mode}", place.database_url());
        ends_at_the_start::<C>(place, &url, "the connection is not encrypted");
    }
    // An authority alone asks for TLS too. A server with TLS would be refused for its certificate.
    let has_tls = "(select count(*) from information_schema.global_variables
        where variable_name = 'have_ssl' and variable_value = 'YES')";
    let mut conn = place.connect::<C>();
    if conn.is_mariadb() && conn.number(&format!("select {has_tls}")) == 0 {
        let url = format!("{}?ssl_ca=/no/such/file.pem", place.database_url());
        ends_at_the_start::<C>(place, &url, "the connection is not encrypted");
    }
}
