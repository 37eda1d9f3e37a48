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

use super::command::{Command, Content, Responder};
use super::decoder::Decoder;
use super::dialect::Dialect;
use super::error::{Error, NotSentReason};
use super::error_frame::ErrorFrame;
use super::handshake::{Connected, Transport};
use super::heartbeat::Heartbeat;
use super::mask::Mask;
use super::outgoing;
use super::output::Output;
use super::pending::{Entry, FAR, Pending};
use super::untaken::{Deliveries, Untaken};

/// The sizes of the pieces in which the socket is read: the first while little comes, the other where
/// pieces come full.
const INPUT_PIECES: (usize, usize) = (4 * 1024, 64 * 1024);
/// How many commands are taken at a time.
const COMMANDS: usize = 256;
/// How long the farewell of TLS may take.
const GRACE_AT_END: Duration = Duration::from_secs(1);
/// How long to read on after a write has failed: receipts may be on their way.
const GRACE_AFTER_WRITE: Duration = Duration::from_secs(1);

/// Nothing of what the system holds is to leave any more: the last frame is not whole, and its time
/// is over.
fn cut_off(result: &Result<(), Error>, stream: &TcpStream) {
    if matches!(result, Err(Error::Late)) {
        // Where it fails, the rest of what was written goes out, which is no whole frame either.
        let _ = stream.set_zero_linger();
    }
}

/// One connection's state, all of it in one task.
pub(super) struct Connection {
    pub(super) id: u64,
    commands: mpsc::UnboundedReceiver<Command>,
    /// Whether a handle is left.
    is_held: bool,
    /// Frames that are not encoded yet, with the numbers of those that have a receipt.
    backlog: VecDeque<(Option<u64>, Content)>,
    /// How many of them were given up, at most.
    given_up: usize,
    pub(super) pending: Pending,
    pub(super) subscriptions: HashMap<String, Deliveries>,
    untaken: Arc<Untaken>,
    transport: Option<Transport>,
    pub(super) dialect: Dialect,
    pub(super) mask: Mask,
    pub(super) decoder: Decoder,
    pub(super) input: BytesMut,
    piece: usize,
    pub(super) output: Output,
    heartbeat: Heartbeat,
    last_read: Instant,
    /// Nothing more is taken: we say DISCONNECT when what is in flight has its receipts.
    farewell: Option<Farewell>,
    /// The receipt of DISCONNECT has come, or we were told to end at once.
    pub(super) is_over: bool,
    /// The ERROR that may be why the connection ends.
    pub(super) error_frame: Option<Arc<ErrorFrame>>,
    /// When we close the connection because of that ERROR.
    pub(super) close_after_error: Option<Instant>,
    /// Why nothing can be written any more, and how long we still read.
    broken: Option<(Instant, Error)>,
}

/// The end of a connection by DISCONNECT.
#[derive(Debug)]
enum Farewell {
    /// Frames are in flight.
    Waits {
        responder: Option<Responder>,
        /// By then each has its receipt, or was given up.
        until: Instant,
    },
    /// It is encoded.
    Said,
}

impl Connection {
    pub(super) fn new(
        id: u64,
        receipt_timeout: Duration,
        commands: mpsc::UnboundedReceiver<Command>,
        connected: Connected,
        untaken: Arc<Untaken>,
    ) -> Self {
        Self {
            id,
            commands,
            is_held: true,
            backlog: VecDeque::new(),
            given_up: 0,
            pending: Pending::new(receipt_timeout),
            subscriptions: HashMap::new(),
            untaken,
            output: Output::new(matches!(connected.transport, Transport::Tls(_))),
            transport: Some(connected.transport),
            dialect: connected.dialect,
            mask: connected.mask,
            decoder: connected.decoder,
            input: connected.input,
            piece: INPUT_PIECES.0,
            heartbeat: connected.heartbeat,
            last_read: Instant::now(),
            farewell: None,
            is_over: false,
            error_frame: None,
            close_after_error: None,
            broken: None,
        }
    }

