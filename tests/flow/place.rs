//! The environment of a case: a database, a broker, names that no other case uses.

use std::any::Any;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use diesel_outbox::backend::Backend;
use diesel_outbox::config::{Builder, Config};
use diesel_outbox::migrations::Migrate;
use diesel_outbox::relay::{Relay, RelayStats};
use diesel_outbox::stomp::{Broker, Client, Options, Subscribe};
use diesel_outbox::subscriber::Subscriber;
use diesel_outbox::{Message, Producer, Registry, Shutdown};
use tokio::runtime::Runtime;
use uuid::Uuid;

pub(crate) use crate::consumer::Consumer;
use crate::counts::Counts;
use crate::support::TestDatabase;

const PATIENCE: Duration = Duration::from_secs(30);

/// A connection that the suite runs on.
pub(crate) trait Subject: Backend + Migrate {
    /// The number that a query selects.
    fn number(&mut self, query: &str) -> i64 {
        self.try_number(query).unwrap()
    }

    /// The number that a query selects, if the server lives.
    fn try_number(&mut self, query: &str) -> diesel::QueryResult<i64>;

    /// The text that a query selects.
    fn text(&mut self, query: &str) -> Option<String>;

    /// Whether the server is MariaDB. MySQL has the same name here.
    fn is_mariadb(&mut self) -> bool {
        Self::NAME.starts_with("MySQL") && self.text("version()").unwrap().contains("MariaDB")
    }
}

macro_rules! subject {
    ($feature:literal, $connection:ty, $number:literal, $text:literal) => {
        #[cfg(feature = $feature)]
        impl Subject for $connection {
            fn try_number(&mut self, query: &str) -> diesel::QueryResult<i64> {
                use diesel::RunQueryDsl;
                let query = format!(
                    concat!("select cast(({}) as ", $number, ") as value"),
                    query
                );
                let number = diesel::sql_query(query).get_result::<Number>(self)?;
                Ok(number.value)
            }

            fn text(&mut self, query: &str) -> Option<String> {
                use diesel::RunQueryDsl;
                let query = format!(concat!("select cast(({}) as ", $text, ") as value"), query);
                diesel::sql_query(query)
                    .get_result::<Text>(self)
                    .unwrap()
                    .value
            }
        }
    };
}

subject!("sqlite", diesel::SqliteConnection, "bigint", "text");
subject!("mysql", diesel::MysqlConnection, "signed", "char");
subject!("postgres", diesel::PgConnection, "bigint", "text");

#[derive(diesel::QueryableByName)]
struct Number {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    value: i64,
}

#[derive(diesel::QueryableByName)]
struct Text {
    #[diesel(sql_type = diesel::sql_types::Nullable<diesel::sql_types::Text>)]
    value: Option<String>,
}

pub(crate) mod databases {
    use crate::support::TestDatabase;

    #[cfg(feature = "sqlite")]
    pub(crate) fn sqlite() -> Option<TestDatabase> {
        Some(crate::support::sqlite::<diesel::SqliteConnection>())
    }

    #[cfg(feature = "mysql")]
    pub(crate) fn mysql() -> Option<TestDatabase> {
        crate::support::mysql::<diesel::MysqlConnection>()
    }

    #[cfg(feature = "postgres")]
    pub(crate) fn postgres() -> Option<TestDatabase> {
        crate::support::postgres::<diesel::PgConnection>()
    }

    #[cfg(all(feature = "postgres", feature = "testing"))]
    pub(crate) fn postgres_in_latin1() -> Option<TestDatabase> {
        crate::support::postgres_in_latin1::<diesel::PgConnection>()
    }
}

/// A broker for this case alone, or one that it shares with others.
pub(crate) struct BrokerPlace {
    pub(crate) url: String,
    pub(crate) guard: Box<dyn Any>,
}

pub(crate) mod brokers {
    use super::BrokerPlace;

    #[cfg(feature = "testing")]
    pub(crate) fn loopback() -> Option<BrokerPlace> {
        let broker = diesel_outbox::testing::LoopbackBroker::start().unwrap();
        Some(BrokerPlace {
            url: broker.url(),
            guard: Box::new(broker),
        })
    }

    pub(crate) fn activemq() -> Option<BrokerPlace> {
        let url = crate::support::server("OUTBOX_TEST_ACTIVEMQ", "ActiveMQ")?;
        Some(BrokerPlace {
            url,
            guard: Box::new(()),
        })
    }

    /// RabbitMQ without the raised limits that other cases need.
    #[cfg(all(feature = "sqlite", feature = "testing"))]
    pub(crate) fn rabbitmq_with_its_defaults() -> Option<BrokerPlace> {
        let url = crate::support::server(
            "OUTBOX_TEST_RABBITMQ_DEFAULTS",
            "RabbitMQ with its default limits",
        )?;
        Some(BrokerPlace {
            url,
            guard: Box::new(()),
        })
    }

    pub(crate) fn rabbitmq() -> Option<BrokerPlace> {
        let url = crate::support::server("OUTBOX_TEST_RABBITMQ", "RabbitMQ")?;
        Some(BrokerPlace {
            url,
            guard: Box::new(()),
        })
    }
}

