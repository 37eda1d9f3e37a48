//! Receives what the broker delivers, in its order.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use diesel_outbox::stomp::{Client, Delivery, Options, Subscribe};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::world::World;

/// What has arrived.
#[derive(Default)]
pub(crate) struct Arrivals {
    /// The ids, in the order of their first arrival.
    pub(crate) first: Vec<String>,
    seen: HashSet<String>,
    /// Messages that arrived again without being redeliveries of the broker.
    pub(crate) sent_again: usize,
    /// Their ids.
    pub(crate) twice: HashSet<String>,
}

/// Listens to the queue until it is dropped, whatever happens to the broker.
pub(crate) struct Consumer {
    arrivals: Arc<Mutex<Arrivals>>,
    paused: watch::Sender<bool>,
    _runtime: Runtime,
}

impl Consumer {
    /// Consumes the queue of the world.
    pub(crate) fn start(world: &World) -> Self {
        Self::listen_to(world, &format!("/queue/{}", world.queue), None)
    }

    /// Consumes a copy of what is sent to the topic of the world, through another queue.
    pub(crate) fn beside(world: &World) -> Self {
        let queue = format!("{}-witness", world.queue);
        Self::listen_to(world, &world.topic(), Some(&queue))
    }

    fn listen_to(world: &World, destination: &str, queue: Option<&str>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let arrivals = Arc::new(Mutex::new(Arrivals::default()));
        let (paused, is_paused) = watch::channel(false);
        let options = Options::from_url(world.broker()).unwrap();
        let subscribe = subscribe(destination, queue);
        // The queue exists from the first connection on.
        let first = runtime.block_on(connect(&options, &subscribe)).unwrap();
        let shared = Arc::clone(&arrivals);
        runtime.spawn(async move {
            let mut connection = Some(first);
            loop {
                if let Some(connection) = connection.take() {
                    listen(connection, &shared, is_paused.clone()).await;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
                connection = connect(&options, &subscribe).await.ok();
            }
        });
        Self {
            arrivals,
            paused,
            _runtime: runtime,
        }
    }

    /// Stops consuming, so that the queue fills.
    pub(crate) fn pause(&self, paused: bool) {
        self.paused.send(paused).unwrap();
    }

    /// The number of different messages.
    pub(crate) fn arrived(&self) -> usize {
        self.arrivals.lock().unwrap().first.len()
    }

    pub(crate) fn look<T>(&self, look: impl FnOnce(&Arrivals) -> T) -> T {
        look(&self.arrivals.lock().unwrap())
    }
}

type Connection = (Client, diesel_outbox::stomp::Subscription);

fn subscribe(destination: &str, queue: Option<&str>) -> Subscribe {
    let mut headers = vec![
        ("durable", "true"),
        ("auto-delete", "false"),
        ("prefetch-count", "100"),
        ("x-expires", "600000"),
    ];
    headers.extend(queue.map(|queue| ("x-queue-name", queue)));
    let headers = headers.into_iter();
    Subscribe {
        destination: destination.to_owned(),
        headers: headers
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    }
}

async fn connect(
    options: &Options,
    subscribe: &Subscribe,
) -> Result<Connection, diesel_outbox::stomp::Error> {
    let client = Client::connect(options).await?;
    let subscription = client.subscribe(subscribe.clone()).await?;
    client.ping().await?;
    Ok((client, subscription))
}

async fn listen(
    (client, mut subscription): Connection,
    arrivals: &Mutex<Arrivals>,
    mut paused: watch::Receiver<bool>,
) {
    loop {
        let Some(delivery) = subscription.next().await else {
            return;
        };
        tokio::select! {
            _ = paused.wait_for(|paused| !paused) => {}
            _ = client.closed() => return,
        }
        note(&mut arrivals.lock().unwrap(), &delivery);
        drop(client.ack(&delivery));
    }
}

fn note(arrivals: &mut Arrivals, delivery: &Delivery) {
    let id = delivery.header("dop-msg-id").unwrap().to_owned();
    if arrivals.seen.insert(id.clone()) {
        arrivals.first.push(id);
    } else if delivery.header("redelivered") != Some("true") {
        arrivals.sent_again += 1;
        arrivals.twice.insert(id);
    }
}
