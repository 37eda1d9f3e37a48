//! The handle of one connection.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot, watch};

use super::broker::Broker;
use super::command::{Command, Content, SendFrame};
use super::connection::Connection;
use super::dialect::Dialect;
use super::error::{Error, NotSentReason};
use super::handshake;
use super::options::Options;
use super::receipt::Receipt;
use super::subscription::{AckId, Delivery, Subscribe, Subscription};
use super::untaken::{self, Untaken};
use super::version::Version;

/// Tells one connection of this process from another.
static CONNECTIONS: AtomicU64 = AtomicU64::new(1);

/// A handle of one connection to a broker; clones share it.
///
/// A task of its own owns the socket: heart-beats and receipts go on while the application is
/// busy. It writes frames in the order of the calls. How many wait is the callers' business, who
/// keep a window of receipts; while the broker does not read, none waits longer than
/// [`Options::receipt_timeout`].
///
/// When the last clone is dropped, what was queued is still written, receipts are waited for as
/// long as they may take, then the task disconnects and ends.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    connection: u64,
    server: String,
    peer: Peer,
    commands: mpsc::UnboundedSender<Command>,
    ended: Ended,
    untaken: Arc<Untaken>,
    /// For the names of subscriptions and transactions.
    names: AtomicU64,
}

/// What a handle has to know of the other side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) dialect: Dialect,
    pub(super) broker: Broker,
}

impl Client {
    /// Connects: resolves the name, tries its addresses in turn, agrees on TLS where the URL asks
    /// for it, sends CONNECT and waits for CONNECTED; where that fails, the same with the next
    /// broker. It never blocks the runtime; each part ends within its own limit, which is
    /// [`Options::connect_timeout`] where no other is set.
    ///
    /// # Errors
    ///
    /// Why there is no connection: of several brokers the first reason of
    /// [`Error::is_final`], else the last one. [`Error::is_refused_login`] tells settings that the
    /// broker refuses from a broker that is away.
    pub async fn connect(options: &Options) -> Result<Self, Error> {
        let connected = handshake::connect(options).await?;
        let connection = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
        let (commands, received) = mpsc::unbounded_channel();
        let (end, ended) = watch::channel(None);
        let server = connected.server.clone();
        let peer = connected.peer;
        let untaken = Untaken::new(options.untaken);
        let task = Connection::new(
            connection,
            options.receipt_timeout,
            received,
            connected,
            untaken.clone(),
        );
        tokio::spawn(task.run(end));
        Ok(Self {
            shared: Arc::new(Shared {
                connection,
                server,
                peer,
                commands,
                ended: Ended(ended),
                untaken,
                names: AtomicU64::new(1),
            }),
        })
    }

