//! The task that owns the socket.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::command::{Command, Content};
use super::decoder::Decoder;
use super::error::{Error, NotSentReason};
use super::error_frame::ErrorFrame;
use super::handshake::Connected;
use super::heartbeat::Heartbeat;
use super::options::Options;
use super::outgoing;
use super::pending::{Entry, FAR, Pending};
use super::subscription::Delivery;

/// Over so many bytes that wait for the socket no more frames are encoded.
const OUTPUT_LIMIT: usize = 256 * 1024;
/// The size of the pieces in which the socket is read.
const INPUT_PIECE: usize = 64 * 1024;
/// How many commands are taken at a time.
const COMMANDS: usize = 256;
/// How long to read on after a write has failed: receipts may be on their way.
const GRACE_AFTER_WRITE: Duration = Duration::from_secs(1);

/// One connection's state, all of it in one task.
pub(super) struct Connection {
    pub(super) id: u64,
    commands: mpsc::UnboundedReceiver<Command>,
    /// Whether a handle is left.
    is_held: bool,
    /// Frames that are not encoded yet, with the numbers of those that have a receipt.
    backlog: VecDeque<(Option<u64>, Content)>,
    pub(super) pending: Pending,
    pub(super) subscriptions: HashMap<String, mpsc::UnboundedSender<Delivery>>,
    stream: Option<TcpStream>,
    pub(super) decoder: Decoder,
    pub(super) input: BytesMut,
    output: BytesMut,
    /// Bytes that the socket has taken since the beginning.
    written: u64,
    heartbeat: Heartbeat,
    last_read: Instant,
    last_write: Instant,
    /// DISCONNECT is encoded: nothing may follow it.
    is_disconnecting: bool,
    /// The receipt of DISCONNECT has come, or we were told to end at once.
    pub(super) is_over: bool,
    /// The ERROR that may be why the connection ends.
    pub(super) error_frame: Option<Arc<ErrorFrame>>,
    /// When we close the connection because of that ERROR.
    pub(super) close_after_error: Option<Instant>,
    /// Why nothing can be written any more, and how long we still read.
    broken: Option<(Instant, Error)>,
}

impl Connection {
    pub(super) fn new(
        id: u64,
        options: &Options,
        commands: mpsc::UnboundedReceiver<Command>,
        connected: Connected,
    ) -> Self {
        let now = Instant::now();
        Self {
            id,
            commands,
            is_held: true,
            backlog: VecDeque::new(),
            pending: Pending::new(options.receipt_timeout),
            subscriptions: HashMap::new(),
            stream: Some(connected.stream),
            decoder: connected.decoder,
            input: connected.input,
            output: BytesMut::new(),
            written: 0,
            heartbeat: connected.heartbeat,
            last_read: now,
            last_write: now,
            is_disconnecting: false,
            is_over: false,
            error_frame: None,
            close_after_error: None,
            broken: None,
        }
    }

    /// Runs until the connection has ended, then says why.
    pub(super) async fn run(mut self, end: watch::Sender<Option<Error>>) {
        let error = match self.stream.take() {
            // The socket is closed when this is done.
            Some(stream) => self.drive(stream).await.err().unwrap_or(Error::Closed),
            None => Error::Closed,
        };
        self.finish(error, &end);
    }

    async fn drive(&mut self, mut stream: TcpStream) -> Result<(), Error> {
        // Both at the same time: a broker that does not read may still write.
        let (mut reader, mut writer) = stream.split();
        let mut timer = pin!(sleep_until(Instant::now() + FAR));
        let mut arrived = Vec::new();
        self.take_frames()?;
        loop {
            let now = Instant::now();
            self.expire(now);
            self.fill(now);
            if self.is_over {
                return Ok(());
            }
            self.check_ends(now)?;
            let wake = self.next_wake(now);
            // It may go off early, and then finds nothing to do.
            if wake < timer.deadline() || timer.is_elapsed() {
                timer.as_mut().reset(wake);
            }
            if self.input.capacity() - self.input.len() < INPUT_PIECE / 16 {
                self.input.reserve(INPUT_PIECE);
            }
            let may_write = !self.output.is_empty() && self.broken.is_none();
            tokio::select! {
                read = reader.read_buf(&mut self.input) => self.take_input(read)?,
                result = writer.write_buf(&mut self.output), if may_write => self.wrote(result),
                _ = self.commands.recv_many(&mut arrived, COMMANDS), if self.is_held => {
                    self.take_commands(&mut arrived);
                }
                () = &mut timer => {
                    let now = Instant::now();
                    if self.is_silent(now) {
                        // What came while we were not running counts.
                        match reader.read_buf(&mut self.input).now_or_never() {
                            Some(read) => self.take_input(read)?,
                            None => return Err(Error::HeartbeatLost {
                                after: now - self.last_read,
                            }),
                        }
                    }
                }
            }
        }
    }

    fn take_input(&mut self, read: std::io::Result<usize>) -> Result<(), Error> {
        let error = match read {
            Ok(0) => Error::Disconnected,
            Ok(_) => {
                self.last_read = Instant::now();
                return self.take_frames();
            }
            Err(error) => error.into(),
        };
        // The earlier reason is the better one.
        Err(self.broken.take().map_or(error, |(_, earlier)| earlier))
    }

    fn wrote(&mut self, result: std::io::Result<usize>) {
        let now = Instant::now();
        match result {
            Ok(length) if length > 0 => {
                self.written += length as u64;
                self.last_write = now;
                if self.output.is_empty() && self.output.capacity() > 4 * OUTPUT_LIMIT {
                    // A big body was in it.
                    self.output = BytesMut::new();
                }
            }
            Ok(_) => self.broken = Some((now + GRACE_AFTER_WRITE, Error::Disconnected)),
            Err(error) => self.broken = Some((now + GRACE_AFTER_WRITE, error.into())),
        }
    }

