//! Where a case happens: a database, a broker, names of its own.

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use diesel_outbox::backend::{Backend, Counts};
use diesel_outbox::config::{Builder, Config};
use diesel_outbox::migrations::Migrate;
use diesel_outbox::relay::{Relay, Sent};
use diesel_outbox::stomp::{Broker, Client, Delivery, Options, Subscribe};
use diesel_outbox::subscriber::{Handled, Subscriber};
use diesel_outbox::{Message, Producer, Registry, Shutdown};
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::support::TestDatabase;

const PATIENCE: Duration = Duration::from_secs(30);

/// A connection that the suite runs on.
pub(crate) trait Subject: Backend + Migrate {
    /// The one number that a query selects.
    fn number(&mut self, query: &str) -> i64;

    /// The one text that a query selects.
    fn text(&mut self, query: &str) -> Option<String>;
}

macro_rules! subject {
    ($feature:literal, $connection:ty, $number:literal, $text:literal) => {
        #[cfg(feature = $feature)]
        impl Subject for $connection {
            fn number(&mut self, query: &str) -> i64 {
                use diesel::RunQueryDsl;
                let query = format!(
                    concat!("select cast(({}) as ", $number, ") as value"),
                    query
                );
                diesel::sql_query(query)
                    .get_result::<Number>(self)
                    .unwrap()
                    .value
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
        Some(crate::support::sqlite())
    }

    #[cfg(feature = "mysql")]
    pub(crate) fn mysql() -> Option<TestDatabase> {
        crate::support::mysql()
    }

    #[cfg(feature = "postgres")]
    pub(crate) fn postgres() -> Option<TestDatabase> {
        crate::support::postgres()
    }

    #[cfg(all(feature = "postgres", feature = "testing"))]
    pub(crate) fn postgres_in_latin1() -> Option<TestDatabase> {
        crate::support::postgres_in_latin1()
    }
}

/// A broker of the case's own, or one that it shares with others.
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

    pub(crate) fn rabbitmq() -> Option<BrokerPlace> {
        let url = crate::support::server("OUTBOX_TEST_RABBITMQ", "RabbitMQ")?;
        Some(BrokerPlace {
            url,
            guard: Box::new(()),
        })
    }
}

/// A database, a broker, names of the case's own.
pub(crate) struct Place {
    database: TestDatabase,
    broker: BrokerPlace,
    /// A name that no other case has: that of the queue.
    pub(crate) name: String,
    runtime: Runtime,
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
            // The broker is to forget the queues of the tests.
            .set("queue_headers", "x-expires:600000")
            .set("dead_letter_headers", self.dead_letter_headers())
    }

    /// One that ends with its case has nothing to forget.
    fn dead_letter_headers(&self) -> &str {
        match self.broker.guard.is::<()>() {
            true => "x-expires:600000",
            false => "",
        }
    }

    pub(crate) fn config(&self) -> Config {
        self.settings().build().unwrap()
    }

    /// The broker, where it is the one that breaks on demand.
    #[cfg(feature = "testing")]
    pub(crate) fn loopback(&self) -> &diesel_outbox::testing::LoopbackBroker {
        self.broker.guard.downcast_ref().unwrap()
    }

    /// Whether it is that one.
    #[cfg(feature = "testing")]
    pub(crate) fn is_loopback(&self) -> bool {
        self.broker
            .guard
            .is::<diesel_outbox::testing::LoopbackBroker>()
    }

    pub(crate) fn counts<C: Subject>(&self) -> Counts {
        self.connect::<C>().counts().unwrap()
    }

    /// Sends all that is due.
    pub(crate) fn relay<C: Subject>(&self) -> Sent {
        self.relay_with::<C>(&self.config())
    }

    pub(crate) fn relay_with<C: Subject>(&self, config: &Config) -> Sent {
        let relay = Relay::<C>::new(config).unwrap();
        self.runtime
            .block_on(relay.run_once(&Shutdown::new()))
            .unwrap()
    }

    /// Sends one message straight to the broker.
    pub(crate) fn send(&self, message: Message) -> Uuid {
        self.runtime.block_on(async {
            let producer = Producer::connect(&self.config()).await.unwrap();
            let id = producer.send(message).await.unwrap();
            producer.close().await.unwrap();
            id
        })
    }

    /// Sends a body as it is.
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

    /// Sends so many of one body to a queue of dead letters.
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

    /// The same with a look at its log.
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
        let name = Some(self.name.as_str());
        let subscriber = Subscriber::new(config, registry, "it", destination, name).unwrap();
        let log = crate::log::Log::default();
        let collected = log.clone();
        let consumer = Consumer::start(move |shutdown| {
            let _guard = collected.collect(tracing::Level::DEBUG);
            let runtime = Runtime::new().unwrap();
            runtime.block_on(subscriber.run(shutdown)).unwrap()
        });
        (consumer, log)
    }

    /// Makes the queue, as a subscriber that has gone again would leave it.
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

    /// A queue is there when a second subscriber of the same arguments is let in.
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

    /// What a subscriber of ours makes on ActiveMQ: its name is the topic's, its owner the queue's.
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

    /// Listens to the queue of dead letters that a subscriber writes itself.
    pub(crate) fn letters(&self) -> Receiver<Delivery> {
        let options = Options::from_url(&self.broker.url).unwrap();
        let name = self.name.clone();
        let (sender, receiver) = channel();
        self.runtime.spawn(async move {
            loop {
                let client = Client::connect(&options).await.unwrap();
                let kind = match client.broker() {
                    Broker::ActiveMq => "queue",
                    _ => "amq/queue",
                };
                let subscribe = Subscribe {
                    destination: format!("/{kind}/DLQ.{name}"),
                    headers: Vec::new(),
                };
                // Not there before the subscriber has declared it.
                let Ok(mut subscription) = client.subscribe(subscribe).await else {
                    continue;
                };
                while let Some(delivery) = subscription.next().await {
                    let _ = client.ack(&delivery).await;
                    if sender.send(delivery).is_err() {
                        return;
                    }
                }
            }
        });
        receiver
    }

    /// Listens to the queue of dead letters.
    pub(crate) fn dead_letters(&self) -> Receiver<Delivery> {
        let options = Options::from_url(&self.broker.url).unwrap();
        let (name, topic) = (self.name.clone(), self.topic());
        let (sender, receiver) = channel();
        self.runtime.spawn(async move {
            let mut seen = BTreeSet::new();
            loop {
                let client = Client::connect(&options).await.unwrap();
                let is_shared = client.broker() == Broker::ActiveMq;
                let subscribe = if is_shared {
                    // That of all tests: it may be looked at only.
                    Subscribe {
                        destination: "/queue/ActiveMQ.DLQ".to_owned(),
                        headers: vec![("browser".to_owned(), "true".to_owned())],
                    }
                } else {
                    Subscribe {
                        destination: format!("/amq/queue/DLQ.{name}"),
                        headers: Vec::new(),
                    }
                };
                // Not there before the subscriber has declared it.
                let Ok(mut subscription) = client.subscribe(subscribe).await else {
                    continue;
                };
                while let Some(delivery) = subscription.next().await {
                    if is_shared {
                        if delivery.header("browser") == Some("end") {
                            break;
                        }
                        let is_ours = delivery.header("original-destination") == Some(&topic);
                        if !is_ours || !seen.insert(delivery.message_id.clone()) {
                            continue;
                        }
                    } else {
                        let _ = client.ack(&delivery).await;
                    }
                    if sender.send(delivery).is_err() {
                        return;
                    }
                }
                client.abort();
            }
        });
        receiver
    }
}

/// A subscriber that runs.
pub(crate) struct Consumer {
    shutdown: Shutdown,
    thread: JoinHandle<Handled>,
}

impl Consumer {
    fn start(run: impl FnOnce(&Shutdown) -> Handled + Send + 'static) -> Self {
        let shutdown = Shutdown::new();
        let heeded = shutdown.clone();
        let thread = std::thread::spawn(move || run(&heeded));
        Self { shutdown, thread }
    }

    pub(crate) fn of<C: Subject>(subscriber: Subscriber<C>) -> Self {
        Self::start(move |shutdown| {
            let runtime = Runtime::new().unwrap();
            runtime.block_on(subscriber.run(shutdown)).unwrap()
        })
    }

    /// Stops it gracefully.
    pub(crate) fn stop(self) -> Handled {
        self.shutdown.stop();
        self.thread.join().unwrap()
    }
}

/// Asks again and again, for what sends no word of its own.
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// The next of what comes from a channel.
pub(crate) fn next<T>(receiver: &Receiver<T>) -> T {
    receiver.recv_timeout(PATIENCE).unwrap()
}
