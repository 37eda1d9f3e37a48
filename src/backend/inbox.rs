//! The inbox: what was received, and under whose name.

use std::borrow::Cow;
use std::io;

use diesel::connection::{
    AnsiTransactionManager, SimpleConnection, TransactionDepthChange, TransactionManager,
    TransactionManagerStatus,
};
use diesel::prelude::*;
use diesel::sql_types::Text;
use serde_json::Value;
use uuid::Uuid;

use super::Storage;
use super::dialect::Dialect;
use super::qualify::RunQueryDsl;
use crate::schema::{Document, Id, outbox_deliveries, received};

/// A message on its way into `received`.
#[doc(hidden)]
#[derive(Debug, Clone, Insertable)]
#[diesel(table_name = received, treat_none_as_default_value = false)]
pub struct Arrival {
    id: Id,
    msg_id: String,
    consumer: String,
    headers: Option<Document>,
    body: Option<Document>,
    retry: i32,
}

impl Arrival {
    pub(crate) fn new(
        msg_id: String,
        consumer: String,
        headers: Value,
        body: Option<Value>,
        retry: i32,
    ) -> Self {
        Self {
            id: Id(Uuid::now_v7()),
            msg_id,
            consumer,
            headers: Some(Document(headers)),
            body: body.map(Document),
            retry,
        }
    }

    /// The same without what the columns may be unable to hold.
    pub(crate) fn bare(&self) -> Self {
        Self {
            headers: None,
            body: None,
            ..self.clone()
        }
    }

    /// The row's own id, which no other attempt has.
    pub(crate) fn id(&self) -> Uuid {
        self.id.0
    }

    /// Drops documents that this connection's columns cannot hold, or that it cannot carry.
    pub(crate) fn fitted<C: Storage>(mut self, conn: &mut C) -> Self {
        if conn.refuses_nul() {
            let fits = |document: &Document| !crate::message::holds_nul(&document.0);
            self.headers = self.headers.filter(fits);
            self.body = self.body.filter(fits);
        }
        if conn.limits_statements() {
            self.shorten(|| conn.longest_statement());
        }
        self
    }

    /// Drops the body, and then the headers, where they are too long for one statement.
    fn shorten(&mut self, longest: impl FnOnce() -> QueryResult<usize>) {
        let size = |document: &Option<Document>| document.as_ref().map_or(0, size);
        let (headers, body) = (size(&self.headers), size(&self.body));
        if headers + body <= SMALL {
            return;
        }
        // Where it cannot be asked, the statement itself will tell why.
        let Ok(longest) = longest() else { return };
        let room = longest.saturating_sub(BESIDE);
        if headers + body > room {
            tracing::debug!(
                id = self.msg_id,
                body,
                longest,
                "stored without its body: a statement has no room for it"
            );
            self.body = None;
        }
        if headers > room {
            self.headers = None;
        }
    }
}

/// Documents that any server takes: it is not asked for each of them.
const SMALL: usize = 16 * 1024;
/// What a statement takes beside the documents, and more.
const BESIDE: usize = 4 * 1024;

/// How many bytes a document takes on its way to the database.
fn size(document: &Document) -> usize {
    struct Count(usize);

    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let mut count = Count(0);
    // What cannot be written is told by the statement.
    let _ = serde_json::to_writer(&mut count, &document.0);
    count.0
}

/// Why a message's transaction was not committed.
#[doc(hidden)]
#[derive(Debug)]
pub enum CommitError {
    /// The row that remembers the message is not in it.
    Gone,
    /// It is not the one that was begun for the message: something has ended that before.
    Ended,
    /// It was spoiled before.
    Before(diesel::result::Error),
    /// COMMIT failed.
    Commit(diesel::result::Error),
}

/// What is known of a message that comes again.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// It had its effect.
    Received,
    /// It was begun so many times since it was first seen to come again.
    Before(u32),
}

/// What a subscriber does with `received`; not for use by hand.
#[doc(hidden)]
pub trait Inbox: Sized {
    /// Whether the message had its effect already.
    fn is_received(&mut self, msg_id: &str, consumer: &str) -> QueryResult<bool>;

