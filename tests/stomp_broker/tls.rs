//! TLS errors with real brokers.

use diesel_outbox::stomp::{Tls, TlsError};

use crate::test_broker::{certificates, known};

use super::*;

async fn reason(broker: Option<TestBroker>, tls: Tls) -> Option<TlsError> {
    let options = broker?.tls(tls).options();
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
    for broker in [
        TestBroker::rabbitmq_tls(VERSION),
        TestBroker::activemq_tls(VERSION),
    ] {
        let error = reason(broker, other()).await.unwrap();
        assert!(matches!(error, TlsError::UnknownIssuer { .. }), "{error}");
    }
}

/// In TLS 1.3 RabbitMQ reports it only after the handshake.
#[tokio::test]
async fn no_client_certificate() {
    let Some(folder) = certificates() else { return };
    let tls = Tls::new().ca_file(folder.join("ca.pem"));
    let error = reason(TestBroker::rabbitmq_tls(VERSION), tls)
        .await
        .unwrap();
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
    let broker = || TestBroker::rabbitmq_tls(VERSION);
    let open = encrypted().key_password("test-key-password");
    broker().unwrap().tls(open).connect().await;
    let error = reason(broker(), encrypted()).await.unwrap();
    assert!(matches!(error, TlsError::PasswordMissing { .. }), "{error}");
    let wrong = encrypted().key_password("wrong");
    let error = reason(broker(), wrong).await.unwrap();
    assert!(matches!(error, TlsError::Password { .. }), "{error}");
}

/// A validator checks the broker's certificate.
#[tokio::test]
async fn a_validator() {
    let Some(tls) = known() else { return };
    let tls = tls.validator(|_| Err("no"));
    let error = reason(TestBroker::rabbitmq_tls(VERSION), tls)
        .await
        .unwrap();
    assert!(matches!(error, TlsError::Rejected { .. }), "{error}");
}

/// With several brokers, one that is not available is skipped, with or without TLS.
#[tokio::test]
async fn the_next_broker_of_a_list() {
    let (Some(secure), Some(plain)) = (
        TestBroker::rabbitmq_tls(VERSION),
        TestBroker::activemq(VERSION),
    ) else {
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