    /// The `server` header of CONNECTED, empty where there was none.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.shared.server
    }

    /// The broker's make: the one that [`Options::broker`] names, else by its
    /// [`server`](Self::server) header.
    #[must_use]
    pub fn broker(&self) -> Broker {
        self.shared.peer.broker
    }

    /// The version that both sides agreed on.
    #[must_use]
    pub fn version(&self) -> Version {
        self.shared.peer.dialect.version()
    }

    /// Queues a SEND, with `receipt` and `content-length`. Frames are written in the order of the
    /// calls; the returned future yields the receipt.
    ///
    /// # Errors
    ///
    /// The future's: [`Error::NotSent`] where nothing was written, [`Error::ErrorFrame`] where the
    /// broker refused this very frame, else one of [`Error::is_fate_unknown`].
    pub fn send(&self, frame: SendFrame) -> Receipt {
        self.queue(Content::Send(frame))
    }

    /// Sends SUBSCRIBE with `ack:client-individual` and waits for its receipt. Where this future
    /// is dropped, or fails for the lack of a receipt, the broker may keep a subscription that
    /// nobody reads: end the connection.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send). RabbitMQ 3.10 refuses a SUBSCRIBE by ERROR without a receipt-id,
    /// then sends its RECEIPT all the same, and closes: that is [`Error::ConnectionLost`] with
    /// its [`error_frame`](Error::error_frame), such as
    /// [`ErrorKind::PreconditionFailed`](super::ErrorKind::PreconditionFailed).
    pub async fn subscribe(&self, subscribe: Subscribe) -> Result<Subscription, Error> {
        // RabbitMQ makes queue names of it, so letters, digits and the hyphen only.
        let id = format!("sub-{}", self.name());
        let (deliveries, inbox) = untaken::channel(&self.shared.untaken);
        self.queue(Content::Subscribe {
            id: id.clone(),
            subscribe,
            deliveries,
        })
        .await?;
        Ok(Subscription {
            id,
            inbox,
            outbound: Outbound {
                commands: self.shared.commands.downgrade(),
                ended: self.shared.ended.clone(),
                peer: self.shared.peer,
            },
        })
    }

    /// Queues an ACK. On RabbitMQ 3.10 its receipt comes even for an id that it does not know; the
    /// ERROR follows.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send). A delivery of another connection is [`Error::NotSent`]: its ACK
    /// would acknowledge another message on RabbitMQ, which ignores the session in the id.
    pub fn ack(&self, delivery: &Delivery) -> Receipt {
        match self.ack_id(delivery) {
            Ok(id) => self.queue(Content::Ack {
                id,
                is_confirmed: true,
            }),
            Err(reason) => Receipt::failed(reason),
        }
    }

    /// Queues an ACK without a receipt, which costs the broker less. One that is lost with its
    /// connection shows in a redelivery; the receipt of a later frame stands for those before it.
    ///
    /// # Errors
    ///
    /// [`Error::NotSent`], as [`ack`](Self::ack): of another connection, or of one that has ended.
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
        content.check(peer.dialect, peer.broker)?;
        let command = Command::Frame(content, None);
        commands
            .send(command)
            .map_err(|_| ended.why().into_not_sent())
    }

    /// Queues a NACK with the header `requeue`, which RabbitMQ knows: `false` dead-letters the
    /// message. ActiveMQ ignores it and dead-letters in any case.
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

    /// Asks the broker for a sign of life: BEGIN and ABORT of an empty transaction, each with a
    /// receipt. It is queued at the call, and a broker that does not read, as RabbitMQ under a
    /// memory alarm, does not answer it.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn ping(&self) -> impl Future<Output = Result<(), Error>> + Send + Unpin + use<> {
        self.queue(Content::Ping {
            transaction: format!("ping-{}", self.name()),
        })
    }

    /// Writes what was queued before, waits for the receipts of what is in flight, since RabbitMQ's
    /// receipt for DISCONNECT does not stand for them, sends DISCONNECT, waits for its receipt and
    /// closes. Frames queued later are not sent. It takes twice
    /// [`Options::receipt_timeout`] at most.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); the connection is closed all the same. `Ok` where it had been
    /// closed by us before.
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

    /// Closes the connection at once, without DISCONNECT; the broker redelivers what was not
    /// acknowledged. Receipts that are still to come fail.
    pub fn abort(&self) {
        // Where nobody receives it, the connection has ended.
        let _ = self.shared.commands.send(Command::Abort);
    }

    /// Whether the connection has ended, by us or otherwise.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.commands.is_closed() || self.shared.ended.0.borrow().is_some()
    }

    /// Resolves when the connection has ended, with why: [`Error::Closed`] where we closed it,
    /// else [`Error::ConnectionLost`].
    pub async fn closed(&self) -> Error {
        self.shared.ended.clone().wait().await
    }

    /// Resolves when so many messages are kept that nothing is read, no receipt either, until some are
    /// let go.
    pub(crate) async fn is_held_up(&self) {
        self.shared.untaken.full().await;
    }

    /// What the connector keeps of a connection, without keeping it alive.
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

/// The way to the socket of a handle that does not keep the connection open.
#[derive(Debug)]
pub(super) struct Outbound {
    commands: mpsc::WeakUnboundedSender<Command>,
    ended: Ended,
    peer: Peer,
}

impl Outbound {
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
    if let Err(reason) = content.check(peer.dialect, peer.broker) {
        return Receipt::failed(reason);
    }
    let (responder, receiver) = oneshot::channel();
    match commands.send(Command::Frame(content, Some(responder))) {
        Ok(()) => Receipt::waiting(receiver),
        Err(_) => Receipt::failed(ended.why().into_not_sent()),
    }
}

/// Whether a connection has ended, and why.
#[derive(Clone, Debug)]
pub(super) struct Ended(watch::Receiver<Option<Error>>);

impl Ended {
    /// Why it ended, where it has.
    pub(super) fn get(&self) -> Option<Error> {
        self.0.borrow().clone()
    }

    fn why(&self) -> Error {
        self.get().unwrap_or(Error::Closed)
    }

    async fn wait(&mut self) -> Error {
        // An error means that the task is gone without a word: the runtime was shut down.
        let _ = self.0.wait_for(Option::is_some).await;
        self.why()
    }
}
