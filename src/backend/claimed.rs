//! Rows as a claim returns them.

use std::collections::HashMap;
use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Bool, Integer, Nullable, Text};
use uuid::Uuid;

use super::names;

/// What identifies a row: `id` on PostgreSQL, where `seq` is not unique, and `seq` elsewhere, where one
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
    /// The stored id if it is not a UUID: the row cannot be sent.
    pub bad_id: Option<String>,
    /// Its destination, or the value of its table's column for the target.
    pub destination: String,
    /// The body as JSON text, exactly as the database stores it.
    pub body: String,
    /// The headers as JSON text.
    pub headers: String,
    /// The ordering key: the row's own, or the one that a rule gives.
    pub key: Option<String>,
    /// The stream.
    pub stream: Option<String>,
    /// The row's signature.
    pub signature: Option<String>,
    /// Failed attempts of the row so far.
    pub retry: i32,
    /// Whether it had expired when it was claimed.
    pub expired: bool,
    /// The size of the body in bytes if it is larger than what may be sent; the body was not read.
    pub too_large: Option<usize>,
    /// The other columns of a function call.
    pub call: Option<CallColumns>,
    /// How long it had waited when it was claimed.
    pub wait: Wait,
}

/// How long a row had waited when it was claimed.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wait {
    /// The time since it was written, or due if that was later.
    pub time: Duration,
    /// Whether an earlier lease of it had ended without a result.
    pub was_leased: bool,
}

impl Wait {
    /// From one number: twice the time in microseconds, plus 1 if it was leased.
    #[cfg(any(feature = "postgres", feature = "mysql"))]
    pub(super) fn from_number(number: i64) -> Self {
        let microseconds = u64::try_from(number.div_euclid(2)).unwrap_or(0);
        Self {
            time: Duration::from_micros(microseconds),
            was_leased: number.rem_euclid(2) == 1,
        }
    }
}

/// What a database returns of a claim.
#[derive(Debug, Default)]
pub struct ClaimResult {
    /// The leased rows.
    pub(super) rows: Vec<Leased>,
    /// The rows that another session has locked.
    pub(super) locked: Vec<LockedRow>,
    /// How long the leased rows had waited: by the id alone where it identifies a row, otherwise by `seq` alone.
    pub(super) waits: HashMap<RowKey, Wait>,
}

impl ClaimResult {
    fn wait(&self, seq: i64, id: Uuid) -> Wait {
        let of = |seq, id| self.waits.get(&RowKey { seq, id }).copied();
        of(seq, Uuid::nil())
            .or_else(|| of(0, id))
            .unwrap_or_default()
    }
}

/// The columns that only the table of function calls has.
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct CallColumns {
    /// How the arguments are stored.
    #[diesel(sql_type = Text)]
    pub encoding: String,
    /// The arguments, if they are not JSON.
    #[diesel(sql_type = Nullable<Binary>)]
    pub payload: Option<Vec<u8>>,
    /// Whether its holder's lease has ended since it was last released or settled, and, minus 1, how many of
    /// its executions ended with their process.
    #[diesel(sql_type = Integer)]
    pub crashes: i32,
}

/// A call that was written under a lease, as it is read after the commit.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct LeasedCall {
    /// The row.
    pub claimed: Claimed,
    /// Whether an earlier row of its key, not under the same token, waits, is leased or blocks the key.
    pub is_blocked: bool,
}

impl Claimed {
    /// What identifies the row.
    #[must_use]
    pub fn row(&self) -> RowKey {
        RowKey {
            seq: self.seq,
            id: self.id,
        }
    }
}

/// A row that another session has locked. The claim leaves it out, and the later rows of
/// its key.
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct LockedRow {
    /// The order of writing.
    #[diesel(sql_type = BigInt)]
    pub seq: i64,
    /// The message's id as the database stores it.
    #[diesel(sql_type = Text)]
    pub id: String,
    /// The ordering key: the row's own, or the one that a rule gives.
    #[diesel(sql_type = Nullable<Text>)]
    pub key: Option<String>,
}

/// How much a claim may return.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Rows.
    pub rows: usize,
    /// Bytes of bodies and headers.
    pub bytes: usize,
    /// The maximum size of a body that is sent, in bytes. A larger one is not read and takes no room.
    pub largest: usize,
    /// Whether the first row may be larger than the room.
    pub any_first: bool,
}

/// What a claim returned.
#[doc(hidden)]
#[derive(Debug, Default)]
pub struct Claim {
    /// The rows, in the order of `seq`.
    pub rows: Vec<Claimed>,
    /// Rows that were due and that another session has locked.
    pub locked: Vec<LockedRow>,
    /// The number of rows that were due, whether they are returned or not.
    pub found: usize,
    /// The number of rows that were released because there was no room.
    pub too_many: usize,
    /// The number of rows that should have been released and stay leased until the lease ends, because another
    /// session has locked them.
    pub kept: usize,
    /// The size of a row in bytes, on average over all rows that were scanned.
    pub mean_size: Option<usize>,
}

