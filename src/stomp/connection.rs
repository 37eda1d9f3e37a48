//! The task that owns the socket.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::command::{Checked, Command, Content, Responder};
use super::decoder::Decoder;
use super::dialect::Dialect;
use super::error::{Error, NotSentReason};
use super::error_frame::ErrorFrame;
use super::handshake::{Connected, Transport};
use super::heartbeat::Heartbeat;
use super::outgoing;
use super::pending::{Entry, FOREVER, Pending};
use super::receive_budget::{DeliverySender, ReceiveBudget};
use super::redaction::Redaction;
use super::write_buffer::WriteBuffer;
use crate::runtime::lease_clock;

/// The sizes of socket reads: the smaller while little data arrives, the larger after reads fill
/// their buffer.
const READ_SIZES: (usize, usize) = (4 * 1024, 64 * 1024);
/// How many commands are taken at a time.
const COMMANDS: usize = 256;
/// How long TLS may take to shut down.
const TLS_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);
/// How long to keep reading after a write has failed: receipts may still arrive.
const GRACE_AFTER_WRITE: Duration = Duration::from_secs(1);

/// Discards the bytes that the operating system still holds: the last frame is incomplete, and its
/// deadline has passed.
fn cut_off(result: &Result<(), Error>, stream: &TcpStream) {
    if matches!(result, Err(Error::DeadlineExceeded)) {
        // If this fails, the remaining bytes are sent, which do not complete the frame either.
        let _ = stream.set_zero_linger();
    }
}

/// The state of one connection, owned by its task.
pub(super) struct Connection {
    pub(super) id: u64,
    commands: mpsc::UnboundedReceiver<Command>,
    /// Whether a handle is left.
    has_handles: bool,
    /// Frames that are not encoded yet, with their numbers if they have a receipt.
    backlog: VecDeque<(Option<u64>, Checked)>,
    /// An upper bound of how many frames in `backlog` have expired.
    expired: usize,
    pub(super) pending: Pending,
    pub(super) subscriptions: HashMap<String, DeliverySender>,
    budget: Arc<ReceiveBudget>,
    transport: Option<Transport>,
    pub(super) dialect: Dialect,
    pub(super) redaction: Redaction,
    pub(super) decoder: Decoder,
    pub(super) input: BytesMut,
    read_size: usize,
    pub(super) output: WriteBuffer,
    heartbeat: Heartbeat,
    last_read: Instant,
    /// Set once no more frames are accepted: DISCONNECT follows when the pending receipts have
    /// arrived.
    closing: Option<Closing>,
    /// The receipt of DISCONNECT has arrived, or the connection was aborted.
    pub(super) is_finished: bool,
    /// The ERROR that is probably the reason for the connection's end.
    pub(super) error_frame: Option<Arc<ErrorFrame>>,
    /// When to close the connection because of that ERROR.
    pub(super) close_after_error: Option<Instant>,
    /// Why nothing can be written any more, and until when to keep reading.
    write_failure: Option<(Instant, Error)>,
}

/// The phases of closing a connection with DISCONNECT.
#[derive(Debug)]
enum Closing {
    /// Waits for the receipts of frames in flight.
    Draining {
        responder: Option<Responder>,
        /// By then each frame has its receipt or has expired.
        until: Instant,
    },
    /// DISCONNECT is encoded.
    DisconnectSent,
}

impl Connection {
    pub(super) fn new(
        id: u64,
        receipt_timeout: Duration,
        commands: mpsc::UnboundedReceiver<Command>,
        connected: Connected,
        budget: Arc<ReceiveBudget>,
    ) -> Self {
        Self {
            id,
            commands,
            has_handles: true,
            backlog: VecDeque::new(),
            expired: 0,
            pending: Pending::new(receipt_timeout),
            subscriptions: HashMap::new(),
            budget,
            output: WriteBuffer::new(connected.transport.has_tls()),
            transport: Some(connected.transport),
            dialect: connected.dialect,
            redaction: connected.redaction,
            decoder: connected.decoder,
            input: connected.input,
            read_size: READ_SIZES.0,
            heartbeat: connected.heartbeat,
            last_read: Instant::now(),
            closing: None,
            is_finished: false,
            error_frame: None,
            close_after_error: None,
            write_failure: None,
        }
    }

    /// Runs until the connection has ended, then reports the reason.
    pub(super) async fn run(mut self, end: watch::Sender<Option<Error>>) {
        let result = match self.transport.take() {
            // The socket is closed when this value is dropped.
            Some(Transport::Plain(mut stream)) => {
                let (reader, writer) = stream.split();
                let result = self.drive(reader, writer).await;
                cut_off(&result, &stream);
                result
            }
            #[cfg(feature = "tls")]
            Some(Transport::Tls(stream)) => {
                let (mut reader, mut writer) = tokio::io::split(*stream);
                let result = self.drive(&mut reader, &mut writer).await;
                cut_off(&result, reader.unsplit(writer).get_ref().0);
                result
            }
            None => Ok(()),
        };
        self.finish(result.err().unwrap_or(Error::Closed), &end)
            .await;
    }

