//! Counts the rows that are not settled. Settled rows are not read.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};

use super::filter::literal;
use super::{LifecycleTable, PARKED, WAITING};
use crate::backend::dialect::Dialect;
use crate::backend::qualify::RunQueryDsl;
use crate::schema::{self, Moment};

/// The maximum number of rows that a count reads. A count of this number means this many rows, or more.
pub const COUNT_LIMIT: i64 = 100_000;

/// The length of a reason, in characters: longer ones with the same beginning count as one.
const REASON_LENGTH: usize = 200;

/// Counts of the rows that are not settled; not for use by hand. Each statement reads up to [`COUNT_LIMIT`] rows,
/// the oldest ones, along an index that settled rows are not in.
#[doc(hidden)]
pub trait Backlog {
    /// Counts the waiting rows of each stream in each situation.
    fn count_waiting(
        &mut self,
        table: LifecycleTable,
        now: DateTime<Utc>,
    ) -> QueryResult<Vec<WaitingRows>>;

    /// Counts the parked rows by their cause.
    fn count_parked(&mut self, table: LifecycleTable) -> QueryResult<ParkedRows>;

    /// Counts the rows that have failed and wait for another attempt by the reason of the last failure, the most
    /// frequent reasons first.
    fn count_reasons(
        &mut self,
        table: LifecycleTable,
        most: usize,
    ) -> QueryResult<Vec<CountedName>>;

    /// Counts the waiting rows by their target, the most frequent targets first.
    fn count_targets(
        &mut self,
        table: LifecycleTable,
        most: usize,
    ) -> QueryResult<Vec<CountedName>>;

    /// Counts the rows that have failed and wait for another attempt by their target, the most frequent targets first.
    fn count_failing(
        &mut self,
        table: LifecycleTable,
        most: usize,
    ) -> QueryResult<Vec<CountedName>>;

    /// Counts the rows that can be claimed by their target, for targets of which no waiting row has a lease or had one
    /// that ended after `since`: the target that has waited for the longest time first.
    fn count_unclaimed(
        &mut self,
        table: LifecycleTable,
        now: DateTime<Utc>,
        since: DateTime<Utc>,
        paused_streams: &[String],
        most: usize,
    ) -> QueryResult<Vec<UnclaimedRows>>;

    /// Counts the leased rows by their token.
    fn count_leased(
        &mut self,
        table: LifecycleTable,
        now: DateTime<Utc>,
    ) -> QueryResult<Vec<LeasedRows>>;

    /// Counts the rows that succeeded, and stops at [`COUNT_LIMIT`].
    fn count_succeeded(&mut self, table: LifecycleTable) -> QueryResult<i64>;

    /// Counts the messages in the inbox, and stops at [`COUNT_LIMIT`].
    fn count_inbox(&mut self) -> QueryResult<i64>;

    /// Counts the rows that were written after a time, and those that are not settled. It reads up to 1,000,000
    /// waiting rows, and of the others up to [`COUNT_LIMIT`] for each count.
    fn count_written(
        &mut self,
        table: LifecycleTable,
        since: DateTime<Utc>,
    ) -> QueryResult<WrittenRows>;
}

/// The rows that were written after a time, and those that are not settled.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, QueryableByName)]
pub struct WrittenRows {
    /// Rows that were written after the time and have succeeded.
    #[diesel(sql_type = BigInt)]
    pub succeeded: i64,
    /// Rows that were written after the time and wait.
    #[diesel(sql_type = BigInt)]
    pub still_waiting: i64,
    /// All rows that wait; none if there are more than are counted.
    #[diesel(sql_type = Nullable<BigInt>)]
    pub waiting: Option<i64>,
    /// All parked rows; none if there are more than are counted.
    #[diesel(sql_type = Nullable<BigInt>)]
    pub parked: Option<i64>,
}

/// Waiting rows that are counted for a rate, at most.
const WRITTEN_LIMIT: i64 = 1_000_000;

/// The waiting rows of a stream in one situation.
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct WaitingRows {
    /// The stream.
    #[diesel(sql_type = Nullable<Text>)]
    pub stream: Option<String>,
    /// Whether they are leased.
    #[diesel(sql_type = Bool)]
    pub is_leased: bool,
    /// Whether they have failed before.
    #[diesel(sql_type = Bool)]
    pub is_retried: bool,
    /// Whether they are due.
    #[diesel(sql_type = Bool)]
    pub is_due: bool,
    /// Whether an earlier row of their key blocks them.
    #[diesel(sql_type = Bool)]
    pub is_blocked: bool,
    /// Their number.
    #[diesel(sql_type = BigInt, column_name = n)]
    pub rows: i64,
    /// When the oldest of them was written.
    #[diesel(sql_type = schema::Utc)]
    pub(in crate::backend) added: Moment,
    /// Since when the first of them could have been claimed: when it was written, or due if that is later.
    #[diesel(sql_type = schema::Utc)]
    pub(in crate::backend) since: Moment,
}

impl WaitingRows {
    /// When the oldest of them was written.
    #[must_use]
    pub fn added(&self) -> DateTime<Utc> {
        self.added.0
    }

