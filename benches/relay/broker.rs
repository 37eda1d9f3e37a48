//! The brokers of a benchmark, and the type of the queues there.

use diesel_outbox::stomp::{Client, Options};
use tokio::runtime::Runtime;

/// A broker, and the type of the queues that a benchmark declares there.
#[derive(Clone)]
pub(crate) struct Broker {
    pub(crate) url: String,
    /// Otherwise they are classic queues.
    pub(crate) has_quorum_queues: bool,
}

impl Broker {
    /// The broker that all benchmarks use, with classic queues.
    pub(crate) fn usual() -> Self {
        let url = crate::support::server("OUTBOX_TEST_RABBITMQ", "RabbitMQ");
        Self {
            url: url.expect("run `make`, which starts the servers"),
            has_quorum_queues: false,
        }
    }

    /// The usual broker and the one that `BENCH_OTHER_RABBITMQ` names, each with both types of queues.
    pub(crate) fn all() -> Vec<Self> {
        let other = std::env::var("BENCH_OTHER_RABBITMQ").ok();
        let urls = [Self::usual().url].into_iter().chain(other);
        let with_types = |url: String| {
            [false, true].map(|has_quorum_queues| Self {
                url: url.clone(),
                has_quorum_queues,
            })
        };
        urls.flat_map(with_types).collect()
    }

    /// Its name and version as it sends them, and the type of its queues.
    fn name(&self) -> String {
        let options = Options::from_url(&self.url).unwrap();
        let server = Runtime::new().unwrap().block_on(async {
            let client = Client::connect(&options).await.unwrap();
            let server = client.server().replace('/', " ");
            client.disconnect().await.unwrap();
            server
        });
        let kind = if self.has_quorum_queues {
            "quorum"
        } else {
            "classic"
        };
        format!("{server}, {kind} queue")
    }

    /// What the names of each broker's figures begin with: nothing if there is one broker.
    pub(crate) fn prefixes(brokers: &[Self]) -> Vec<String> {
        let prefix = |broker: &Self| match brokers.len() {
            1 => String::new(),
            _ => format!("{}: ", broker.name()),
        };
        brokers.iter().map(prefix).collect()
    }

    /// The argument of a SUBSCRIBE that declares such a queue.
    pub(crate) fn queue_type(&self) -> Option<(&'static str, &'static str)> {
        self.has_quorum_queues.then_some(("x-queue-type", "quorum"))
    }
}
