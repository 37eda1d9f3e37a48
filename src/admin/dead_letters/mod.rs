//! Dead letters: messages that a subscriber could not handle, in the queue `DLQ.<queue>` on the broker.
//!
//! STOMP can read a queue only by consuming it, and has no sign for its end. So each operation connects,
//! subscribes, sends a marker of its own behind all that is there, and stops at it; what it does not acknowledge
//! goes back when its connection ends. While it runs, another reader of the same queue sees only a part of it.
//!
//! A quorum queue of RabbitMQ drops a message that came back often. So a dead letter that was read 10 times is sent to
//! the end of its queue, with the header `outbox-renewal`, and removed from its place.
//!
//! ```no_run
//! use diesel_outbox::admin::dead_letters::{DeadLetters, Selection};
//! use diesel_outbox::config::Config;
//!
//! # async fn shown() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::builder()
//!     .set("stomp_url", "stomp://guest:guest@localhost:61613/")
//!     .build()?;
//! let mut dead_letters = DeadLetters::of(&config, "billing")?;
//! for dead_letter in dead_letters.list(&Selection::all().limit(20)).await? {
//!     println!("{}: {}", dead_letter.id(), dead_letter.error());
//! }
//! let timeouts = Selection::all().error("timeout");
//! let sent_back = dead_letters.replay(&timeouts).await?.selected;
//! # let _ = sent_back;
//! # Ok(())
//! # }
//! ```

mod dead_letter;
mod error;
mod queue;
mod queue_watch;
mod reading;
mod renewal;
mod selection;

use std::ops::ControlFlow;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

pub use dead_letter::DeadLetter;
pub use error::DeadLettersError;
pub use selection::{Selection, Summary};

use error::Doubt;
use queue::Queue;
use queue_watch::QueueWatch;
use reading::{RETURN, Reading};

use crate::config::Config;
use crate::stomp::{Client, SendFrame};

/// Messages that are sent back at a time.
const WINDOW: usize = 100;

/// What is done with messages that are taken out of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Removal {
    /// They are sent back to their queue.
    Replay,
    /// They are deleted.
    Delete,
}

/// The dead letters of a queue. Each operation has connections of its own.
#[derive(Debug)]
pub struct DeadLetters {
    queue: Queue,
    /// How many messages the last operation left, and when. They may still be on their way back.
    left: Option<(usize, Instant)>,
}

impl DeadLetters {
    /// Those of a queue, by its name or as `/queue/NAME`, in `DLQ.<queue>`. Nothing is connected yet. Of the
    /// settings those of the broker, `msg_id_headers` and `receipt_timeout` are used.
    ///
    /// # Errors
    ///
    /// If the destination is not that of a queue, or `stomp_url` is wrong.
    pub fn of(config: &Config, queue: &str) -> Result<Self, DeadLettersError> {
        Self::with(config, queue, None)
    }

    /// Those of `queue`, in another queue than `DLQ.<queue>`, such as `ActiveMQ.DLQ`.
    ///
    /// # Errors
    ///
    /// As [`of`](Self::of).
    pub fn in_queue(
        config: &Config,
        queue: &str,
        dead_letters: &str,
    ) -> Result<Self, DeadLettersError> {
        Self::with(config, queue, Some(dead_letters))
    }

    fn with(config: &Config, queue: &str, dead: Option<&str>) -> Result<Self, DeadLettersError> {
        Ok(Self {
            queue: Queue::new(config, queue, dead)?,
            left: None,
        })
    }

    /// The name of the queue with the dead letters.
    #[must_use]
    pub fn dead_letter_queue(&self) -> &str {
        &self.queue.dead_letters
    }

    /// Lists the selected messages, with their bodies, and leaves them in their queue. On a quorum queue those that were read
    /// often go to its end: see the [module](self).
    ///
    /// # Errors
    ///
    /// If the broker fails or refuses, or the queue does not exist.
    pub async fn list(
        &mut self,
        selection: &Selection,
    ) -> Result<Vec<DeadLetter>, DeadLettersError> {
        let mut dead_letters = Vec::new();
        let collect = |dead_letter: &DeadLetter| {
            dead_letters.push(dead_letter.clone());
            ControlFlow::Continue(())
        };
        self.read(selection, collect).await?;
        Ok(dead_letters)
    }

    /// Calls `see` for each selected message until it breaks, and leaves all in their queue as [`list`](Self::list)
    /// does: for a queue that is too long for it.
    ///
    /// # Errors
    ///
    /// As [`list`](Self::list).
    pub async fn read(
        &mut self,
        selection: &Selection,
        mut see: impl FnMut(&DeadLetter) -> ControlFlow<()>,
    ) -> Result<Summary, DeadLettersError> {
        let mut reading = Reading::begin(&self.queue, expected(self.left)).await?;
        let pass = async {
            let mut found = Summary::default();
            while let Some(dead_letter) = reading.next().await? {
                reading.leave(&dead_letter).await;
                if found.add(&dead_letter, selection) && see(&dead_letter).is_break() {
                    reading.leave_rest().await;
                    break;
                }
            }
            Ok::<_, DeadLettersError>(found)
        };
        let outcome = pass.await;
        reading.close().await;
        let found = outcome?;
        self.left = Some((found.total, Instant::now()));
        Ok(found)
    }