    /// How many transactions and savepoints are open, as far as Diesel knows.
    fn open_transactions(&mut self) -> QueryResult<u32>;

    /// Begins the transaction in which a message is handled, or a savepoint if one is open;
    /// returns how many were open before.
    fn begin_inbox(&mut self) -> QueryResult<u32>;

    /// Remembers the message: a unique violation where it is remembered already.
    fn insert_received(&mut self, arrival: &Arrival) -> QueryResult<()>;

    /// Commits if it is still the transaction that was begun for the message. Whatever it returns, no
    /// more than `open` are open afterwards.
    fn commit_inbox(&mut self, open: u32, msg_id: &str, consumer: &str) -> Result<(), CommitError>;

    /// Ends what was begun after the first `open`. A connection that cannot do that is broken.
    fn roll_back_inbox(&mut self, open: u32);

    /// The same, and ends a transaction that Diesel does not know of because it was begun by a
    /// statement. Returns whether Diesel knew of an open one.
    fn end_inbox(&mut self, open: u32) -> bool;

    /// Deletes the row of an attempt that failed; it is there only if something has committed it
    /// before its time. Returns whether it was.
    fn delete_arrival(&mut self, id: Uuid) -> QueryResult<bool>;

    /// What is known of a message that comes again.
    fn begun(&mut self, msg_id: &str, consumer: &str) -> QueryResult<Begun>;

    /// Counts that a message which comes again is begun.
    fn begin_again(&mut self, msg_id: &str, consumer: &str) -> QueryResult<()>;

    /// Takes a count back: what was begun came to an end, though the message did not.
    fn end_begun(&mut self, msg_id: &str, consumer: &str) -> QueryResult<()>;

