//! The broker's handle, its thread and its port.

use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::core::Core;
use super::session;
use super::view::View;

/// What the handle, the listener and the sessions have in common.
#[derive(Debug)]
pub(super) struct Shared {
    core: Mutex<Core>,
    changed: Condvar,
    /// Counts the changes, for the sessions.
    changes: watch::Sender<u64>,
    pub(super) stalled: watch::Sender<bool>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Core> {
        // A test's closure may panic; the broker's state is whole all the same.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Core) -> T) -> T {
        let outcome = work(&mut self.lock());
        self.changed.notify_all();
        self.changes
            .send_modify(|changes| *changes = changes.wrapping_add(1));
        outcome
    }

    /// Waits until this connection is no longer known.
    pub(super) async fn sent_away(&self, number: u64) {
        let mut changes = self.changes.subscribe();
        while self.lock().connections.contains_key(&number) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }
}

/// What the handle asks of the thread.
enum Order {
    GoDown(Sender<()>),
    ComeUp(Sender<io::Result<()>>),
}

/// A STOMP broker on a port of the loopback, in memory, for tests. It serves until it is dropped,
/// on a thread of its own, so that blocking code and other processes can use it too.
///
/// The only user is `guest` with the password `guest`, the only virtual host `/`.
#[derive(Debug)]
pub struct LoopbackBroker {
    shared: Arc<Shared>,
    address: SocketAddr,
    orders: Option<mpsc::UnboundedSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

impl LoopbackBroker {
    /// Starts a broker on a free port.
    ///
    /// # Errors
    ///
    /// When the system has no port or no thread left.
    pub fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared {
            core: Mutex::default(),
            changed: Condvar::new(),
            changes: watch::Sender::new(0),
            stalled: watch::Sender::new(false),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listener = {
            let _inside = runtime.enter();
            listen(SocketAddr::from(([127, 0, 0, 1], 0)))?
        };
        let address = listener.local_addr()?;
        let (orders, queue) = mpsc::unbounded_channel();
        let served = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("loopback-broker".to_owned())
            .spawn(move || runtime.block_on(serve(&served, listener, queue)))?;
        Ok(Self {
            shared,
            address,
            orders: Some(orders),
            thread: Some(thread),
        })
    }

    /// The broker's address: `stomp://guest:guest@127.0.0.1:PORT/`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("stomp://guest:guest@{}/", self.address)
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    // --- what is there ------------------------------------------------------------------------------

    /// Looks at the broker.
    pub fn view<T>(&self, look: impl FnOnce(View<'_>) -> T) -> T {
        look(View(&self.shared.lock()))
    }

    /// Blocks until the broker is as `wanted`; false where that takes longer than `patience`.
    #[must_use]
    pub fn wait_for(&self, patience: Duration, wanted: impl Fn(View<'_>) -> bool) -> bool {
        let deadline = Instant::now() + patience;
        let mut core = self.shared.lock();
        while !wanted(View(&core)) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            core = self
                .shared
                .changed
                .wait_timeout(core, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }

    // --- what goes wrong ----------------------------------------------------------------------------

    /// SENDs are taken, and their RECEIPTs are not sent, until it is called with `false`.
    pub fn swallow_receipts(&self, swallow: bool) {
        self.shared
            .with(|core| core.faults.swallow_receipts = swallow);
    }

    /// The next `sends` SENDs are taken (at least one); then all connections are cut, before the
    /// last one's RECEIPT.
    pub fn cut_after(&self, sends: usize) {
        self.shared
            .with(|core| core.faults.cut_after = Some(sends.max(1)));
    }

    /// Cuts all connections.
    pub fn cut(&self) {
        self.shared.with(Core::cut);
    }

    /// Refuses every login, until it is called with `false`.
    pub fn refuse_logins(&self, refuse: bool) {
        self.shared.with(|core| core.faults.refuse_logins = refuse);
    }

    /// Neither reads nor writes, though connections stay open and new ones are accepted, until it
    /// is called with `false`.
    pub fn stall(&self, stall: bool) {
        self.shared.stalled.send_replace(stall);
    }

    /// Answers SENDs to this destination with an ERROR that names the receipt.
    pub fn reject(&self, destination: impl Into<String>) {
        let destination = destination.into();
        self.shared
            .with(|core| core.faults.rejected.insert(destination));
    }

    /// Closes the connection without a word at a SEND to this destination, as RabbitMQ does when a
    /// queue rejects a message.
    pub fn poison(&self, destination: impl Into<String>) {
        let destination = destination.into();
        self.shared
            .with(|core| core.faults.poisonous.insert(destination));
    }

    /// Deletes a queue with its messages. Its subscriptions end with an ERROR, as RabbitMQ's do;
    /// their connections stay.
    pub fn delete_queue(&self, queue: &str) {
        self.shared.with(|core| core.delete_queue(queue));
    }

    /// Ends all faults, except that a broker that is down stays down.
    pub fn heal(&self) {
        self.stall(false);
        self.shared.with(|core| core.faults = Default::default());
    }

    /// Stops listening and cuts all connections. Queues and their messages stay.
    pub fn go_down(&self) {
        let (done, wait) = channel();
        if self.order(Order::GoDown(done)) {
            let _ = wait.recv();
        }
    }

    /// Listens again, on the same port.
    ///
    /// # Errors
    ///
    /// When somebody else has taken the port.
    pub fn come_up(&self) -> io::Result<()> {
        let (done, wait) = channel();
        if self.order(Order::ComeUp(done)) {
            return wait.recv().map_err(io::Error::other)?;
        }
        Err(io::Error::other("the broker's thread has ended"))
    }

    fn order(&self, order: Order) -> bool {
        self.orders
            .as_ref()
            .is_some_and(|orders| orders.send(order).is_ok())
    }
}

impl Drop for LoopbackBroker {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    // The port was ours a moment ago, and connections of then may linger.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(128)
}

async fn serve(
    shared: &Arc<Shared>,
    listener: TcpListener,
    mut orders: mpsc::UnboundedReceiver<Order>,
) {
    let Ok(address) = listener.local_addr() else {
        return;
    };
    let mut listener = Some(listener);
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            socket = accept(listener.as_ref()) => {
                if let Ok((socket, _)) = socket {
                    sessions.spawn(session::serve(Arc::clone(shared), socket));
                }
            }
            Some(_) = sessions.join_next() => {}
            order = orders.recv() => match order {
                None => return,
                Some(Order::GoDown(done)) => {
                    listener = None;
                    shared.with(Core::cut);
                    sessions.shutdown().await;
                    let _ = done.send(());
                }
                Some(Order::ComeUp(done)) => {
                    let outcome = if listener.is_some() {
                        Ok(())
                    } else {
                        listen(address).map(|new| listener = Some(new))
                    };
                    let _ = done.send(outcome);
                }
            },
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<(tokio::net::TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}
