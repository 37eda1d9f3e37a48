//! A broker of the tests, how it is reached, and in which version.

use std::path::PathBuf;
use std::sync::Arc;

use diesel_outbox::stomp::Tls;
use diesel_outbox::testing::LoopbackBroker;

use super::*;

#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) url: String,
    pub(crate) broker: Broker,
    pub(crate) version: Version,
    /// Whether it knows who may do what.
    pub(crate) has_users: bool,
    tls: Tls,
    /// It serves until it is dropped.
    _loopback: Option<Arc<LoopbackBroker>>,
}

/// The files that the servers of the tests were made with.
pub(crate) fn certificates() -> Option<PathBuf> {
    support::server("OUTBOX_TEST_CERTIFICATES", "brokers with TLS").map(PathBuf::from)
}

/// A client that shows its certificate.
pub(crate) fn known() -> Option<Tls> {
    let folder = certificates()?;
    let tls = Tls::new().ca_file(folder.join("ca.pem"));
    Some(tls.client_certificate(folder.join("client.pem"), folder.join("client.key")))
}

impl Place {
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

    /// It wants a client certificate.
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

    /// It wants none, but a user.
    pub(crate) fn activemq_tls(version: Version) -> Option<Self> {
        let url = support::server("OUTBOX_TEST_ACTIVEMQ_TLS", "ActiveMQ with TLS")?;
        let tls = Tls::new().ca_file(certificates()?.join("ca.pem"));
        Some(Self::new(url, Broker::ActiveMq, version).tls(tls))
    }

    pub(crate) fn loopback(version: Version) -> Option<Self> {
        let broker = LoopbackBroker::start().unwrap();
        let mut place = Self::new(broker.url(), Broker::Loopback, version);
        place._loopback = Some(Arc::new(broker));
        Some(place)
    }

    pub(crate) fn tls(self, tls: Tls) -> Self {
        Self { tls, ..self }
    }

    pub(crate) fn options(&self) -> Options {
        self.options_at(&self.url)
    }

    /// The same with another URL.
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

    /// A queue of the test's own. RabbitMQ removes it by itself; there both SEND and SUBSCRIBE
    /// declare it, so both carry its arguments.
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