    /// Since when the first of them could have been claimed: when it was written, or due if that is later.
    #[must_use]
    pub fn since(&self) -> DateTime<Utc> {
        self.since.0
    }
}

/// The parked rows by their cause.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ParkedRows {
    /// All parked rows.
    pub all: i64,
    /// Of those, the ones that expired.
    pub expired: i64,
    /// Of those, the ones that an operator or a writer cancelled.
    pub cancelled: i64,
}

/// A text and the number of rows that have it.
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct CountedName {
    /// The text.
    #[diesel(sql_type = Text)]
    pub name: String,
    /// The number of rows.
    #[diesel(sql_type = BigInt, column_name = n)]
    pub rows: i64,
}

/// The rows of a target of which none is or was lately leased.
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct UnclaimedRows {
    /// The target.
    #[diesel(sql_type = Text)]
    pub name: String,
    /// The number of rows that can be claimed.
    #[diesel(sql_type = BigInt, column_name = n)]
    pub rows: i64,
    /// Since when the first of them could have been claimed.
    #[diesel(sql_type = schema::Utc)]
    since: Moment,
}

impl UnclaimedRows {
    /// Since when the first of them could have been claimed.
    #[must_use]
    pub fn since(&self) -> DateTime<Utc> {
        self.since.0
    }
}

/// The rows under one token.
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct LeasedRows {
    /// The token, as the database stores it.
    #[diesel(sql_type = Text)]
    pub token: String,
    /// The number of rows.
    #[diesel(sql_type = BigInt, column_name = n)]
    pub rows: i64,
    #[diesel(sql_type = schema::Utc, column_name = ends_at)]
    until: Moment,
}

