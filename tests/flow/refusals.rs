//! Programs that end at their start.

use std::fmt::Display;
use std::time::Duration;

use diesel_outbox::config::Config;
use diesel_outbox::relay::Relay;
use diesel_outbox::subscriber::Subscriber;
use diesel_outbox::{Registry, Shutdown};

use crate::place::{Place, Subject};
#[cfg(feature = "mysql")]
use crate::support;

/// A relay and a subscriber on the database at `url` end with this error.
pub(crate) fn ends_at_the_start<C: Subject>(place: &Place, url: &str, words: &str) {
    relay_ends::<C>(place, url, words);
    subscriber_ends::<C>(place, url, words);
}

fn settings(place: &Place, url: &str) -> Config {
    place
        .settings()
        .set("database_url", url)
        .set("database_timeout", "300ms")
        .build()
        .unwrap()
}

/// A relay on the database at `url` ends with this error.
pub(crate) fn relay_ends<C: Subject>(place: &Place, url: &str, words: &str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let relay = Relay::<C>::new(&settings(place, url)).unwrap();
    runtime.block_on(ends_with(words, relay.run(&Shutdown::new())));
}

/// A subscriber on the database at `url` ends with this error.
pub(crate) fn subscriber_ends<C: Subject>(place: &Place, url: &str, words: &str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (settings, registry) = (settings(place, url), Registry::<C>::new());
    let topic = place.topic();
    let subscriber = Subscriber::<C>::new(&settings, &registry, "store", &topic, None).unwrap();
    runtime.block_on(ends_with(words, subscriber.run(&Shutdown::new())));
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

/// MariaDB's client library ignores `ssl_mode`, and would send everything in clear text. MySQL's library refuses to
/// connect in these modes, and the programs end because of its error.
#[cfg(feature = "mysql")]
pub(crate) fn a_connection_without_the_required_tls_is_refused<C: Subject>(place: &Place) {
    let mut conn = place.connect::<C>();
    let has_tls = "(select count(*) from information_schema.global_variables
        where variable_name = 'have_ssl' and variable_value = 'YES')";
    let has_tls = !conn.is_mariadb() || conn.number(&format!("select {has_tls}")) == 1;
    let has_mysqls_library = support::has_mysqls_client_library();
    for mode in ["required", "VERIFY_CA", "verify_identity"] {
        let words = match (has_mysqls_library, has_tls, mode) {
            (false, _, _) => "the connection is not encrypted",
            // It is encrypted.
            (true, true, "required") => continue,
            // A certificate cannot be verified.
            (true, true, _) => "CA certificate is required",
            (true, false, _) => "SSL is required but the server doesn't support it",
        };
        let url = format!("{}?ssl_mode={mode}", place.database_url());
        ends_at_the_start::<C>(place, &url, words);
    }
    // An authority alone asks for TLS too. A server with TLS would be refused for its certificate.
    if !has_tls {
        let words = if has_mysqls_library {
            "SSL is required but the server doesn't support it"
        } else {
            "the connection is not encrypted"
        };
        let url = format!("{}?ssl_ca=/no/such/file.pem", place.database_url());
        ends_at_the_start::<C>(place, &url, words);
    }
}

/// MySQL refuses the login. MariaDB accepts it, and then no statement but one that sets a password.
#[cfg(feature = "mysql")]
pub(crate) fn an_expired_password_ends_a_program_at_its_start<C: Subject>(place: &Place) {
    let mut admin = place.connect::<C>();
    let name = format!(
        "outbox_{}",
        &uuid::Uuid::new_v4().simple().to_string()[..12]
    );
    let (_, at) = place.database_url().rsplit_once('@').unwrap();
    let (_, schema) = at.rsplit_once('/').unwrap();
    admin
        .batch_execute(&format!(
            "create user '{name}'@'%' identified by 'old'; grant all on `{schema}`.* to '{name}'@'%';
             alter user '{name}'@'%' password expire"
        ))
        .unwrap();
    let url = format!("mysql://{name}:old@{at}");
    ends_at_the_start::<C>(place, &url, "give the user a new password");
    admin
        .batch_execute(&format!("drop user '{name}'@'%'"))
        .unwrap();
}