/// A database, a broker, and names that no other case uses.
pub(crate) struct Place {
    database: TestDatabase,
    broker: BrokerPlace,
    /// A name that no other case uses: that of the queue.
    pub(crate) name: String,
    pub(crate) runtime: Runtime,
}

impl Place {
    pub(crate) fn new<C: Subject>(database: TestDatabase, broker: BrokerPlace) -> Self {
        let place = Self {
            database,
            broker,
            name: format!("outbox-test-{}", Uuid::new_v4().simple()),
            runtime: Runtime::new().unwrap(),
        };
        let mut conn = place.connect::<C>();
        conn.migrate().unwrap();
        conn.batch_execute("create table effects (note text not null)")
            .unwrap();
        place
    }

    /// The same in another virtual host.
    #[cfg(all(feature = "sqlite", feature = "testing"))]
    pub(crate) fn in_virtual_host(&self, name: &str) -> Self {
        let url = self.broker.url.trim_end_matches('/');
        Self {
            database: TestDatabase::at(self.database.url.clone()),
            broker: BrokerPlace {
                url: format!("{url}/{name}"),
                guard: Box::new(()),
            },
            name: self.name.clone(),
            runtime: Runtime::new().unwrap(),
        }
    }

    pub(crate) fn connect<C: Subject>(&self) -> C {
        let mut conn = C::establish(&self.database.url).unwrap();
        if C::NAME == "SQLite" {
            conn.batch_execute("pragma busy_timeout = 20000").unwrap();
        }
        conn
    }

    pub(crate) fn topic(&self) -> String {
        format!("/topic/{}", self.name)
    }

    #[cfg(feature = "testing")]
    pub(crate) fn database_url(&self) -> &str {
        &self.database.url
    }

    pub(crate) fn broker_url(&self) -> &str {
        &self.broker.url
    }

    pub(crate) fn settings(&self) -> Builder {
        Config::builder()
            .set("database_url", self.database.url.as_str())
            .set("stomp_url", self.broker.url.as_str())
            .set("callback_first_delay", "1ms")
            .set("callback_attempts", 2)
            .set("poll_interval", "20ms")
            // The tests' queues must be deleted from the broker.
            .set("queue_headers", "x-expires:600000")
            .set("dead_letter_headers", self.dead_letter_headers())
    }

    /// A broker that ends with its case has nothing to delete.
    fn dead_letter_headers(&self) -> &str {
        match self.broker.guard.is::<()>() {
            true => "x-expires:600000",
            false => "",
        }
    }

    pub(crate) fn config(&self) -> Config {
        self.settings().build().unwrap()
    }

    /// The broker, if it is the one that breaks on demand.
    #[cfg(feature = "testing")]
    pub(crate) fn loopback(&self) -> &diesel_outbox::testing::LoopbackBroker {
        self.broker.guard.downcast_ref().unwrap()
    }

    /// Whether it is the broker that breaks on demand.
    #[cfg(feature = "testing")]
    pub(crate) fn is_loopback(&self) -> bool {
        self.broker
            .guard
            .is::<diesel_outbox::testing::LoopbackBroker>()
    }

    pub(crate) fn counts<C: Subject>(&self) -> Counts {
        Counts::of(&mut self.connect::<C>())
    }

    /// Sends all rows that are due.
    pub(crate) fn relay<C: Subject>(&self) -> RelayStats {
        self.relay_with::<C>(&self.config())
    }

    pub(crate) fn relay_with<C: Subject>(&self, config: &Config) -> RelayStats {
        let relay = Relay::<C>::new(config).unwrap();
        self.runtime
            .block_on(relay.run_once(&Shutdown::new()))
            .unwrap()
    }

    /// Sends one message directly to the broker.
    pub(crate) fn send(&self, message: Message) -> Uuid {
        self.runtime.block_on(async {
            let producer = Producer::connect(&self.config()).await.unwrap();
            let id = producer.send(message).await.unwrap();
            producer.close().await.unwrap();
            id
        })
    }

    /// Sends a body unchanged.
    pub(crate) fn send_raw(&self, id: &str, body: &[u8]) {
        let options = Options::from_url(&self.broker.url).unwrap();
        let frame = diesel_outbox::stomp::SendFrame::new(self.topic(), body.to_vec())
            .header("dop-msg-id", id)
            .header("persistent", "true");
        self.runtime.block_on(async {
            let client = Client::connect(&options).await.unwrap();
            client.send(frame).await.unwrap();
            client.disconnect().await.unwrap();
        });
    }

    /// Sends a frame unchanged.
    pub(crate) fn send_frame(&self, frame: diesel_outbox::stomp::SendFrame) {
        let options = Options::from_url(&self.broker.url).unwrap();
        self.runtime.block_on(async {
            let client = Client::connect(&options).await.unwrap();
            client.send(frame).await.unwrap();
            client.disconnect().await.unwrap();
        });
    }

    /// The kind of the broker.
    pub(crate) fn broker(&self) -> Broker {
        let options = Options::from_url(&self.broker.url).unwrap();
        self.runtime.block_on(async {
            let client = Client::connect(&options).await.unwrap();
            let broker = client.broker();
            client.disconnect().await.unwrap();
            broker
        })
    }

