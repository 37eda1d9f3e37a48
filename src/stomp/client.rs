//! A handle to one connection.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::command::{Command, Content, SendFrame};
use super::connection::Connection;
use super::dialect::Dialect;
use super::error::{Error, NotSentReason};
use super::handshake;
use super::heartbeat::Heartbeat;
use super::options::Options;
use super::receipt::Receipt;
use super::receive_budget::{self, ReceiveBudget};
use super::subscription::{AckId, Delivery, Subscribe, Subscription};
use super::version::Version;
use crate::broker::Broker;
use crate::runtime::lease_clock;

/// Numbers the connections of this process.
static CONNECTIONS: AtomicU64 = AtomicU64::new(1);

/// A handle to one connection to a broker. Clones share the connection.
///
/// A background task owns the socket, so heart-beats and receipts continue while the application is
/// busy. Frames are written in the order of the calls. The queue has no length limit: callers limit
/// it by the number of receipts they wait for. If the broker does not read, a frame waits at most
/// [`Options::receipt_timeout`].
///
/// When the last clone is dropped, the task writes the queued frames, waits for their receipts (at
/// most [`Options::receipt_timeout`]), disconnects and ends.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    connection: u64,
    server: String,
    peer: Peer,
    heartbeat: Heartbeat,
    commands: mpsc::UnboundedSender<Command>,
    ended: Ended,
    budget: Arc<ReceiveBudget>,
    /// The next number for a subscription's id or a transaction's name.
    names: AtomicU64,
}

/// What a handle knows about the broker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) dialect: Dialect,
    pub(super) broker: Broker,
}

impl Client {
    /// Connects: resolves the name, tries its addresses in turn, negotiates TLS if the URL asks for
    /// it, sends CONNECT and waits for CONNECTED. If that fails, tries the next broker. Never
    /// blocks the runtime. Each step has its own timeout; the default is
    /// [`Options::connect_timeout`].
    ///
    /// # Errors
    ///
    /// The reason why there is no connection. With several brokers it is the first error with
    /// [`Error::is_final`], otherwise the last error. [`Error::is_refused_login`] distinguishes
    /// rejected credentials from an unreachable broker.
    pub async fn connect(options: &Options) -> Result<Self, Error> {
        let connected = handshake::connect(options).await?;
        let connection = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
        let (commands, received) = mpsc::unbounded_channel();
        let (end, ended) = watch::channel(None);
        let server = connected.server.clone();
        let peer = connected.peer;
        let heartbeat = connected.heartbeat;
        let budget = ReceiveBudget::new(options.receive_budget);
        let task = Connection::new(
            connection,
            options.receipt_timeout,
            received,
            connected,
            budget.clone(),
        );
        tokio::spawn(task.run(end));
        Ok(Self {
            shared: Arc::new(Shared {
                connection,
                server,
                peer,
                heartbeat,
                commands,
                ended: Ended(ended),
                budget,
                names: AtomicU64::new(1),
            }),
        })
    }

