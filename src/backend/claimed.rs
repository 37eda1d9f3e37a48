//! Rows as a claim brings them.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text};
use uuid::Uuid;

use super::names;

/// Which row: by `id` on PostgreSQL, where `seq` is not unique, and by `seq` elsewhere, where one
/// UUID has several spellings.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey {
    /// The order of writing.
    pub seq: i64,
    /// The message's id; nil if the stored one is not a UUID.
    pub id: Uuid,
}

/// A row under a lease.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct Claimed {
    /// The order of writing.
    pub seq: i64,
    /// The message's id; nil if the stored one is not a UUID.
    pub id: Uuid,
    /// The stored id if it is not a UUID: such a row cannot be sent.
    pub bad_id: Option<String>,
    /// Where it goes.
    pub destination: String,
    /// The body as JSON text, just as the database has it.
    pub body: String,
    /// The headers as JSON text.
    pub headers: String,
    /// The ordering key, its own or by a rule.
    pub key: Option<String>,
    /// The stream.
    pub stream: Option<String>,
    /// Failures of its own so far.
    pub retry: i32,
    /// Whether it had expired when it was claimed.
    pub expired: bool,
    /// The bytes of the body if they are more than may be sent: it was not read.
    pub too_large: Option<usize>,
}

impl Claimed {
    /// Which row it is.
    #[must_use]
    pub fn row(&self) -> RowKey {
        RowKey {
            seq: self.seq,
            id: self.id,
        }
    }
}

/// A row that another session has locked: it is left out of a claim, and so are the later rows of
/// its key.
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct LockedRow {
    /// The order of writing.
    #[diesel(sql_type = BigInt)]
    pub seq: i64,
    /// The message's id as it is stored.
    #[diesel(sql_type = Text)]
    pub id: String,
    /// The ordering key, its own or by a rule.
    #[diesel(sql_type = Nullable<Text>)]
    pub key: Option<String>,
}

/// How much a claim may bring.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Rows.
    pub rows: usize,
    /// Bytes of bodies and headers.
    pub bytes: usize,
    /// Bytes of a body that may be sent. A larger one is not read, and takes no room.
    pub largest: usize,
    /// Whether the first row may be larger than there is room for.
    pub any_first: bool,
}

/// What a claim brought.
#[doc(hidden)]
#[derive(Debug, Default)]
pub struct Claim {
    /// The rows, in the order of `seq`.
    pub rows: Vec<Claimed>,
    /// Rows that were due and that another session has locked.
    pub locked: Vec<LockedRow>,
    /// Rows that were due, whatever became of them.
    pub found: usize,
    /// Rows that were given back for want of room.
    pub too_many: usize,
    /// Rows that were to be given back and are under the lease until its end, because another
    /// session has locked them.
    pub kept: usize,
    /// Bytes of a row, on average over all that were looked at.
    pub mean_size: Option<usize>,
}

/// A leased row as it is read. The body is left out if there is no room for it, or if it is too
/// large to be sent.
#[derive(Debug, QueryableByName)]
pub(super) struct Leased {
    #[diesel(sql_type = BigInt)]
    seq: i64,
    #[diesel(sql_type = Text)]
    id: String,
    #[diesel(sql_type = Text)]
    destination: String,
    #[diesel(sql_type = Nullable<Text>)]
    key: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    stream: Option<String>,
    #[diesel(sql_type = Integer)]
    retry: i32,
    #[diesel(sql_type = Bool)]
    expired: bool,
    #[diesel(sql_type = BigInt)]
    size: i64,
    /// Bytes of the body, if there may be room for it.
    #[diesel(sql_type = Nullable<BigInt>)]
    body_size: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    body: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    headers: Option<String>,
}

impl Leased {
    #[cfg(feature = "mysql")]
    pub(super) fn seq(&self) -> i64 {
        self.seq
    }

    fn uuid(&self) -> Option<Uuid> {
        names::uuid(&self.id)
    }
}

/// Sorts leased rows into those to send, and those to give back: the ones without room, and those
/// behind a locked row of their key.
pub(super) fn sort(
    mut leased: Vec<Leased>,
    locked: Vec<LockedRow>,
    room: Room,
) -> (Claim, Vec<RowKey>) {
    // Neither RETURNING nor a plain SELECT promises an order.
    leased.sort_unstable_by(|a, b| (a.seq, &a.id).cmp(&(b.seq, &b.id)));
    let mut first_locked: HashMap<&str, i64> = HashMap::new();
    for row in &locked {
        if let Some(key) = &row.key {
            let first = first_locked.entry(key).or_insert(row.seq);
            *first = row.seq.min(*first);
        }
    }
    let mut claim = Claim {
        found: leased.len() + locked.len(),
        ..Claim::default()
    };
    let mut back = Vec::new();
    let bytes: usize = leased.iter().map(|row| size(row.size)).sum();
    claim.mean_size = bytes.checked_div(leased.len());
    let mut is_full = false;
    for row in leased {
        let uuid = row.uuid();
        let (seq, id) = (row.seq, uuid.unwrap_or_default());
        let is_behind = row
            .key
            .as_deref()
            .is_some_and(|key| first_locked.get(key).is_some_and(|first| *first < seq));
        let too_large = row.body_size.map(size).filter(|it| *it > room.largest);
        let body = row.body.or_else(|| too_large.map(|_| String::new()));
        is_full |= body.is_none()
            || (claim.rows.is_empty() && !room.any_first && size(row.size) > room.bytes);
        let (Some(body), false, false) = (body, is_behind, is_full) else {
            claim.too_many += usize::from(!is_behind);
            back.push(RowKey { seq, id });
            continue;
        };
        claim.rows.push(Claimed {
            seq,
            id,
            bad_id: uuid.is_none().then_some(row.id),
            destination: row.destination,
            body,
            headers: row.headers.unwrap_or_default(),
            key: row.key,
            stream: row.stream,
            retry: row.retry,
            expired: row.expired,
            too_large,
        });
    }
    claim.locked = locked;
    (claim, back)
}

fn size(bytes: i64) -> usize {
    usize::try_from(bytes).unwrap_or_default()
}