    /// The version of RabbitMQ, such as (4, 3, 6).
    #[cfg(feature = "sqlite")]
    pub(crate) fn rabbitmq_version(&self) -> (u32, u32, u32) {
        let options = Options::from_url(&self.broker.url).unwrap();
        let server = self.runtime.block_on(async {
            let client = Client::connect(&options).await.unwrap();
            let server = client.server().to_owned();
            client.disconnect().await.unwrap();
            server
        });
        let version = server.strip_prefix("RabbitMQ/").unwrap();
        let mut parts = version.split('.').map(|part| part.parse().unwrap());
        let mut part = || parts.next().unwrap();
        (part(), part(), part())
    }

    /// Sends this many copies of a body to a dead-letter queue.
    #[cfg(feature = "sqlite")]
    pub(crate) fn send_letters(&self, count: usize, body: &[u8]) {
        let options = Options::from_url(&self.broker.url).unwrap();
        let frame = diesel_outbox::stomp::SendFrame::new(
            format!("/queue/DLQ.{}", self.name),
            body.to_vec(),
        )
        .header("x-expires", "600000");
        self.runtime.block_on(async {
            let client = Client::connect(&options).await.unwrap();
            for _ in 0..count {
                client.send(frame.clone()).await.unwrap();
            }
            client.disconnect().await.unwrap();
        });
    }

    /// Consumes the case's queue with the callback `"it"` of the registry.
    pub(crate) fn subscribe<C: Subject>(&self, registry: &Registry<C>) -> Consumer {
        self.subscribe_with(registry, "it", &self.config())
    }

    pub(crate) fn subscribe_with<C: Subject>(
        &self,
        registry: &Registry<C>,
        callback: &str,
        config: &Config,
    ) -> Consumer {
        let subscriber = Subscriber::new(config, registry, callback, &self.topic(), None).unwrap();
        Consumer::of(subscriber)
    }

    /// The same, with access to its log.
    #[cfg(feature = "testing")]
    pub(crate) fn subscribe_logged<C: Subject>(
        &self,
        registry: &Registry<C>,
        config: &Config,
    ) -> (Consumer, crate::log::Log) {
        self.subscribe_logged_to(&self.topic(), registry, config)
    }

    #[cfg(feature = "testing")]
    pub(crate) fn subscribe_logged_to<C: Subject>(
        &self,
        destination: &str,
        registry: &Registry<C>,
        config: &Config,
    ) -> (Consumer, crate::log::Log) {
        self.subscribe_logged_as(destination, Some(&self.name), registry, config)
    }

    #[cfg(feature = "testing")]
    pub(crate) fn subscribe_logged_as<C: Subject>(
        &self,
        destination: &str,
        queue: Option<&str>,
        registry: &Registry<C>,
        config: &Config,
    ) -> (Consumer, crate::log::Log) {
        let subscriber = Subscriber::new(config, registry, "it", destination, queue).unwrap();
        Consumer::logged_of(subscriber)
    }

    /// Creates the queue as a subscriber that has ended would leave it.
    pub(crate) fn declare<C: Subject>(&self) {
        let options = Options::from_url(&self.broker.url).unwrap();
        self.runtime.block_on(async {
            let client = Client::connect(&options).await.unwrap();
            if client.broker() == Broker::ActiveMq {
                self.leave_durable_subscription(&options).await;
            } else {
                let consumer = self.subscribe_with::<C>(&Registry::new(), "store", &self.config());
                self.is_declared(&client).await;
                consumer.stop();
            }
            client.disconnect().await.unwrap();
        });
    }

    /// The queue exists if a second subscriber with the same arguments is accepted.
    async fn is_declared(&self, client: &Client) {
        let queue = self.name.as_str();
        let dead_letters = format!("DLQ.{queue}");
        let headers = [
            ("durable", "true"),
            ("auto-delete", "false"),
            ("x-queue-name", queue),
            ("x-dead-letter-exchange", ""),
            ("x-dead-letter-routing-key", &dead_letters),
            ("x-expires", "600000"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let subscription = client
            .subscribe(Subscribe {
                destination: self.topic(),
                headers: headers.into(),
            })
            .await
            .unwrap();
        subscription.unsubscribe().await.unwrap();
    }

    /// The durable subscription of our subscribers on ActiveMQ: named after the topic, owned by the queue.
    async fn leave_durable_subscription(&self, options: &Options) {
        let client = Client::connect(&options.clone().client_id(&self.name))
            .await
            .unwrap();
        let subscribe = Subscribe {
            destination: self.topic(),
            headers: vec![("activemq.subscriptionName".to_owned(), self.name.clone())],
        };
        let subscription = client.subscribe(subscribe).await.unwrap();
        subscription.unsubscribe().await.unwrap();
        client.disconnect().await.unwrap();
    }
}

/// Polls, for events that are not signalled.
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// The next item of a channel.
pub(crate) fn next<T>(receiver: &Receiver<T>) -> T {
    receiver.recv_timeout(PATIENCE).unwrap()
}