/// A leased row as it is read.
#[derive(Debug)]
pub(super) struct Leased {
    columns: Columns,
    call: Option<CallColumns>,
}

/// A leased call as it is read.
#[derive(QueryableByName)]
pub(super) struct Executable {
    #[diesel(embed)]
    columns: Columns,
    #[diesel(embed)]
    call: CallColumns,
}

impl From<Columns> for Leased {
    fn from(columns: Columns) -> Self {
        Self {
            columns,
            call: None,
        }
    }
}

impl From<Executable> for Leased {
    fn from(row: Executable) -> Self {
        Self {
            columns: row.columns,
            call: Some(row.call),
        }
    }
}

/// Loads leased rows: of a table whose rows are executed, with the columns of calls.
#[allow(unused_macros)]
macro_rules! load_leased {
    ($table:expr, $query:expr, $conn:expr) => {{
        use $crate::backend::claimed::{Columns, Executable, Leased};
        use $crate::backend::qualify::RunQueryDsl;
        if $table.is_executed {
            let rows: Vec<Executable> = RunQueryDsl::load($query, $conn)?;
            rows.into_iter().map(Leased::from).collect::<Vec<_>>()
        } else {
            let rows: Vec<Columns> = RunQueryDsl::load($query, $conn)?;
            rows.into_iter().map(Leased::from).collect::<Vec<_>>()
        }
    }};
}
#[allow(unused_imports)]
pub(super) use load_leased;

/// The columns of a leased row. The body is left out if there is no room for it, or if it is too
/// large to be sent.
#[derive(Debug, QueryableByName)]
pub(super) struct Columns {
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
    #[diesel(sql_type = Nullable<Text>)]
    signature: Option<String>,
    #[diesel(sql_type = Integer)]
    retry: i32,
    #[diesel(sql_type = Bool)]
    expired: bool,
    /// The size of what is sent of the row, in bytes; `None` if all of the row was read.
    #[diesel(sql_type = Nullable<BigInt>)]
    size: Option<i64>,
    /// The size of the body in bytes, if there may be room for it; `None` if all of the row was read.
    #[diesel(sql_type = Nullable<BigInt>)]
    body_size: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    body: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    headers: Option<String>,
}

impl Leased {
    #[allow(dead_code)] // not every database needs it
    pub(super) fn seq(&self) -> i64 {
        self.columns.seq
    }

    /// The size of what is sent of the row, in bytes.
    fn size(&self) -> usize {
        if let Some(size) = self.columns.size {
            return bytes(size);
        }
        let payload = self.call.as_ref().and_then(|call| call.payload.as_ref());
        let texts = [&self.columns.body, &self.columns.headers].into_iter();
        let texts = texts.flatten().map(String::len);
        texts.chain(payload.map(Vec::len)).sum()
    }
}

/// Sorts leased rows into those to send and those to release: the ones without room, and those
/// behind a locked row of their key.
pub(super) fn sort(mut result: ClaimResult, room: Room) -> (Claim, Vec<RowKey>) {
    let mut leased = std::mem::take(&mut result.rows);
    let locked = std::mem::take(&mut result.locked);
    // Neither RETURNING nor a plain SELECT promises an order.
    leased.sort_unstable_by(|a, b| {
        let (a, b) = (&a.columns, &b.columns);
        (a.seq, &a.id).cmp(&(b.seq, &b.id))
    });
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
    let total: usize = leased.iter().map(Leased::size).sum();
    claim.mean_size = total.checked_div(leased.len());
    let mut is_full = false;
    for leased in leased {
        let size = leased.size();
        let Leased { columns: row, call } = leased;
        let uuid = names::uuid(&row.id);
        let (seq, id) = (row.seq, uuid.unwrap_or_default());
        let is_behind = row
            .key
            .as_deref()
            .is_some_and(|key| first_locked.get(key).is_some_and(|first| *first < seq));
        let too_large = row.body_size.map(bytes).filter(|it| *it > room.largest);
        let body = row.body.or_else(|| too_large.map(|_| String::new()));
        is_full |=
            body.is_none() || (claim.rows.is_empty() && !room.any_first && size > room.bytes);
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
            signature: row.signature,
            retry: row.retry,
            expired: row.expired,
            too_large,
            call,
            wait: result.wait(seq, id),
        });
    }
    claim.locked = locked;
    (claim, back)
}

fn bytes(size: i64) -> usize {
    usize::try_from(size).unwrap_or_default()
}
