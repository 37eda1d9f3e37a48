//! A broker for tests: its URL, TLS settings and STOMP version.

use std::path::PathBuf;
use std::sync::Arc;

use diesel_outbox::stomp::Tls;
use diesel_outbox::testing::LoopbackBroker;

use super::*;

#[derive(Clone)]
pub(crate) struct TestBroker {
    pub(crate) url: String,
    pub(crate) broker: Broker,
    pub(crate) version: Version,
    /// Whether the broker checks users and their rights.
    pub(crate) has_users: bool,
    tls: Tls,
    /// Runs until it is dropped.
    _loopback: Option<Arc<LoopbackBroker>>,
}

/// The folder of the test servers' certificates.
pub(crate) fn certificates() -> Option<PathBuf> {
    support::server("OUTBOX_TEST_CERTIFICATES", "brokers with TLS").map(PathBuf::from)
}

/// TLS settings with the client certificate.
pub(crate) fn known() -> Option<Tls> {
    let folder = certificates()?;
    let tls = Tls::new().ca_file(folder.join("ca.pem"));
    Some(tls.client_certificate(folder.join("client.pem"), folder.join("client.key")))
}

impl TestBroker {
    fn new(url: String, broker: Broker, version: Version) -> Self {
        Self {
            url,
            broker,
            version,
            has_users: true,
            tls: Tls::new(),
            _loopback: None,
        }
    }

    pub(crate) fn rabbitmq(version: Version) -> Option<Self> {
        let url = support::server("OUTBOX_TEST_RABBITMQ", "RabbitMQ")?;
        Some(Self::new(url, Broker::RabbitMq, version))
    }

    /// It requires a client certificate.
    pub(crate) fn rabbitmq_tls(version: Version) -> Option<Self> {
        let url = support::server("OUTBOX_TEST_RABBITMQ_TLS", "RabbitMQ with TLS")?;
        Some(Self::new(url, Broker::RabbitMq, version).tls(known()?))
    }

    pub(crate) fn activemq(version: Version) -> Option<Self> {
        let url = support::server("OUTBOX_TEST_ACTIVEMQ", "ActiveMQ")?;
        Some(Self {
            has_users: false,
            ..Self::new(url, Broker::ActiveMq, version)
        })
    }

    /// It requires a user but no client certificate.
    pub(crate) fn activemq_tls(version: Version) -> Option<Self> {
        let url = support::server("OUTBOX_TEST_ACTIVEMQ_TLS", "ActiveMQ with TLS")?;
        let tls = Tls::new().ca_file(certificates()?.join("ca.pem"));
        Some(Self::new(url, Broker::ActiveMq, version).tls(tls))
    }

    pub(crate) fn loopback(version: Version) -> Option<Self> {
        let loopback = LoopbackBroker::start().unwrap();
        let mut broker = Self::new(loopback.url(), Broker::Loopback, version);
        broker._loopback = Some(Arc::new(loopback));
        Some(broker)
    }

    pub(crate) fn tls(self, tls: Tls) -> Self {
        Self { tls, ..self }
    }

    pub(crate) fn options(&self) -> Options {
        self.options_at(&self.url)
    }

    /// The options for another URL.
    pub(crate) fn options_at(&self, url: &str) -> Options {
        Options::from_url(url)
            .unwrap()
            .tls(self.tls.clone())
            .versions(&[self.version])
    }

    pub(crate) async fn connect(&self) -> Client {
        let client = within(Client::connect(&self.options())).await.unwrap();
        assert_eq!(client.broker(), self.broker, "{}", client.server());
        assert_eq!(client.version(), self.version);
        client
    }

    /// A queue for one test, which RabbitMQ deletes on its own. On RabbitMQ both SEND and SUBSCRIBE
    /// declare it, so both contain its arguments.
    pub(crate) fn queue(&self) -> Queue {
        let arguments = match self.broker {
            Broker::RabbitMq | Broker::Loopback => vec![
                header("durable", "true"),
                header("auto-delete", "false"),
                header("x-expires", "60000"),
            ],
            _ => vec![header("activemq.prefetchSize", "2000")],
        };
        Queue {
            destination: format!("/queue/outbox-test-{}", uuid::Uuid::new_v4()),
            arguments,
        }
    }
}