impl LeasedRows {
    /// When the last of their leases ends.
    #[must_use]
    pub fn until(&self) -> DateTime<Utc> {
        self.until.0
    }
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

/// A statement that reads these columns of the oldest waiting rows.
fn waiting<C: Dialect>(columns: &str) -> String {
    format!(
        "select {columns} from {{table}} {} where status = {WAITING} order by seq limit {COUNT_LIMIT}",
        C::BY_WAITING
    )
}

/// When a waiting row could be claimed first: when it was written, or due if that is later. While it is leased, `due_at`
/// is the end of the lease.
const SINCE: &str =
    "case when lease_token is null and due_at > added then due_at else added end as since";

/// Counts by an expression over the oldest waiting rows: the most frequent values first.
fn by_frequency<C: Dialect>(columns: &str, value: &str, condition: &str, most: usize) -> String {
    format!(
        "select w.name, count(*) as n from (select {value} as name from ({}) r {condition}) w
        group by w.name order by n desc, w.name limit {most}",
        waiting::<C>(columns)
    )
}

macro_rules! backlog {
    ($module:ident: $connection:ty) => {
        impl Backlog for $connection {
            fn count_waiting(
                &mut self,
                table: LifecycleTable,
                now: DateTime<Utc>,
            ) -> QueryResult<Vec<WaitingRows>> {
                let now = Self::time_literal(now);
                let columns = format!(
                    "seq, stream, {} as row_key, added, {SINCE},
                    lease_token is not null and due_at > {now} as is_leased, retry > 0 as is_retried,
                    due_at <= {now} as is_due",
                    Self::KEY
                );
                let (is_blocked, blocking) = Self::blocked(&now);
                let statement = format!(
                    "with w as ({})
                    select b.stream, b.is_leased, b.is_retried, b.is_due, b.is_blocked, count(*) as n,
                        min(b.added) as added, min(b.since) as since
                    from (select w.*, {is_blocked} as is_blocked from w {blocking}) b
                    group by b.stream, b.is_leased, b.is_retried, b.is_due, b.is_blocked",
                    waiting::<Self>(&columns)
                );
                diesel::sql_query(table.fill(&statement)).load(self)
            }

            fn count_parked(&mut self, table: LifecycleTable) -> QueryResult<ParkedRows> {
                let counted: Vec<CountedName> = diesel::sql_query(table.fill(&format!(
                    "select w.name, count(*) as n from (
                        select case when last_error in ('expired', 'cancelled') then last_error else '' end as name
                        from {{table}} {} where status = {PARKED} order by seq limit {COUNT_LIMIT}) w
                    group by w.name",
                    Self::BY_PARKED
                )))
                .load(self)?;
                let of = |cause: &str| {
                    let found = counted.iter().find(|it| it.name == cause);
                    found.map_or(0, |it| it.rows)
                };
                Ok(ParkedRows {
                    all: counted.iter().map(|it| it.rows).sum(),
                    expired: of("expired"),
                    cancelled: of("cancelled"),
                })
            }

            fn count_reasons(
                &mut self,
                table: LifecycleTable,
                most: usize,
            ) -> QueryResult<Vec<CountedName>> {
                let value = format!("substr(coalesce(r.last_error, ''), 1, {REASON_LENGTH})");
                let statement =
                    by_frequency::<Self>("retry, last_error", &value, "where r.retry > 0", most);
                diesel::sql_query(table.fill(&statement)).load(self)
            }

            fn count_targets(
                &mut self,
                table: LifecycleTable,
                most: usize,
            ) -> QueryResult<Vec<CountedName>> {
                let statement = by_frequency::<Self>("{target}", "r.{target}", "", most);
                diesel::sql_query(table.fill(&statement)).load(self)
            }

            fn count_failing(
                &mut self,
                table: LifecycleTable,
                most: usize,
            ) -> QueryResult<Vec<CountedName>> {
                let statement =
                    by_frequency::<Self>("retry, {target}", "r.{target}", "where r.retry > 0", most);
                diesel::sql_query(table.fill(&statement)).load(self)
            }

            fn count_unclaimed(
                &mut self,
                table: LifecycleTable,
                now: DateTime<Utc>,
                since: DateTime<Utc>,
                paused_streams: &[String],
                most: usize,
            ) -> QueryResult<Vec<UnclaimedRows>> {
                let (now, since) = (Self::time_literal(now), Self::time_literal(since));
                // A lease that has ended is that of a process that died: its row can be claimed since then. A failed
                // attempt is no sign of an executor: the pause after it may be of days, and says not when it began.
                let columns = format!(
                    "seq, stream, {} as row_key, {{target}} as name,
                    case when due_at > added then due_at else added end as since,
                    lease_token is not null and due_at > {since} as is_claimed, due_at <= {now} as is_due",
                    Self::KEY
                );
                let (is_blocked, blocking) = Self::blocked(&now);
                let paused: Vec<String> = paused_streams
                    .iter()
                    .filter_map(|name| literal::<Self>(name))
                    .collect();
                let flows = match paused.is_empty() {
                    true => "1 = 1".to_owned(),
                    false => format!("(b.stream is null or b.stream not in ({}))", paused.join(", ")),
                };
                let is_claimable = format!("b.is_due and not b.is_blocked and {flows}");
                let statement = format!(
                    "with w as ({})
                    select b.name, count(case when {is_claimable} then 1 end) as n,
                        min(case when {is_claimable} then b.since end) as since
                    from (select w.*, {is_blocked} as is_blocked from w {blocking}) b
                    group by b.name
                    having count(case when b.is_claimed then 1 end) = 0
                        and count(case when {is_claimable} then 1 end) > 0
                    order by since, b.name limit {most}",
                    waiting::<Self>(&columns)
                );
                diesel::sql_query(table.fill(&statement)).load(self)
            }

            fn count_leased(
                &mut self,
                table: LifecycleTable,
                now: DateTime<Utc>,
            ) -> QueryResult<Vec<LeasedRows>> {
                let now = Self::time_literal(now);
                let columns = format!("{} as token, due_at", Self::as_text("lease_token"));
                let statement = format!(
                    "select w.token, count(*) as n, max(w.due_at) as ends_at from ({}) w
                    where w.token is not null and w.due_at > {now} group by w.token",
                    waiting::<Self>(&columns)
                );
                diesel::sql_query(table.fill(&statement)).load(self)
            }

            fn count_succeeded(&mut self, table: LifecycleTable) -> QueryResult<i64> {
                let counted: Number = diesel::sql_query(table.fill(&format!(
                    "select count(*) as n from (
                        select added from {{table}} where status = 2 order by added limit {COUNT_LIMIT}) s"
                )))
                .get_result(self)?;
                Ok(counted.n)
            }

            fn count_inbox(&mut self) -> QueryResult<i64> {
                let counted: Number = diesel::sql_query(format!(
                    "select count(*) as n from (select added from received order by added limit {COUNT_LIMIT}) r"
                ))
                .get_result(self)?;
                Ok(counted.n)
            }

            fn count_written(
                &mut self,
                table: LifecycleTable,
                since: DateTime<Utc>,
            ) -> QueryResult<WrittenRows> {
                let since = Self::time_literal(since);
                let (by_waiting, by_parked) = (Self::BY_WAITING, Self::BY_PARKED);
                diesel::sql_query(table.fill(&format!(
                    "select c.succeeded, c.still_waiting,
                        case when c.waiting < {WRITTEN_LIMIT} then c.waiting end as waiting,
                        case when c.parked < {COUNT_LIMIT} then c.parked end as parked
                    from (select
                        (select count(*) from (select added from {{table}}
                            where status = 2 and added > {since} order by added limit {COUNT_LIMIT}) s) as succeeded,
                        (select count(*) from (select added from {{table}} {by_waiting}
                            where status = {WAITING} order by seq desc limit {COUNT_LIMIT}) f
                            where f.added > {since}) as still_waiting,
                        (select count(*) from (select seq from {{table}} {by_waiting}
                            where status = {WAITING} order by seq limit {WRITTEN_LIMIT}) w) as waiting,
                        (select count(*) from (select seq from {{table}} {by_parked}
                            where status = {PARKED} order by seq limit {COUNT_LIMIT}) p) as parked) c"
                )))
                .get_result(self)
            }
        }
    };
}

crate::backend::databases!(backlog);
