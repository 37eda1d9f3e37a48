//! What the broker hands out, in its order.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use diesel_outbox::stomp::{Client, Delivery, Options, Subscribe};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::world::World;

/// What has arrived.
#[derive(Default)]
pub(crate) struct Arrivals {
    /// The ids, each when it first came.
    pub(crate) first: Vec<String>,
    seen: HashMap<String, ()>,
    /// Messages that came again, and not because the broker handed them out again.
    pub(crate) sent_again: usize,
}

/// Listens to the queue until it is dropped, whatever becomes of the broker.
pub(crate) struct Consumer {
    arrivals: Arc<Mutex<Arrivals>>,
    paused: watch::Sender<bool>,
    _runtime: Runtime,
}

impl Consumer {
    pub(crate) fn start(world: &World) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let arrivals = Arc::new(Mutex::new(Arrivals::default()));
        let (paused, is_paused) = watch::channel(false);
        let options = Options::from_url(&world.broker).unwrap();
        // The queue is there from the first connection on.
        let first = runtime.block_on(connect(&options, &world.queue)).unwrap();
        let (shared, queue) = (Arc::clone(&arrivals), world.queue.clone());
        runtime.spawn(async move {
            let mut connection = Some(first);
            loop {
                if let Some(connection) = connection.take() {
                    listen(connection, &shared, is_paused.clone()).await;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
                connection = connect(&options, &queue).await.ok();
            }
        });
        Self {
            arrivals,
            paused,
            _runtime: runtime,
        }
    }

    /// Takes no more, so that the queue fills.
    pub(crate) fn pause(&self, paused: bool) {
        self.paused.send(paused).unwrap();
    }

    /// Different messages.
    pub(crate) fn arrived(&self) -> usize {
        self.arrivals.lock().unwrap().first.len()
    }

    pub(crate) fn look<T>(&self, look: impl FnOnce(&Arrivals) -> T) -> T {
        look(&self.arrivals.lock().unwrap())
    }
}

type Connection = (Client, diesel_outbox::stomp::Subscription);

async fn connect(
    options: &Options,
    queue: &str,
) -> Result<Connection, diesel_outbox::stomp::Error> {
    let client = Client::connect(options).await?;
    let headers = [
        ("durable", "true"),
        ("auto-delete", "false"),
        ("prefetch-count", "100"),
        ("x-expires", "600000"),
    ];
    let subscribe = Subscribe {
        destination: format!("/queue/{queue}"),
        headers: headers
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
    };
    let subscription = client.subscribe(subscribe).await?;
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
    if arrivals.seen.insert(id.clone(), ()).is_none() {
        arrivals.first.push(id);
    } else if delivery.header("redelivered") != Some("true") {
        arrivals.sent_again += 1;
    }
}