    /// Sends the selected messages back to their queue, up to 100 at a time. A message is removed from the dead
    /// letters after the broker's receipt for it: if the program ends in between, it is in both queues.
    ///
    /// Messages that could not be decoded completely stay, and are counted as such.
    ///
    /// # Errors
    ///
    /// If the broker fails or refuses, or one of the queues does not exist. Some messages may have been sent back.
    pub async fn replay(&mut self, selection: &Selection) -> Result<Summary, DeadLettersError> {
        self.replay_with(selection, || ()).await
    }

    /// [`replay`](Self::replay); calls `done` for each message that was sent back.
    pub(crate) async fn replay_with(
        &mut self,
        selection: &Selection,
        done: impl FnMut(),
    ) -> Result<Summary, DeadLettersError> {
        let selection = selection.clone().complete();
        self.remove(&selection, Removal::Replay, done).await
    }

    /// Deletes the selected messages.
    ///
    /// # Errors
    ///
    /// If the broker fails or refuses, or the queue does not exist. Some messages may have been deleted.
    pub async fn delete(&mut self, selection: &Selection) -> Result<Summary, DeadLettersError> {
        self.delete_with(selection, || ()).await
    }

    /// [`delete`](Self::delete); calls `done` for each message that was deleted.
    pub(crate) async fn delete_with(
        &mut self,
        selection: &Selection,
        done: impl FnMut(),
    ) -> Result<Summary, DeadLettersError> {
        self.remove(selection, Removal::Delete, done).await
    }

    async fn remove(
        &mut self,
        selection: &Selection,
        removal: Removal,
        done: impl FnMut(),
    ) -> Result<Summary, DeadLettersError> {
        let queue = &self.queue;
        let watch = match removal {
            Removal::Replay => QueueWatch::begin(&queue.options, &queue.name).await?,
            Removal::Delete => None,
        };
        let mut reading = Reading::begin(queue, expected(self.left)).await?;
        let outcome = remove_from(&mut reading, selection, removal, watch.as_ref(), done).await;
        reading.close().await;
        let found = outcome?;
        self.left = Some((found.total - found.selected, Instant::now()));
        Ok(found)
    }
}

/// Removes the selected messages of a pass, many at a time.
async fn remove_from(
    reading: &mut Reading<'_>,
    selection: &Selection,
    removal: Removal,
    watch: Option<&QueueWatch>,
    mut done: impl FnMut(),
) -> Result<Summary, DeadLettersError> {
    let (reads, writes) = (reading.reads().clone(), reading.writes().clone());
    let (reads, writes) = (&reads, &writes);
    let mut found = Summary::default();
    let mut under_way = FuturesUnordered::new();
    let mut refused = None;
    while let Some(dead_letter) = reading.next().await? {
        if !found.add(&dead_letter, selection) {
            reading.leave(&dead_letter).await;
            continue;
        }
        let frame = (removal == Removal::Replay).then(|| reading.original(&dead_letter));
        let doubt = frame
            .as_ref()
            .and_then(|frame| Doubt::of(frame, writes.broker()));
        if let Some(doubt) = doubt {
            let id = dead_letter.id().to_owned();
            // The broker may close the connection, so the message has one of its own and stops no others.
            let own = Client::connect(reading.options()).await?;
            let removed = remove_one((reads, &own), watch, &dead_letter, frame).await;
            own.abort();
            match removed.map_err(|error| error.of_doubtful(id, doubt)) {
                Ok(()) => done(),
                Err(error) if error.is_about_one_message() => {
                    reading.leave(&dead_letter).await;
                    refused.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
            continue;
        }
        under_way
            .push(async move { remove_one((reads, writes), watch, &dead_letter, frame).await });
        while under_way.len() >= WINDOW
            && let Some(outcome) = under_way.next().await
        {
            outcome?;
            done();
        }
    }
    while let Some(outcome) = under_way.next().await {
        outcome?;
        done();
    }
    // The broker has read the ACKs when it answers.
    reads.ping().await?;
    match refused {
        Some(error) => Err(error),
        None => Ok(found),
    }
}

/// Sends a message back if there is a frame for it, and removes it from the dead letters.
async fn remove_one(
    (reads, writes): (&Client, &Client),
    watch: Option<&QueueWatch>,
    dead_letter: &DeadLetter,
    frame: Option<SendFrame>,
) -> Result<(), DeadLettersError> {
    if let Some(frame) = frame {
        writes.send(frame).await?;
    }
    if let Some(watch) = watch {
        watch.check().await?;
    }
    reads.ack_unconfirmed(&dead_letter.delivery)?;
    Ok(())
}

/// How many messages an earlier operation has left just now.
fn expected(left: Option<(usize, Instant)>) -> usize {
    match left {
        Some((messages, at)) if at.elapsed() < RETURN => messages,
        _ => 0,
    }
}
