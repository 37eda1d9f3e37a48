//! The inbox: which messages were received, and by which consumer.

#[cfg(any(feature = "relay", feature = "subscriber"))]
mod new_received;

use std::borrow::Cow;

use diesel::connection::{
    AnsiTransactionManager, SimpleConnection, TransactionDepthChange, TransactionManager,
    TransactionManagerStatus,
};
use diesel::prelude::*;
use diesel::sql_types::Text;
use uuid::Uuid;

use super::dialect::Dialect;
use super::qualify::RunQueryDsl;
use crate::schema::{Document, Id, outbox_deliveries, received};

/// A message on its way into `received`.
#[doc(hidden)]
#[derive(Debug, Clone, Insertable)]
#[diesel(table_name = received, treat_none_as_default_value = false)]
pub struct NewReceived {
    id: Id,
    msg_id: String,
    consumer: String,
    headers: Option<Document>,
    body: Option<Document>,
    retry: i32,
}

/// Why a message's transaction was not committed.
#[doc(hidden)]
#[derive(Debug)]
pub enum CommitError {
    /// The message's row is not in it.
    Gone,
    /// The transaction that was started for the message had ended before.
    Ended,
    /// An earlier statement in it failed.
    Before(diesel::result::Error),
    /// COMMIT failed.
    Commit(diesel::result::Error),
}

/// The state of a redelivered message.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedeliveryState {
    /// It had its effect.
    Handled,
    /// It had no effect yet; the number of attempts that were started since its first redelivery.
    Started(u32),
}

/// What a subscriber does with `received`; not for use by hand.
#[doc(hidden)]
pub trait Inbox: Sized {
    /// Whether the message already had its effect.
    fn is_received(&mut self, msg_id: &str, consumer: &str) -> QueryResult<bool>;

    /// How many transactions and savepoints are open, as far as Diesel knows.
    fn open_transactions(&mut self) -> QueryResult<u32>;

    /// Begins the transaction in which a message is handled, or a savepoint if one is open;
    /// returns how many were open before.
    fn begin_inbox(&mut self) -> QueryResult<u32>;

    /// Inserts the message's row. It is a unique violation if the row exists.
    fn insert_received(&mut self, row: &NewReceived) -> QueryResult<()>;

    /// Commits if this is still the transaction that was started for the message. Whatever it returns, no
    /// more than `open` are open afterwards.
    fn commit_inbox(&mut self, open: u32, msg_id: &str, consumer: &str) -> Result<(), CommitError>;

    /// Commits as [`commit_inbox`](Self::commit_inbox) does; `is_there` says whether the row that stands for
    /// the work is in the transaction.
    fn commit_marked(
        &mut self,
        open: u32,
        is_there: impl FnOnce(&mut Self) -> QueryResult<bool>,
    ) -> Result<(), CommitError>;

    /// Ends what was started after the first `open`. A connection that cannot do that is broken.
    fn roll_back_inbox(&mut self, open: u32);

    /// The same, and ends a transaction that Diesel does not know of because a statement started
    /// it. Returns whether Diesel knew of an open one.
    fn end_inbox(&mut self, open: u32) -> bool;

    /// Deletes the row of a failed attempt; it exists only if something has committed it too
    /// early. Returns whether it existed.
    fn delete_received(&mut self, id: Uuid) -> QueryResult<bool>;

    /// Returns the state of a redelivered message.
    fn redelivery_state(&mut self, msg_id: &str, consumer: &str) -> QueryResult<RedeliveryState>;

    /// Counts an attempt to handle a redelivered message.
    fn count_attempt(&mut self, msg_id: &str, consumer: &str) -> QueryResult<()>;

    /// Undoes a count: the attempt ended, and the message is not done.
    fn uncount_attempt(&mut self, msg_id: &str, consumer: &str) -> QueryResult<()>;

