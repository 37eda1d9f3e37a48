//! A whole client, against a peer that says the input's bytes: each of its futures ends in time, and
//! no error shows the password.
//!
//! The sockets are real. The clock is not: it moves on as soon as nobody has anything to do, so that
//! no limit of time takes any.

use std::fmt::{Debug, Display};
use std::time::Duration;

use diesel_outbox::stomp::{
    Client, Delivery, Error, Limits, Options, Receipt, SendFrame, Subscribe, Subscription, Version,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

const PASSWORD: &str = "s3cr3t";
const PATIENCE: Duration = Duration::from_millis(50);
/// More than all limits of time one after the other.
const END: Duration = Duration::from_secs(10);
const LIMITS: Limits = Limits {
    head: 1024,
    headers: 16,
    body: 1024,
};

thread_local! {
    static WORLD: (Runtime, TcpListener) = {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        (runtime, listener)
    };
}

/// An input is the settings, the number of steps, what the client does in each and how many bytes
/// the peer says before it, and the bytes.
pub(crate) fn run(input: &[u8]) {
    let [settings, count, rest @ ..] = input else {
        return;
    };
    let (steps, bytes) = rest.split_at(usize::from(count % 32).min(rest.len() / 2) * 2);
    WORLD.with(|(runtime, listener)| {
        runtime.block_on(async {
            let mut scene = Scene::open(listener, *settings).await;
            scene.play(steps, bytes).await;
            scene.close().await;
        });
    });
}

fn options(listener: &TcpListener, settings: u8) -> Options {
    let address = listener.local_addr().unwrap();
    let beat = match settings & 8 {
        0 => Duration::ZERO,
        _ => PATIENCE / 2,
    };
    Options::from_url(&format!("stomp://shop:{PASSWORD}@{address}"))
        .unwrap()
        .connect_timeout(PATIENCE)
        .receipt_timeout(PATIENCE)
        .heartbeat(beat, beat)
        .versions(&[Version::V1_0, Version::V1_1, Version::V1_2])
        .limits(LIMITS)
        .receive_budget(2048)
}

/// What the peer says by itself, so that the input need not.
fn greeting(settings: u8) -> Option<String> {
    let version = ["1.2", "1.1", "1.0"].get(usize::from(settings & 3))?;
    let server = ["RabbitMQ/3.10.8", "ActiveMQ/5.17.2"][usize::from(settings >> 2 & 1)];
    Some(format!(
        "CONNECTED\nversion:{version}\nserver:{server}\nheart-beat:20,20\n\n\0"
    ))
}

/// A client, all that it has under way, and its peer.
struct Scene {
    connecting: Option<JoinHandle<Result<Client, Error>>>,
    client: Option<Client>,
    receipts: Vec<Receipt>,
    subscribing: Vec<JoinHandle<Result<Subscription, Error>>>,
    subscriptions: Vec<Subscription>,
    deliveries: Vec<Delivery>,
    disconnecting: Vec<JoinHandle<Result<(), Error>>>,
    peer: Option<OwnedWriteHalf>,
    reading: JoinHandle<()>,
}

impl Scene {
    async fn open(listener: &TcpListener, settings: u8) -> Self {
        let options = options(listener, settings);
        let connecting = tokio::spawn(async move { Client::connect(&options).await });
        let (mut peer, _) = listener.accept().await.unwrap();
        // Nothing of it stays with the system, which would run out of ports.
        peer.set_zero_linger().unwrap();
        if let Some(greeting) = greeting(settings) {
            peer.write_all(greeting.as_bytes()).await.unwrap();
        }
        let (mut reader, writer) = TcpStream::into_split(peer);
        let reading = tokio::spawn(async move {
            let mut bytes = [0; 4096];
            while let Ok(1..) = reader.read(&mut bytes).await {}
        });
        Self {
            connecting: Some(connecting),
            client: None,
            receipts: Vec::new(),
            subscribing: Vec::new(),
            subscriptions: Vec::new(),
            deliveries: Vec::new(),
            disconnecting: Vec::new(),
            peer: Some(writer),
            reading,
        }
    }

    async fn play(&mut self, steps: &[u8], mut bytes: &[u8]) {
        let mut steps = steps.chunks_exact(2);
        loop {
            // Until everybody has done what there is to do.
            sleep(Duration::from_millis(1)).await;
            self.look().await;
            let (action, length) = match steps.next() {
                Some(step) => (step[0], usize::from(step[1])),
                None if bytes.is_empty() => return,
                None => (0, bytes.len()),
            };
            self.act(action).await;
            let (piece, later) = bytes.split_at(bytes.len().min(length));
            bytes = later;
            if let Some(peer) = &mut self.peer {
                // The client may be gone.
                let _ = peer.write_all(piece).await;
            }
        }
    }

    /// Takes what has come of what was asked for.
    async fn look(&mut self) {
        if let Some(connecting) = self.connecting.take_if(|task| task.is_finished()) {
            match connecting.await.unwrap() {
                Ok(client) => {
                    assert_hidden(&client.server().to_owned());
                    self.client = Some(client);
                }
                Err(error) => assert_hidden(&error),
            }
        }
        for task in self.subscribing.extract_if(.., |task| task.is_finished()) {
            match task.await.unwrap() {
                Ok(subscription) => self.subscriptions.push(subscription),
                Err(error) => assert_hidden(&error),
            }
        }
    }

    async fn act(&mut self, action: u8) {
        let Some(client) = &self.client else {
            return;
        };
        let last = self.deliveries.last();
        match action % 16 {
            1 => {
                let frame = SendFrame::new("/queue/a:b", "body\0").header("x:y", "a\\b");
                self.receipts.push(client.send(frame));
            }
            2 => {
                let client = client.clone();
                let subscribe = Subscribe {
                    destination: "/queue/s".to_owned(),
                    headers: vec![("prefetch-count".to_owned(), "2".to_owned())],
                };
                let task = async move { client.subscribe(subscribe).await };
                self.subscribing.push(tokio::spawn(task));
            }
            3 | 4 => {
                for subscription in &mut self.subscriptions {
                    if let Ok(Some(delivery)) =
                        timeout(Duration::from_millis(1), subscription.next()).await
                    {
                        self.deliveries.push(delivery);
                    }
                }
            }
            5 => self.receipts.extend(last.map(|last| client.ack(last))),
            6 => self
                .receipts
                .extend(last.map(|last| client.nack(last, action & 16 == 0))),
            7 => {
                if let Some(Err(error)) = last.map(|last| client.ack_unconfirmed(last)) {
                    assert_hidden(&error);
                }
            }
            8 => {
                let ping = client.ping();
                let ping = tokio::spawn(ping);
                self.disconnecting.push(ping);
            }
            9 => {
                let last = self.subscriptions.last();
                self.receipts.extend(last.map(Subscription::unsubscribe));
            }
            10 => drop(self.subscriptions.pop()),
            11 => {
                let client = client.clone();
                let task = async move { client.disconnect().await };
                self.disconnecting.push(tokio::spawn(task));
            }
            12 => sleep(PATIENCE / 3).await,
            13 => {
                if let Some(peer) = &mut self.peer {
                    let _ = peer.shutdown().await;
                }
            }
            14 if action & 16 != 0 => client.abort(),
            14 => {
                let late = SendFrame {
                    not_after: Some(tokio::time::Instant::now()),
                    ..SendFrame::new("/queue/late", "")
                };
                self.receipts.push(client.send(late));
            }
            15 if action & 16 != 0 => self.peer = None,
            _ => {}
        }
    }

    /// All ends, in whichever way.
    async fn close(mut self) {
        if let Some(connecting) = self.connecting.take() {
            match within(connecting).await.unwrap() {
                Ok(client) => self.client = Some(client),
                Err(error) => assert_hidden(&error),
            }
        }
        for receipt in self.receipts {
            assert_all_hidden(within(receipt).await);
        }
        for task in self.subscribing {
            assert_all_hidden(within(task).await.unwrap());
        }
        for task in self.disconnecting {
            assert_all_hidden(within(task).await.unwrap());
        }
        if let Some(client) = self.client.take() {
            assert_all_hidden(within(client.disconnect()).await);
            assert_hidden(&within(client.closed()).await);
            assert!(client.is_closed());
        }
        for mut subscription in self.subscriptions {
            while within(subscription.next()).await.is_some() {}
        }
        // The client's socket is closed.
        within(self.reading).await.unwrap();
    }
}

async fn within<F: Future>(future: F) -> F::Output {
    timeout(END, future).await.expect("it does not end")
}

fn assert_all_hidden<T>(result: Result<T, Error>) {
    if let Err(error) = result {
        assert_hidden(&error);
    }
}

fn assert_hidden<T: Display + Debug>(what: &T) {
    let shown = format!("{what} {what:?}");
    assert!(!shown.contains(PASSWORD), "{shown}");
    assert!(shown.len() < 64 * 1024, "{} bytes", shown.len());
}