    /// The `server` header of CONNECTED; empty if there was none.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.shared.server
    }

    /// The kind of broker: the one set by [`Options::broker`], otherwise from the
    /// [`server`](Self::server) header.
    #[must_use]
    pub fn broker(&self) -> Broker {
        self.shared.peer.broker
    }

    /// The negotiated STOMP version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.shared.peer.dialect.version()
    }

    /// The negotiated intervals of heart-beats (STOMP 1.2, "Heart-beating"): ours, and the broker's; `None`
    /// means that this side sends none.
    #[must_use]
    pub fn heartbeats(&self) -> (Option<Duration>, Option<Duration>) {
        self.shared.heartbeat.agreed
    }

    /// Queues a SEND with `receipt` and `content-length`. Frames are written in the order of the
    /// calls. The returned future resolves to the receipt.
    ///
    /// # Errors
    ///
    /// The future returns [`Error::NotSent`] if the frame was not written in full,
    /// [`Error::ErrorFrame`] if the broker refused this frame, and otherwise an error with
    /// [`Error::is_outcome_unknown`].
    pub fn send(&self, mut frame: SendFrame) -> Receipt {
        frame.not_after = frame.not_after.map(lease_clock::of_runtime);
        self.queue(Content::Send(frame))
    }

    /// Sends SUBSCRIBE with `ack:client-individual` and waits for its receipt. If this future is
    /// dropped, or fails without a receipt, the broker may keep a subscription that nobody reads:
    /// close the connection.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send). RabbitMQ 3.10 refuses a SUBSCRIBE with an ERROR without receipt-id,
    /// then sends its RECEIPT all the same, and closes. The result is [`Error::ConnectionLost`]
    /// with the [`error_frame`](Error::error_frame), such as
    /// [`ErrorKind::DeclaredOtherwise`](super::ErrorKind::DeclaredOtherwise).
    pub async fn subscribe(&self, subscribe: Subscribe) -> Result<Subscription, Error> {
        // RabbitMQ uses it in queue names, so only letters, digits and hyphens.
        let id = format!("sub-{}", self.name());
        let (deliveries, receiver) = receive_budget::channel(&self.shared.budget);
        self.queue(Content::Subscribe {
            id: id.clone(),
            subscribe,
            deliveries,
        })
        .await?;
        Ok(Subscription {
            id,
            receiver,
            outbound: Outbound {
                commands: self.shared.commands.downgrade(),
                ended: self.shared.ended.clone(),
                peer: self.shared.peer,
            },
        })
    }

    /// Queues an ACK. RabbitMQ 3.10 sends a receipt even for an id that it does not know, and the
    /// ERROR after it.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send). A delivery from another connection fails with [`Error::NotSent`]:
    /// RabbitMQ ignores the session in the id, so the ACK would acknowledge another message.
    pub fn ack(&self, delivery: &Delivery) -> Receipt {
        match self.ack_id(delivery) {
            Ok(id) => self.queue(Content::Ack {
                id,
                is_confirmed: true,
            }),
            Err(reason) => Receipt::failed(reason),
        }
    }

    /// Queues an ACK without a receipt, which costs the broker less. If it is lost with its
    /// connection, the broker redelivers the message. The receipt of a later frame confirms the
    /// frames before it.
    ///
    /// # Errors
    ///
    /// [`Error::NotSent`] if the delivery came through another connection, or if this connection
    /// has ended.
    pub fn ack_unconfirmed(&self, delivery: &Delivery) -> Result<(), Error> {
        let content = Content::Ack {
            id: self.ack_id(delivery)?,
            is_confirmed: false,
        };
        let Shared {
            commands,
            ended,
            peer,
            ..
        } = &*self.shared;
        let frame = content.check(peer.dialect, peer.broker)?;
        let command = Command::Frame(frame, None);
        commands
            .send(command)
            .map_err(|_| ended.why().into_not_sent())
    }

    /// Queues a NACK with RabbitMQ's header `requeue`; `false` dead-letters the message. ActiveMQ
    /// ignores the header and always dead-letters the message.
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack).
    pub fn nack(&self, delivery: &Delivery, requeue: bool) -> Receipt {
        match self.ack_id(delivery) {
            Ok(id) => self.queue(Content::Nack { id, requeue }),
            Err(reason) => Receipt::failed(reason),
        }
    }

    /// Checks that the broker responds: sends BEGIN and ABORT of an empty transaction, each with a
    /// receipt. The frames are queued by the call itself. A broker that does not read, such as
    /// RabbitMQ under a memory alarm, does not answer.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn ping(&self) -> impl Future<Output = Result<(), Error>> + Send + Unpin + use<> {
        self.queue(Content::Ping {
            transaction: format!("ping-{}", self.name()),
        })
    }

    /// Closes the connection gracefully. Writes the queued frames and waits for their receipts,
    /// because RabbitMQ's receipt for DISCONNECT does not confirm earlier frames. Then sends
    /// DISCONNECT, waits for its receipt and closes. Frames queued after this call are not sent. It
    /// takes at most twice [`Options::receipt_timeout`].
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); the connection is closed in any case. Returns `Ok` if this side had
    /// closed the connection before.
    pub async fn disconnect(&self) -> Result<(), Error> {
        match self.queue(Content::Disconnect).await {
            Ok(()) => {
                self.closed().await;
                Ok(())
            }
            Err(Error::NotSent {
                reason: NotSentReason::ConnectionLost(_),
            }) => match self.closed().await {
                Error::Closed => Ok(()),
                error => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// Closes the connection at once, without DISCONNECT. Pending receipts fail, and the broker
    /// redelivers unacknowledged messages.
    pub fn abort(&self) {
        // An error means that the connection has ended.
        let _ = self.shared.commands.send(Command::Abort);
    }

    /// Whether the connection has ended, for any reason.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.commands.is_closed() || self.shared.ended.0.borrow().is_some()
    }

    /// Waits for the end of the connection and returns the reason: [`Error::Closed`] if this side
    /// closed it, otherwise [`Error::ConnectionLost`].
    pub async fn closed(&self) -> Error {
        self.shared.ended.clone().wait().await
    }

    /// Resolves when the receive budget is used up. Until some messages are released, the socket is
    /// not read, and no receipts arrive.
    pub(crate) async fn is_reading_paused(&self) {
        self.shared.budget.full().await;
    }

    /// A view of the connection's end that does not keep the connection alive.
    pub(super) fn ended(&self) -> Ended {
        self.shared.ended.clone()
    }

    fn name(&self) -> u64 {
        self.shared.names.fetch_add(1, Ordering::Relaxed)
    }

    fn ack_id(&self, delivery: &Delivery) -> Result<AckId, NotSentReason> {
        if delivery.connection != self.shared.connection {
            return Err(NotSentReason::OtherConnection);
        }
        delivery
            .ack_id(self.version())
            .ok_or(NotSentReason::NoAckId)
    }

    fn queue(&self, content: Content) -> Receipt {
        let Shared {
            commands,
            ended,
            peer,
            ..
        } = &*self.shared;
        queue(commands, ended, *peer, content)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("connection", &self.shared.connection)
            .field("server", &self.shared.server)
            .field("version", &self.version())
            .field("is_closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

/// Queues frames without keeping the connection open.
#[derive(Debug)]
pub(super) struct Outbound {
    commands: mpsc::WeakUnboundedSender<Command>,
    ended: Ended,
    peer: Peer,
}

impl Outbound {
    pub(super) fn version(&self) -> Version {
        self.peer.dialect.version()
    }

    pub(super) fn queue(&self, content: Content) -> Receipt {
        match self.commands.upgrade() {
            Some(commands) => queue(&commands, &self.ended, self.peer, content),
            None => Receipt::failed(self.ended.why().into_not_sent()),
        }
    }
}

fn queue(
    commands: &mpsc::UnboundedSender<Command>,
    ended: &Ended,
    peer: Peer,
    content: Content,
) -> Receipt {
    let frame = match content.check(peer.dialect, peer.broker) {
        Ok(frame) => frame,
        Err(reason) => return Receipt::failed(reason),
    };
    let (responder, receiver) = oneshot::channel();
    match commands.send(Command::Frame(frame, Some(responder))) {
        Ok(()) => Receipt::waiting(receiver),
        Err(_) => Receipt::failed(ended.why().into_not_sent()),
    }
}

/// Whether a connection has ended, and why.
#[derive(Clone, Debug)]
pub(super) struct Ended(watch::Receiver<Option<Error>>);

impl Ended {
    /// The reason why it ended; `None` while it is open.
    pub(super) fn get(&self) -> Option<Error> {
        self.0.borrow().clone()
    }

    fn why(&self) -> Error {
        self.get().unwrap_or(Error::Closed)
    }

    async fn wait(&mut self) -> Error {
        // An error means that the task ended without a result: the runtime was shut down.
        let _ = self.0.wait_for(Option::is_some).await;
        self.why()
    }
}
