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

/// The state shared by the handle, the listener and the sessions.
#[derive(Debug)]
pub(super) struct Shared {
    core: Mutex<Core>,
    changed: Condvar,
    /// Incremented at each change, for the sessions.
    changes: watch::Sender<u64>,
    pub(super) stalled: watch::Sender<bool>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Core> {
        // A closure of a test may panic; the broker's state is consistent all the same.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Core) -> T) -> T {
        let outcome = work(&mut self.lock());
        self.changed.notify_all();
        self.changes
            .send_modify(|changes| *changes = changes.wrapping_add(1));
        outcome
    }

    /// Waits until this connection no longer exists.
    pub(super) async fn disconnected(&self, number: u64) {
        let mut changes = self.changes.subscribe();
        while self.lock().connections.contains_key(&number) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }
}

/// Commands from the handle to the broker's thread.
enum Command {
    ShutDown(Sender<()>),
    Restart(Sender<io::Result<()>>),
}

/// An in-memory STOMP broker on a loopback port, for tests. It runs on a separate thread until it
/// is dropped, so blocking code and other processes can use it too.
///
/// The only user is `guest` with the password `guest`; the only virtual host is `/`.
#[derive(Debug)]
pub struct LoopbackBroker {
    shared: Arc<Shared>,
    address: SocketAddr,
    commands: Option<mpsc::UnboundedSender<Command>>,
    thread: Option<JoinHandle<()>>,
}

impl LoopbackBroker {
    /// Starts a broker on a free port.
    ///
    /// # Errors
    ///
    /// [`io::Error`] if no port or no thread is available.
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
        let (commands, queue) = mpsc::unbounded_channel();
        let served = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("loopback-broker".to_owned())
            .spawn(move || runtime.block_on(serve(&served, listener, queue)))?;
        Ok(Self {
            shared,
            address,
            commands: Some(commands),
            thread: Some(thread),
        })
    }

    /// The broker's URL: `stomp://guest:guest@127.0.0.1:PORT/`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("stomp://guest:guest@{}/", self.address)
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    // --- inspection ---

    /// Calls `look` with a snapshot of the broker.
    pub fn view<T>(&self, look: impl FnOnce(View<'_>) -> T) -> T {
        look(View(&self.shared.lock()))
    }

    /// Blocks until `wanted` returns true. Returns false if that takes longer than `patience`.
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

    // --- faults ---

    /// Accepts SENDs without sending their RECEIPTs, until called with `false`.
    pub fn withhold_receipts(&self, withhold: bool) {
        self.shared
            .with(|core| core.faults.withhold_receipts = withhold);
    }

    /// Accepts `sends` more SENDs (at least 1), then closes all connections before the last one's
    /// RECEIPT.
    pub fn disconnect_after(&self, sends: usize) {
        self.shared
            .with(|core| core.faults.disconnect_after = Some(sends.max(1)));
    }

    /// Closes all connections.
    pub fn disconnect_all(&self) {
        self.shared.with(Core::cut);
    }

    /// Refuses all logins, until called with `false`.
    pub fn refuse_logins(&self, refuse: bool) {
        self.shared.with(|core| core.faults.refuse_logins = refuse);
    }

    /// Stops reading and writing, until called with `false`. Connections stay open, and new ones
    /// are accepted.
    pub fn stall(&self, stall: bool) {
        self.shared.stalled.send_replace(stall);
    }

    /// Answers SENDs to this destination with an ERROR that names the receipt.
    pub fn reject_sends_to(&self, destination: impl Into<String>) {
        let destination = destination.into();
        self.shared
            .with(|core| core.faults.rejected.insert(destination));
    }

    /// Answers the next SEND to this destination with an ERROR that names the receipt.
    pub fn reject_next_send_to(&self, destination: impl Into<String>) {
        let destination = destination.into();
        self.shared
            .with(|core| core.faults.rejected_once.insert(destination));
    }

    /// Closes the connection without an ERROR at a SEND to this destination, as RabbitMQ does if a
    /// queue rejects a message.
    pub fn close_on_send_to(&self, destination: impl Into<String>) {
        let destination = destination.into();
        self.shared
            .with(|core| core.faults.closing_destinations.insert(destination));
    }

    /// Closes the connection without an ERROR at a SEND with more bytes, as RabbitMQ does from version 4.0 on
    /// (`stomp.max_frame_size`, 4194304 by default).
    pub fn limit_frames(&self, bytes: usize) {
        self.shared
            .with(|core| core.faults.maximum_frame = Some(bytes));
    }

    /// Deletes a queue with its messages. Its subscriptions end with an ERROR and their connections
    /// stay open, as with RabbitMQ.
    pub fn delete_queue(&self, queue: &str) {
        self.shared.with(|core| core.delete_queue(queue));
    }

    /// Ends all faults. A broker that is down stays down.
    pub fn clear_faults(&self) {
        self.stall(false);
        self.shared.with(|core| core.faults = Default::default());
    }

    /// Stops listening and closes all connections. Queues and their messages remain.
    pub fn shut_down(&self) {
        let (done, wait) = channel();
        if self.command(Command::ShutDown(done)) {
            let _ = wait.recv();
        }
    }

    /// Listens again on the same port.
    ///
    /// # Errors
    ///
    /// [`io::Error`] if another process uses the port.
    pub fn restart(&self) -> io::Result<()> {
        let (done, wait) = channel();
        if self.command(Command::Restart(done)) {
            return wait.recv().map_err(io::Error::other)?;
        }
        Err(io::Error::other("the broker's thread has ended"))
    }

    fn command(&self, command: Command) -> bool {
        self.commands
            .as_ref()
            .is_some_and(|commands| commands.send(command).is_ok())
    }
}

impl Drop for LoopbackBroker {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    // Old connections on this port may still be in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(128)
}

async fn serve(
    shared: &Arc<Shared>,
    listener: TcpListener,
    mut commands: mpsc::UnboundedReceiver<Command>,
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
            command = commands.recv() => match command {
                None => return,
                Some(Command::ShutDown(done)) => {
                    listener = None;
                    shared.with(Core::cut);
                    sessions.shutdown().await;
                    let _ = done.send(());
                }
                Some(Command::Restart(done)) => {
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