    /// Forgets how often it was begun.
    fn forget_begun(&mut self, msg_id: &str, consumer: &str) -> QueryResult<()>;
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

/// What is open within the inbox's transaction and nowhere else: whatever ends that transaction ends
/// it as well, be it a COMMIT by the callback or a statement by which the server commits (DDL on MySQL
/// and MariaDB). Then the last statements fail with this name in the error.
const MARK: &str = "outbox_inbox";

/// Whether the mark is gone. The name is the same in every language of the server, and no callback has
/// a part in the statements that fail with it.
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
    ($feature:literal, $connection:ty, begin: $begin:literal, release: $release:literal,
     roll_back: $roll_back:literal, looks_for_row: $looks_for_row:literal) => {
        #[cfg(feature = $feature)]
        impl Inbox for $connection {
            fn is_received(&mut self, msg_id: &str, consumer: &str) -> QueryResult<bool> {
                let row = received::table
                    .filter(received::msg_id.eq(Self::told_apart(msg_id)))
                    .filter(received::consumer.eq(consumer));
                diesel::select(diesel::dsl::exists(row)).get_result(self)
            }

            fn open_transactions(&mut self) -> QueryResult<u32> {
                depth(self)
            }

            fn begin_inbox(&mut self) -> QueryResult<u32> {
                let open = depth(self)?;
                if open == 0 {
                    AnsiTransactionManager::begin_transaction_sql(self, $begin)?;
                } else {
                    AnsiTransactionManager::begin_transaction(self)?;
                }
                Ok(open)
            }

            fn insert_received(&mut self, arrival: &Arrival) -> QueryResult<()> {
                let told_apart = match Self::told_apart(&arrival.msg_id) {
                    Cow::Borrowed(_) => Cow::Borrowed(arrival),
                    Cow::Owned(msg_id) => Cow::Owned(Arrival {
                        msg_id,
                        ..arrival.clone()
                    }),
                };
                diesel::insert_into(received::table)
                    .values(told_apart.as_ref())
                    .execute(self)
                    .map(drop)
            }

            fn commit_inbox(
                &mut self,
                open: u32,
                msg_id: &str,
                consumer: &str,
            ) -> Result<(), CommitError> {
                let mut commit = || {
                    match depth(self) {
                        Ok(depth) if depth == open + 1 => {}
                        Ok(_) => return Err(CommitError::Ended),
                        Err(error) => return Err(CommitError::Before(error)),
                    }
                    if ($looks_for_row || open > 0)
                        && !self
                            .is_received(msg_id, consumer)
                            .map_err(CommitError::Before)?
                    {
                        // Deleted, or rolled back with the transaction.
                        return Err(match self.batch_execute($release) {
                            Err(error) if is_mark_gone(&error) => CommitError::Ended,
                            _ => CommitError::Gone,
                        });
                    }
                    if open > 0 {
                        return AnsiTransactionManager::commit_transaction(self)
                            .map_err(CommitError::Commit);
                    }
                    match self.batch_execute(concat!($release, "; commit")) {
                        Ok(()) => Ok(note_committed(self)),
                        Err(error) if is_mark_gone(&error) => Err(CommitError::Ended),
                        // PostgreSQL has ended the transaction if it was COMMIT itself that failed.
                        Err(error) => match depth(self) {
                            Ok(1) if !$looks_for_row => Err(CommitError::Before(error)),
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
                    let _ = self.batch_execute($roll_back);
                }
                is_known
            }

            fn delete_arrival(&mut self, id: Uuid) -> QueryResult<bool> {
                diesel::delete(received::table.filter(received::id.eq(Id(id))))
                    .execute(self)
                    .map(|deleted| deleted > 0)
            }

            fn begun(&mut self, msg_id: &str, consumer: &str) -> QueryResult<Begun> {
                if self.is_received(msg_id, consumer)? {
                    return Ok(Begun::Received);
                }
                let msg_id = Self::told_apart(msg_id);
                let times: Option<i32> = outbox_deliveries::table
                    .find((msg_id.as_ref(), consumer))
                    .select(outbox_deliveries::begun)
                    .first(self)
                    .optional()?;
                let times = times.and_then(|times| u32::try_from(times).ok());
                Ok(Begun::Before(times.unwrap_or(0)))
            }

            fn begin_again(&mut self, msg_id: &str, consumer: &str) -> QueryResult<()> {
                let msg_id = Self::told_apart(msg_id);
                diesel::sql_query(Self::BEGIN_AGAIN)
                    .bind::<Text, _>(msg_id.as_ref())
                    .bind::<Text, _>(consumer)
                    .execute(self)
                    .map(drop)
            }

            fn end_begun(&mut self, msg_id: &str, consumer: &str) -> QueryResult<()> {
                let msg_id = Self::told_apart(msg_id);
                let counted = outbox_deliveries::table.find((msg_id.as_ref(), consumer));
                diesel::update(counted)
                    .set(outbox_deliveries::begun.eq(outbox_deliveries::begun - 1))
                    .execute(self)
                    .map(drop)
            }

            fn forget_begun(&mut self, msg_id: &str, consumer: &str) -> QueryResult<()> {
                let msg_id = Self::told_apart(msg_id);
                diesel::delete(outbox_deliveries::table.find((msg_id.as_ref(), consumer)))
                    .execute(self)
                    .map(drop)
            }
        }
    };
}

// A savepoint would make PostgreSQL give ids to two transactions. A cursor is as much a part of the
// transaction, and CLOSE fails in an aborted one, which COMMIT does not. A ROLLBACK outside of a
// transaction would be a warning in the server's log.
inbox!("postgres", diesel::PgConnection,
    begin: "begin; declare outbox_inbox no scroll cursor for values (1)",
    release: "close outbox_inbox",
    roll_back: "begin; rollback", looks_for_row: false);
inbox!("mysql", diesel::MysqlConnection,
    begin: "begin; savepoint outbox_inbox",
    release: "release savepoint outbox_inbox",
    roll_back: "rollback", looks_for_row: true);
// Immediate: writers take turns from the beginning, so that none finds itself out of date later.
inbox!("sqlite", diesel::SqliteConnection,
    begin: "begin immediate; savepoint outbox_inbox",
    release: "release savepoint outbox_inbox",
    roll_back: "rollback", looks_for_row: true);