    async fn drive<R, W>(&mut self, mut reader: R, mut writer: W) -> Result<(), Error>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut timer = pin!(sleep_until(Instant::now() + FOREVER));
        let mut arrived = Vec::new();
        let budget = self.budget.clone();
        self.take_frames()?;
        loop {
            let now = Instant::now();
            self.expire(now);
            self.fill(now);
            let deadline = self.output.deadline();
            if deadline.is_some_and(|time| time <= lease_clock::now()) {
                return Err(Error::DeadlineExceeded);
            }
            if self.is_finished {
                // With TLS this sends close_notify, so that the peer can tell the end from a
                // truncation attack. It also flushes TLS's buffer.
                let end = now + TLS_SHUTDOWN_TIMEOUT;
                let end = deadline.map_or(end, |time| lease_clock::to_runtime(time).min(end));
                let _ = timeout_at(end, writer.shutdown()).await;
                return Ok(());
            }
            self.check_timeouts(now)?;
            // Read once: it may change in between.
            let may_read = budget.has_room();
            let wake = self.next_wake(now, may_read);
            // A timer that fires early finds nothing to do.
            if wake < timer.deadline() || timer.is_elapsed() {
                timer.as_mut().reset(wake);
            }
            if self.input.capacity() - self.input.len() < self.read_size / 4 {
                self.input.reserve(self.read_size);
            }
            let may_write = self.write_failure.is_none() && !self.output.is_empty();
            tokio::select! {
                read = reader.read_buf(&mut self.input), if may_read => self.take_input(read)?,
                // Keep reading meanwhile: a broker that does not read may still write.
                result = self.output.write(&mut writer), if may_write => if let Err(error) = result {
                    if matches!(error, Error::DeadlineExceeded) {
                        return Err(error);
                    }
                    self.write_failure = Some((Instant::now() + GRACE_AFTER_WRITE, error));
                },
                _ = self.commands.recv_many(&mut arrived, COMMANDS), if self.has_handles => {
                    self.take_commands(&mut arrived);
                }
                // While the socket was not read, silence is not the broker's.
                () = budget.freed(), if !may_read => self.last_read = Instant::now(),
                () = &mut timer => {
                    let now = Instant::now();
                    if may_read && self.is_silent(now) {
                        // Count bytes that arrived while this task was not running.
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
            Ok(length) => {
                self.last_read = Instant::now();
                if length >= self.read_size {
                    self.read_size = (2 * self.read_size).min(READ_SIZES.1);
                }
                return self.take_frames();
            }
            Err(error) => error.into(),
        };
        // The earlier error is the better explanation.
        Err(self
            .write_failure
            .take()
            .map_or(error, |(_, earlier)| earlier))
    }

    fn take_commands(&mut self, arrived: &mut Vec<Command>) {
        // `recv_many` returns no commands only if all handles are dropped.
        self.has_handles = !arrived.is_empty();
        let now = Instant::now();
        for command in arrived.drain(..) {
            match command {
                Command::Abort => self.is_finished = true,
                // Nothing may follow DISCONNECT.
                Command::Frame(_, responder) if self.closing.is_some() => {
                    if let Some(responder) = responder {
                        let _ = responder.send(Err(Error::Closed.into_not_sent()));
                    }
                }
                Command::Frame(frame, responder) => match frame.content() {
                    Content::Disconnect => self.start_closing(responder, now),
                    content => {
                        let number = content
                            .has_receipt()
                            .then(|| self.pending.insert(content, responder, now));
                        self.backlog.push_back((number, frame));
                    }
                },
            }
        }
    }

    /// Fails the frames whose receipt timeout has passed.
    fn expire(&mut self, now: Instant) {
        let after = self.pending.timeout();
        while let Some(entry) = self.pending.take_expired(now) {
            let error = if entry.is_encoded() {
                Error::ReceiptTimeout { after }
            } else {
                self.expired += 1;
                NotSentReason::TimedOut { after }.into()
            };
            let purpose = entry.answer(Err(error));
            self.forget(purpose);
        }
        // Expired frames may be queued behind ACKs without a receipt, which are kept because the
        // broker may read again. Not after each expired frame, or the backlog would be scanned
        // again and again.
        if 2 * self.expired > self.backlog.len() {
            self.backlog
                .retain(|(number, _)| number.is_none_or(|number| self.pending.contains(number)));
            self.expired = 0;
        }
    }

    fn start_closing(&mut self, responder: Option<Responder>, now: Instant) {
        let until = now + self.pending.timeout().min(FOREVER);
        self.closing = Some(Closing::Draining { responder, until });
    }

    /// Encodes the frames that may be written now.
    fn fill(&mut self, now: Instant) {
        if self.close_after_error.is_some() || self.write_failure.is_some() {
            return;
        }
        while !self.output.is_full() {
            let Some((number, frame)) = self.backlog.pop_front() else {
                break;
            };
            if number.is_none_or(|number| self.pending.contains(number)) {
                self.encode(number, frame);
            } else {
                self.expired = self.expired.saturating_sub(1);
            }
        }
        if !self.has_handles && self.closing.is_none() {
            self.start_closing(None, now);
        }
        // RabbitMQ's receipt for DISCONNECT does not confirm earlier SENDs.
        if self.pending.is_empty()
            && let Some(Closing::Draining { responder, until }) = &mut self.closing
        {
            if *until <= now {
                // Only ACKs without a receipt are left; a broker that does not read would keep them
                // forever.
                self.backlog.clear();
            }
            if self.backlog.is_empty() {
                let responder = responder.take();
                self.closing = Some(Closing::DisconnectSent);
                let frame = Checked::disconnect();
                let number = self.pending.insert(frame.content(), responder, now);
                self.encode(Some(number), frame);
            }
        }
        if let Some(interval) = self.heartbeat.send
            && self.output.is_empty()
            && now >= self.output.last_write() + interval
        {
            self.output.heartbeat();
        }
    }

    fn encode(&mut self, number: Option<u64>, frame: Checked) {
        let is_late = |limit| limit <= lease_clock::now();
        let mut not_after = None;
        match frame.content() {
            Content::Send(send) if send.not_after.is_some_and(is_late) => {
                if let Some(entry) = number.and_then(|number| self.pending.take(number)) {
                    entry.answer(Err(NotSentReason::DeadlineExceeded.into()));
                }
                return;
            }
            Content::Send(send) => not_after = send.not_after,
            Content::Subscribe { id, deliveries, .. } => {
                self.subscriptions.insert(id.clone(), deliveries.clone());
            }
            _ => {}
        }
        let begin = self.output.end();
        // A frame without a receipt does not use its number.
        let receipt = number.unwrap_or_default();
        outgoing::put(frame, receipt, self.dialect, self.output.buffer());
        if let Some(number) = number {
            self.pending.encoded(number, begin, self.output.end());
        }
        if let Some(time) = not_after {
            self.output.not_after(time);
        }
    }

    fn check_timeouts(&mut self, now: Instant) -> Result<(), Error> {
        if self
            .write_failure
            .as_ref()
            .is_some_and(|(limit, _)| *limit <= now)
            && let Some((_, error)) = self.write_failure.take()
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

    fn next_wake(&mut self, now: Instant, may_read: bool) -> Instant {
        let late = self.output.deadline().map(lease_clock::to_runtime);
        let may_fill = self.write_failure.is_none() && self.close_after_error.is_none();
        let may_beat = may_fill && self.output.is_empty();
        let drain_limit = match &self.closing {
            Some(Closing::Draining { until, .. }) if may_fill => Some(*until),
            _ => None,
        };
        [
            drain_limit,
            late,
            self.pending.deadline(),
            self.close_after_error,
            self.write_failure.as_ref().map(|(limit, _)| *limit),
            self.heartbeat
                .receive
                .filter(|_| may_read)
                .map(|limit| self.last_read + limit),
            self.heartbeat
                .send
                .filter(|_| may_beat)
                .map(|interval| self.output.last_write() + interval),
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(now + FOREVER)
    }

    /// Fails everything that waits for the connection.
    async fn finish(mut self, cause: Error, end: &watch::Sender<Option<Error>>) {
        let is_ours = matches!(cause, Error::Closed);
        let is_late = matches!(cause, Error::DeadlineExceeded);
        let written = self.output.written();
        let lost = Error::ConnectionLost {
            source: Arc::new(cause),
            error_frame: self.error_frame.take(),
        };
        let why = if is_ours { Error::Closed } else { lost.clone() };
        // First, so that callers that receive an error find the connection closed.
        end.send_replace(Some(why.clone()));
        let not_sent = why.into_not_sent();
        let answer = |entry: Entry| {
            // The broker cannot have the whole of a frame that this side cut off.
            let error = if is_late && entry.is_written(written) && !entry.is_wholly_written(written)
            {
                NotSentReason::CutOff.into()
            } else if entry.is_written(written) {
                lost.clone()
            } else {
                not_sent.clone()
            };
            entry.answer(Err(error));
        };
        self.pending.take_all().for_each(answer);
        if let Some(Closing::Draining {
            responder: Some(responder),
            ..
        }) = self.closing
        {
            let _ = responder.send(Err(not_sent.clone()));
        }
        self.commands.close();
        // Until the channel is closed and empty: a handle may be sending right now.
        while let Some(command) = self.commands.recv().await {
            if let Command::Frame(_, Some(responder)) = command {
                let _ = responder.send(Err(not_sent.clone()));
            }
        }
    }
}