    /// Deletes the count of attempts.
    fn delete_attempt_count(&mut self, msg_id: &str, consumer: &str) -> QueryResult<()>;
}

/// How many transactions and savepoints are open.
fn depth<C>(conn: &mut C) -> QueryResult<u32>
where
    C: Connection<TransactionManager = AnsiTransactionManager>,
{
    let status = AnsiTransactionManager::transaction_manager_status_mut(conn);
    Ok(status
        .transaction_depth()?
        .map_or(0, std::num::NonZero::get))
}

/// A mark inside the inbox's transaction. Whatever ends that transaction removes the mark
/// too: a COMMIT by the callback, or a statement by which the server commits (DDL on MySQL
/// and MariaDB). Then the last statements fail with this name in the error.
///
/// A savepoint is the cheapest mark: in PostgreSQL's own CPU time a transaction with two INSERTs takes 1 to
/// 2 % more, with a cursor or a setting 8 to 10 %. RELEASE also fails in an aborted transaction, which
/// COMMIT does not.
const MARK: &str = "outbox_inbox";
/// Releases the mark.
const RELEASE: &str = "release savepoint outbox_inbox";

/// Whether the mark is gone. The name is the same in every language of the server, and the callback
/// cannot influence the statements that fail with it.
fn is_mark_gone(error: &diesel::result::Error) -> bool {
    matches!(error, diesel::result::Error::DatabaseError(_, about) if about.message().contains(MARK))
}

/// Diesel does not see that a statement has ended the transaction.
fn note_committed<C>(conn: &mut C)
where
    C: Connection<TransactionManager = AnsiTransactionManager>,
{
    let status = AnsiTransactionManager::transaction_manager_status_mut(conn);
    if let TransactionManagerStatus::Valid(status) = status
        && status.transaction_depth().is_some()
    {
        let _ = status.change_transaction_depth(TransactionDepthChange::DecreaseDepth);
    }
}

