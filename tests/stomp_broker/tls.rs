//! What the brokers' own TLS says to what is wrong.

use diesel_outbox::stomp::{Tls, TlsError};

use crate::place::{certificates, known};

use super::*;

async fn reason(place: Option<Place>, tls: Tls) -> Option<TlsError> {
    let options = place?.tls(tls).options();
    let error = within(Client::connect(&options)).await.unwrap_err();
    assert!(error.is_final(), "{error}");
    match error {
        Error::Tls { source, .. } => Some(TlsError::clone(&source)),
        other => panic!("{other}"),
    }
}

const VERSION: Version = Version::V1_2;

#[tokio::test]
async fn another_authority() {
    let Some(folder) = certificates() else { return };
    let other = || Tls::new().ca_file(folder.join("other-ca.pem"));
    for place in [Place::rabbitmq_tls(VERSION), Place::activemq_tls(VERSION)] {
        let error = reason(place, other()).await.unwrap();
        assert!(matches!(error, TlsError::UnknownIssuer { .. }), "{error}");
    }
}

/// In TLS 1.3 RabbitMQ says so only after the handshake.
#[tokio::test]
async fn no_client_certificate() {
    let Some(folder) = certificates() else { return };
    let tls = Tls::new().ca_file(folder.join("ca.pem"));
    let error = reason(Place::rabbitmq_tls(VERSION), tls).await.unwrap();
    let is_missing = matches!(error, TlsError::ClientCertificateMissing { .. });
    assert!(is_missing, "{error}");
}

#[tokio::test]
async fn an_encrypted_key() {
    let Some(folder) = certificates() else { return };
    let key = folder.join("client-encrypted.key");
    let encrypted = || {
        let tls = Tls::new().ca_file(folder.join("ca.pem"));
        tls.client_certificate(folder.join("client.pem"), &key)
    };
    let place = || Place::rabbitmq_tls(VERSION);
    let open = encrypted().key_password("test-key-password");
    place().unwrap().tls(open).connect().await;
    let error = reason(place(), encrypted()).await.unwrap();
    assert!(matches!(error, TlsError::PasswordMissing { .. }), "{error}");
    let wrong = encrypted().key_password("wrong");
    let error = reason(place(), wrong).await.unwrap();
    assert!(matches!(error, TlsError::Password { .. }), "{error}");
}

/// A validator judges the certificate that the broker shows.
#[tokio::test]
async fn a_validator() {
    let Some(tls) = known() else { return };
    let tls = tls.validator(|_| Err("no"));
    let error = reason(Place::rabbitmq_tls(VERSION), tls).await.unwrap();
    assert!(matches!(error, TlsError::Rejected { .. }), "{error}");
}

/// Several brokers: the one that is away is passed by, with TLS or without.
#[tokio::test]
async fn the_next_broker_of_a_list() {
    let (Some(secure), Some(plain)) = (Place::rabbitmq_tls(VERSION), Place::activemq(VERSION))
    else {
        return;
    };
    for (first, second, broker) in [
        (&secure.url, &plain.url, Broker::RabbitMq),
        (&plain.url, &secure.url, Broker::ActiveMq),
    ] {
        let url = format!("stomp+ssl://localhost:1,{first},{second}");
        let client = within(Client::connect(&secure.options_at(&url)))
            .await
            .unwrap();
        assert_eq!(client.broker(), broker);
    }
}
