//! A broker for this suite.

use diesel_outbox::testing::LoopbackBroker;

use crate::support;
use crate::wire::{LOGIN, Wire};

/// A broker's address, and a name that no other test uses.
pub(crate) struct TestBroker {
    pub(crate) address: String,
    pub(crate) name: String,
    /// Whether it is RabbitMQ 4 or later.
    pub(crate) is_rabbitmq_4: bool,
    _broker: Option<LoopbackBroker>,
}

impl TestBroker {
    pub(crate) fn loopback() -> Option<Self> {
        let broker = LoopbackBroker::start().unwrap();
        Some(Self {
            address: format!("127.0.0.1:{}", broker.port()),
            _broker: Some(broker),
            name: unique_name(),
            is_rabbitmq_4: false,
        })
    }

    pub(crate) fn rabbitmq() -> Option<Self> {
        let url = support::server("OUTBOX_TEST_RABBITMQ", "RabbitMQ")?;
        let rest = url.split_once("://").unwrap().1;
        let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
        let address = rest.split('/').next().unwrap().to_owned();
        let mut wire = Wire::open(&address);
        wire.say(&format!("{LOGIN}\n\0"));
        let connected = wire.hear().is("CONNECTED");
        let version = connected.header("server").strip_prefix("RabbitMQ/");
        let major = version.and_then(|version| version.split('.').next());
        let major: u32 = major.unwrap().parse().unwrap();
        Some(Self {
            is_rabbitmq_4: major >= 4,
            address,
            name: unique_name(),
            _broker: None,
        })
    }

    pub(crate) fn login(&self) -> Wire {
        Wire::login(&self.address)
    }

    /// The queue arguments of a subscriber, as header lines.
    pub(crate) fn arguments(&self) -> String {
        format!(
            "x-queue-name:{0}\nx-dead-letter-exchange:\nx-dead-letter-routing-key:DLQ.{0}\n",
            self.name
        )
    }
}

pub(crate) fn unique_name() -> String {
    format!("outbox-test-{}", uuid::Uuid::new_v4().simple())
}
