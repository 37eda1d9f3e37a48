//! The messages that the broker has: every message of a topic, counted by its id.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use diesel_outbox::stomp::{Client, Options, Subscribe};

use super::World;
use super::program::wait_until;

/// Listens to a topic until it is dropped.
pub(crate) struct Listener {
    seen: Arc<Mutex<HashMap<String, usize>>>,
    _runtime: tokio::runtime::Runtime,
}

impl Listener {
    pub(crate) fn new(world: &World) -> Self {
        Self::to(world, &world.topic())
    }

    /// Listens to another destination.
    pub(crate) fn to(world: &World, destination: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let seen = Arc::new(Mutex::new(HashMap::new()));
        let options = Options::from_url(&world.broker).unwrap();
        let destination = destination.to_owned();
        let mut subscription = runtime.block_on(async {
            let client = Client::connect(&options).await.unwrap();
            let headers = Vec::new();
            client
                .subscribe(Subscribe {
                    destination,
                    headers,
                })
                .await
                .map(|subscription| (client, subscription))
                .unwrap()
        });
        let counted = Arc::clone(&seen);
        runtime.spawn(async move {
            while let Some(delivery) = subscription.1.next().await {
                let id = delivery.header("dop-msg-id").unwrap().to_owned();
                *counted.lock().unwrap().entry(id).or_default() += 1;
                drop(subscription.0.ack(&delivery));
            }
        });
        Self {
            seen,
            _runtime: runtime,
        }
    }

    /// The number of different messages.
    pub(crate) fn messages(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// The number of redeliveries.
    pub(crate) fn duplicates(&self) -> usize {
        self.seen
            .lock()
            .unwrap()
            .values()
            .map(|count| count - 1)
            .sum()
    }

    pub(crate) fn has(&self, id: &str) -> bool {
        self.seen.lock().unwrap().contains_key(id)
    }

    pub(crate) fn wait_for(&self, messages: usize) {
        wait_until("the messages arrive", || self.messages() >= messages);
    }
}
