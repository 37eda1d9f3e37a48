//! A broker for this suite.

use diesel_outbox::testing::LoopbackBroker;

use crate::support;
use crate::wire::Wire;

/// A broker's address, and a name that no other test uses.
pub(crate) struct TestBroker {
    pub(crate) address: String,
    pub(crate) name: String,
    _broker: Option<LoopbackBroker>,
}

impl TestBroker {
    pub(crate) fn loopback() -> Option<Self> {
        let broker = LoopbackBroker::start().unwrap();
        Some(Self {
            address: format!("127.0.0.1:{}", broker.port()),
            _broker: Some(broker),
            name: unique_name(),
        })
    }

    pub(crate) fn rabbitmq() -> Option<Self> {
        let url = support::server("OUTBOX_TEST_RABBITMQ", "RabbitMQ")?;
        let rest = url.split_once("://").unwrap().1;
        let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
        Some(Self {
            address: rest.split('/').next().unwrap().to_owned(),
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