    /// Runs until the connection has ended, then says why.
    pub(super) async fn run(mut self, end: watch::Sender<Option<Error>>) {
        let result = match self.transport.take() {
            // The socket is closed when this is done.
            Some(Transport::Plain(mut stream)) => {
                let (reader, writer) = stream.split();
                let result = self.drive(reader, writer).await;
                cut_off(&result, &stream);
                result
            }
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
        let mut timer = pin!(sleep_until(Instant::now() + FAR));
        let mut arrived = Vec::new();
        let untaken = self.untaken.clone();
        self.take_frames()?;
        loop {
            let now = Instant::now();
            self.expire(now);
            self.fill(now);
            let deadline = self.output.deadline();
            if deadline.is_some_and(|time| time <= now) {
                return Err(Error::Late);
            }
            if self.is_over {
                // With TLS the peer is told that this is the end, and no attacker's cut. What TLS
                // holds back goes with it.
                let end = now + GRACE_AT_END;
                let end = deadline.map_or(end, |time| time.min(end));
                let _ = timeout_at(end, writer.shutdown()).await;
                return Ok(());
            }
            self.check_ends(now)?;
            // Once, as it may change while we look.
            let may_read = untaken.has_place();
            let wake = self.next_wake(now, may_read);
            // It may go off early, and then finds nothing to do.
            if wake < timer.deadline() || timer.is_elapsed() {
                timer.as_mut().reset(wake);
            }
            if self.input.capacity() - self.input.len() < self.piece / 4 {
                self.input.reserve(self.piece);
            }
            let may_write = self.broken.is_none() && !self.output.is_empty();
            tokio::select! {
                read = reader.read_buf(&mut self.input), if may_read => self.take_input(read)?,
                // Reading goes on meanwhile: a broker that does not read may still write.
                result = self.output.push(&mut writer), if may_write => if let Err(error) = result {
                    if matches!(error, Error::Late) {
                        return Err(error);
                    }
                    self.broken = Some((Instant::now() + GRACE_AFTER_WRITE, error));
                },
                _ = self.commands.recv_many(&mut arrived, COMMANDS), if self.is_held => {
                    self.take_commands(&mut arrived);
                }
                // Silence while we did not listen is none.
                () = untaken.place(), if !may_read => self.last_read = Instant::now(),
                () = &mut timer => {
                    let now = Instant::now();
                    if may_read && self.is_silent(now) {
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
            Ok(length) => {
                self.last_read = Instant::now();
                if length >= self.piece {
                    self.piece = (2 * self.piece).min(INPUT_PIECES.1);
                }
                return self.take_frames();
            }
            Err(error) => error.into(),
        };
        // The earlier reason is the better one.
        Err(self.broken.take().map_or(error, |(_, earlier)| earlier))
    }

    fn take_commands(&mut self, arrived: &mut Vec<Command>) {
        // Otherwise there is always at least one.
        self.is_held = !arrived.is_empty();
        let now = Instant::now();
        for command in arrived.drain(..) {
            match command {
                Command::Abort => self.is_over = true,
                // Nothing may follow DISCONNECT.
                Command::Frame(_, responder) if self.farewell.is_some() => {
                    if let Some(responder) = responder {
                        let _ = responder.send(Err(Error::Closed.into_not_sent()));
                    }
                }
                Command::Frame(Content::Disconnect, responder) => {
                    self.say_farewell(responder, now);
                }
                Command::Frame(content, responder) => {
                    let has_receipt = content.has_receipt();
                    let number = has_receipt.then(|| self.pending.insert(&content, responder, now));
                    self.backlog.push_back((number, content));
                }
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
                self.given_up += 1;
                NotSentReason::TimedOut { after }.into()
            };
            let purpose = entry.answer(Err(error));
            self.forget(purpose);
        }
        // They may lie behind ACKs without a receipt, which are kept, as the broker may go on. Not at
        // each, or those that wait would be looked at again and again.
        if 2 * self.given_up > self.backlog.len() {
            self.backlog
                .retain(|(number, _)| number.is_none_or(|number| self.pending.contains(number)));
            self.given_up = 0;
        }
    }

    fn say_farewell(&mut self, responder: Option<Responder>, now: Instant) {
        let until = now + self.pending.timeout().min(FAR);
        self.farewell = Some(Farewell::Waits { responder, until });
    }

    /// Encodes what may be written now.
    fn fill(&mut self, now: Instant) {
        if self.close_after_error.is_some() || self.broken.is_some() {
            return;
        }
        while !self.output.is_full() {
            let Some((number, content)) = self.backlog.pop_front() else {
                break;
            };
            if number.is_none_or(|number| self.pending.contains(number)) {
                self.encode(number, content, now);
            } else {
                self.given_up = self.given_up.saturating_sub(1);
            }
        }
        if !self.is_held && self.farewell.is_none() {
            self.say_farewell(None, now);
        }
        // RabbitMQ's receipt for DISCONNECT does not stand for those of SENDs.
        if self.pending.is_empty()
            && let Some(Farewell::Waits { responder, until }) = &mut self.farewell
        {
            if *until <= now {
                // ACKs without a receipt, which a broker that does not read would keep for ever.
                self.backlog.clear();
            }
            if self.backlog.is_empty() {
                let responder = responder.take();
                self.farewell = Some(Farewell::Said);
                let number = self.pending.insert(&Content::Disconnect, responder, now);
                self.encode(Some(number), Content::Disconnect, now);
            }
        }
        if let Some(interval) = self.heartbeat.send
            && self.output.is_empty()
            && now >= self.output.last_write() + interval
        {
            self.output.beat();
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
            _ => {}
        }
        let begin = self.output.end();
        let not_after = match &content {
            Content::Send(frame) => frame.not_after,
            _ => None,
        };
        match (
            // One without a receipt has no use for its number.
            outgoing::put(
                content,
                number.unwrap_or_default(),
                self.dialect,
                self.output.buffer(),
            ),
            number,
        ) {
            (Ok(()), Some(number)) => {
                self.pending.encoded(number, begin, self.output.end());
                if let Some(time) = not_after {
                    self.output.not_after(time);
                }
            }
            (Ok(()), None) => {}
            (Err(error), number) => {
                if let Some(entry) = number.and_then(|number| self.pending.take(number)) {
                    let reason = NotSentReason::from(error);
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

    fn next_wake(&mut self, now: Instant, may_read: bool) -> Instant {
        let late = self.output.deadline();
        let may_fill = self.broken.is_none() && self.close_after_error.is_none();
        let may_beat = may_fill && self.output.is_empty();
        let farewell = match &self.farewell {
            Some(Farewell::Waits { until, .. }) if may_fill => Some(*until),
            _ => None,
        };
        [
            farewell,
            late,
            self.pending.deadline(),
            self.close_after_error,
            self.broken.as_ref().map(|(limit, _)| *limit),
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
        .unwrap_or(now + FAR)
    }

    /// Tells everybody who waits.
    async fn finish(mut self, cause: Error, end: &watch::Sender<Option<Error>>) {
        let is_ours = matches!(cause, Error::Closed);
        let is_late = matches!(cause, Error::Late);
        let written = self.output.written();
        let lost = Error::ConnectionLost {
            source: Arc::new(cause),
            error_frame: self.error_frame.take(),
        };
        let why = if is_ours { Error::Closed } else { lost.clone() };
        // First of all, so that whoever is told finds the connection closed.
        end.send_replace(Some(why.clone()));
        let not_sent = why.into_not_sent();
        let answer = |entry: Entry| {
            // Of a frame that was cut off by us the broker cannot have had all.
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
        if let Some(Farewell::Waits {
            responder: Some(responder),
            ..
        }) = self.farewell
        {
            let _ = responder.send(Err(not_sent.clone()));
        }
        self.commands.close();
        // To the last one: a handle may be about to put it in.
        while let Some(command) = self.commands.recv().await {
            if let Command::Frame(_, Some(responder)) = command {
                let _ = responder.send(Err(not_sent.clone()));
            }
        }
    }
}