macro_rules! inbox {
    ($module:ident: $connection:ty) => {
        impl Inbox for $connection {
            fn is_received(&mut self, msg_id: &str, consumer: &str) -> QueryResult<bool> {
                let row = received::table
                    .filter(received::msg_id.eq(Self::distinct_id(msg_id)))
                    .filter(received::consumer.eq(consumer));
                diesel::select(diesel::dsl::exists(row)).get_result(self)
            }

            fn open_transactions(&mut self) -> QueryResult<u32> {
                depth(self)
            }

            fn begin_inbox(&mut self) -> QueryResult<u32> {
                let open = depth(self)?;
                if open == 0 {
                    AnsiTransactionManager::begin_transaction_sql(self, Self::BEGIN_INBOX)?;
                } else {
                    AnsiTransactionManager::begin_transaction(self)?;
                }
                Ok(open)
            }

            fn insert_received(&mut self, row: &NewReceived) -> QueryResult<()> {
                let distinct = match Self::distinct_id(&row.msg_id) {
                    Cow::Borrowed(_) => Cow::Borrowed(row),
                    Cow::Owned(msg_id) => Cow::Owned(NewReceived {
                        msg_id,
                        ..row.clone()
                    }),
                };
                diesel::insert_into(received::table)
                    .values(distinct.as_ref())
                    .execute(self)
                    .map(drop)
            }

            fn commit_inbox(
                &mut self,
                open: u32,
                msg_id: &str,
                consumer: &str,
            ) -> Result<(), CommitError> {
                self.commit_marked(open, |conn| conn.is_received(msg_id, consumer))
            }

            fn commit_marked(
                &mut self,
                open: u32,
                is_there: impl FnOnce(&mut Self) -> QueryResult<bool>,
            ) -> Result<(), CommitError> {
                let commit = || {
                    match depth(self) {
                        Ok(depth) if depth == open + 1 => {}
                        Ok(_) => return Err(CommitError::Ended),
                        Err(error) => return Err(CommitError::Before(error)),
                    }
                    if (Self::COMMITS_AFTER_FAILURE || open > 0)
                        && !is_there(self).map_err(CommitError::Before)?
                    {
                        // Deleted, or rolled back with the transaction.
                        return Err(match self.batch_execute(RELEASE) {
                            Err(error) if is_mark_gone(&error) => CommitError::Ended,
                            _ => CommitError::Gone,
                        });
                    }
                    if open > 0 {
                        return AnsiTransactionManager::commit_transaction(self)
                            .map_err(CommitError::Commit);
                    }
                    match self.batch_execute(&format!("{RELEASE}; commit")) {
                        Ok(()) => Ok(note_committed(self)),
                        Err(error) if is_mark_gone(&error) => Err(CommitError::Ended),
                        // PostgreSQL has ended the transaction if it was COMMIT itself that failed.
                        Err(error) => match depth(self) {
                            Ok(1) if !Self::COMMITS_AFTER_FAILURE => Err(CommitError::Before(error)),
                            Ok(_) => Err(CommitError::Commit(error)),
                            Err(_) => Err(CommitError::Before(error)),
                        },
                    }
                };
                let outcome = commit();
                if outcome.is_err() {
                    self.end_inbox(open);
                }
                outcome
            }

            fn roll_back_inbox(&mut self, open: u32) {
                while matches!(depth(self), Ok(depth) if depth > open) {
                    if let Err(error) = AnsiTransactionManager::rollback_transaction(self) {
                        tracing::debug!(error = %error, "a transaction was not rolled back");
                        return;
                    }
                }
            }

            fn end_inbox(&mut self, open: u32) -> bool {
                let is_known = matches!(depth(self), Ok(depth) if depth > open);
                self.roll_back_inbox(open);
                if open == 0 {
                    // Fails if none is open, or if the connection is lost.
                    let _ = self.batch_execute(Self::ROLL_BACK_INBOX);
                }
                is_known
            }

            fn delete_received(&mut self, id: Uuid) -> QueryResult<bool> {
                diesel::delete(received::table.filter(received::id.eq(Id(id))))
                    .execute(self)
                    .map(|deleted| deleted > 0)
            }

            fn redelivery_state(&mut self, msg_id: &str, consumer: &str) -> QueryResult<RedeliveryState> {
                if self.is_received(msg_id, consumer)? {
                    return Ok(RedeliveryState::Handled);
                }
                let msg_id = Self::distinct_id(msg_id);
                let times: Option<i32> = outbox_deliveries::table
                    .find((msg_id.as_ref(), consumer))
                    .select(outbox_deliveries::begun)
                    .first(self)
                    .optional()?;
                let times = times.and_then(|times| u32::try_from(times).ok());
                Ok(RedeliveryState::Started(times.unwrap_or(0)))
            }

            fn count_attempt(&mut self, msg_id: &str, consumer: &str) -> QueryResult<()> {
                let msg_id = Self::distinct_id(msg_id);
                diesel::sql_query(Self::COUNT_DELIVERY)
                    .bind::<Text, _>(msg_id.as_ref())
                    .bind::<Text, _>(consumer)
                    .execute(self)
                    .map(drop)
            }

            fn uncount_attempt(&mut self, msg_id: &str, consumer: &str) -> QueryResult<()> {
                let msg_id = Self::distinct_id(msg_id);
                let counted = outbox_deliveries::table.find((msg_id.as_ref(), consumer));
                diesel::update(counted)
                    .set(outbox_deliveries::begun.eq(outbox_deliveries::begun - 1))
                    .execute(self)
                    .map(drop)
            }

            fn delete_attempt_count(&mut self, msg_id: &str, consumer: &str) -> QueryResult<()> {
                let msg_id = Self::distinct_id(msg_id);
                diesel::delete(outbox_deliveries::table.find((msg_id.as_ref(), consumer)))
                    .execute(self)
                    .map(drop)
            }
        }
    };
}

super::databases!(inbox);