    fn take_commands(&mut self, arrived: &mut Vec<Command>) {
        // Otherwise there is always at least one.
        self.is_held = !arrived.is_empty();
        let now = Instant::now();
        for command in arrived.drain(..) {
            match command {
                Command::Frame(content, responder) => {
                    let has_receipt = content.has_receipt();
                    let number = has_receipt.then(|| self.pending.insert(&content, responder, now));
                    self.backlog.push_back((number, content));
                }
                Command::Abort => self.is_over = true,
            }
        }
    }

    /// Gives up the frames whose time is over.
    fn expire(&mut self, now: Instant) {
        let after = self.pending.timeout();
        while let Some(entry) = self.pending.take_expired(now) {
            let error = if entry.is_encoded() {
                Error::ReceiptTimeout { after }
            } else {
                NotSentReason::TimedOut { after }.into()
            };
            let purpose = entry.answer(Err(error));
            self.forget(purpose);
        }
        // Deadlines and backlog are in the same order, so those given up are at its front.
        while self
            .backlog
            .front()
            .is_some_and(|(number, _)| number.is_some_and(|number| !self.pending.contains(number)))
        {
            self.backlog.pop_front();
        }
    }

    /// Encodes what may be written now.
    fn fill(&mut self, now: Instant) {
        if self.close_after_error.is_some() || self.broken.is_some() {
            return;
        }
        while self.output.len() < OUTPUT_LIMIT || self.is_disconnecting {
            let Some((number, content)) = self.backlog.pop_front() else {
                break;
            };
            if number.is_some_and(|number| !self.pending.contains(number)) {
                // Given up, behind frames without a receipt.
                continue;
            }
            if self.is_disconnecting {
                let error = Error::Closed.into_not_sent();
                number
                    .and_then(|number| self.pending.take(number))
                    .map(|entry| entry.answer(Err(error)));
            } else {
                self.encode(number, content, now);
            }
        }
        let is_idle = self.backlog.is_empty() && self.pending.is_empty();
        if !self.is_held && is_idle && !self.is_disconnecting {
            let number = self.pending.insert(&Content::Disconnect, None, now);
            self.encode(Some(number), Content::Disconnect, now);
        }
        if let Some(interval) = self.heartbeat.send
            && self.output.is_empty()
            && now >= self.last_write + interval
        {
            self.output.put_u8(b'\n');
        }
    }

    fn encode(&mut self, number: Option<u64>, content: Content, now: Instant) {
        match &content {
            Content::Send(frame) if frame.not_after.is_some_and(|limit| limit <= now) => {
                if let Some(entry) = number.and_then(|number| self.pending.take(number)) {
                    entry.answer(Err(NotSentReason::Late.into()));
                }
                return;
            }
            Content::Subscribe { id, deliveries, .. } => {
                self.subscriptions.insert(id.clone(), deliveries.clone());
            }
            Content::Disconnect => self.is_disconnecting = true,
            _ => {}
        }
        let begins_at = self.written + self.output.len() as u64;
        match (
            // One without a receipt has no use for its number.
            outgoing::put(content, number.unwrap_or_default(), &mut self.output),
            number,
        ) {
            (Ok(()), Some(number)) => self.pending.encoded(number, begins_at),
            (Ok(()), None) => {}
            (Err(error), number) => {
                if let Some(entry) = number.and_then(|number| self.pending.take(number)) {
                    let reason = NotSentReason::Encode(error.to_string());
                    let purpose = entry.answer(Err(reason.into()));
                    self.forget(purpose);
                }
            }
        }
    }

    fn check_ends(&mut self, now: Instant) -> Result<(), Error> {
        if self.broken.as_ref().is_some_and(|(limit, _)| *limit <= now)
            && let Some((_, error)) = self.broken.take()
        {
            return Err(error);
        }
        match self.close_after_error {
            Some(limit) if limit <= now => Err(Error::LeftOpen),
            _ => Ok(()),
        }
    }

    fn is_silent(&self, now: Instant) -> bool {
        self.heartbeat
            .receive
            .is_some_and(|limit| now >= self.last_read + limit)
    }

    fn next_wake(&mut self, now: Instant) -> Instant {
        let may_beat =
            self.output.is_empty() && self.broken.is_none() && self.close_after_error.is_none();
        [
            self.pending.deadline(),
            self.close_after_error,
            self.broken.as_ref().map(|(limit, _)| *limit),
            self.heartbeat.receive.map(|limit| self.last_read + limit),
            self.heartbeat
                .send
                .filter(|_| may_beat)
                .map(|interval| self.last_write + interval),
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(now + FAR)
    }

    /// Tells everybody who waits.
    fn finish(mut self, cause: Error, end: &watch::Sender<Option<Error>>) {
        let is_ours = matches!(cause, Error::Closed);
        let lost = Error::ConnectionLost {
            cause: Arc::new(cause),
            error_frame: self.error_frame.take(),
        };
        let why = if is_ours { Error::Closed } else { lost.clone() };
        // First of all, so that whoever is told finds the connection closed.
        end.send_replace(Some(why.clone()));
        let not_sent = why.into_not_sent();
        let answer = |entry: Entry| {
            let is_written = entry.is_written(self.written);
            entry.answer(Err(if is_written {
                lost.clone()
            } else {
                not_sent.clone()
            }));
        };
        self.pending.take_all().for_each(answer);
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            if let Command::Frame(_, Some(responder)) = command {
                let _ = responder.send(Err(not_sent.clone()));
            }
        }
    }
}
