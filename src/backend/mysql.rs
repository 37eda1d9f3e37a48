//! MySQL's and MariaDB's words for the outbox.

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text, Unsigned};
use uuid::Uuid;

use super::claimed::{Leased, LockedRow, Room, RowKey};
use super::dialect::{Dialect, End, digest};
use super::never;
use super::qualify::RunQueryDsl;
use super::scope::{Filter, Freshness, numbers};
use crate::db::LastError;
use crate::schema::{self, Moment};

/// The claim is one transaction that the server has all at once, so that a client that stops keeps
/// nobody from the lock: the row `claim` of `outbox_jobs`. InnoDB's gap locks would deadlock two
/// claims, hence READ COMMITTED, which takes none. `{ready}` is read without locks; of these rows
/// those are taken that no other session has locked. MariaDB cuts an array to the length of
/// `group_concat_max_len`, in the midst of a number. LIMIT keeps the subquery from being merged.
const CLAIM: &str = "\
set @outbox_lock = null, @outbox_ready = null,
    session group_concat_max_len = greatest(@@session.group_concat_max_len, 16777216);
{begin}
select name into @outbox_lock from outbox_jobs where name = 'claim' for update;
select json_arrayagg(ready.seq) into @outbox_ready from ({ready}) ready
where @outbox_lock is not null;
update (
    select p.seq
    from json_table(@outbox_ready, '$[*]' columns (seq bigint path '$')) ready
    straight_join published p force index (published_seq) on p.seq = ready.seq
    where p.status = 1 and p.due_at <= {now}
    limit 100000
    for update skip locked) free
straight_join published p force index (published_seq) on p.seq = free.seq
set p.`key` = {key}, p.lease_token = {token}, p.due_at = {until};
{commit}";
const BEGIN_CLAIM: &str = "\
set transaction isolation level read committed;
start transaction;";

/// What the claim left in the session.
const CLAIMED: &str = "\
select @outbox_lock is not null as has_lock, cast(@outbox_ready as char) as ready";

/// Reads the rows that were leased until this very moment, with as many bodies as there is room
/// for in bytes, and none that is too large to be sent.
const LEASED: &str = "\
select r.seq, r.id, r.destination, r.`key`, r.stream, r.retry,
    cast(r.expires_at <= {now} as signed) as expired, cast(r.size as signed) as size,
    cast(r.body_size as signed) as body_size,
    case when r.body_size <= {largest} and (r.total <= {bytes} or r.nth = 1)
        then cast(r.body as char) end as body,
    cast(r.headers as char) as headers
from (
    select s.*, sum(s.size) over (order by s.seq) as total, row_number() over (order by s.seq) as nth
    from (
        select l.*, case when l.body_size > {largest} then 0
            else l.body_size + length(cast(l.headers as char)) end as size
        from (
            select p.seq, p.id, p.destination, p.`key`, p.stream, p.retry, p.expires_at, p.body,
                p.headers, length(cast(p.body as char)) as body_size
            from published p force index (published_held)
            where p.status = 1 and p.due_at = {until} and p.lease_token = {token}) l) s) r";

/// A row is blocked by an earlier one of its key that is leased, waits or is parked: each of them
/// has a `due_at` to come. The indexes are named because the optimizer prefers a sort of all
/// waiting rows.
const READY: &str = "\
select p.seq
from published p force index (published_waiting)
left join (
    select e.`key`, min(e.seq) as seq
    from published e force index (published_held)
    where e.status in (-1, 1) and e.due_at > {now} and e.`key` is not null {not_own}
    group by e.`key`) held on held.`key` = {key}
{late}
where p.status = 1 and p.due_at <= {now} and (held.seq is null or held.seq >= p.seq)
    {conditions}
order by {order}
limit {limit}";

/// What is recorded of rows that no other session has locked. LIMIT keeps the subquery from being
/// merged.
const SETTLE: &str = "\
update (
    select p.seq
    from published p force index (published_seq)
    where p.seq in ({seqs}) and p.lease_token = {token} and p.status <> 2
    limit 100000
    for update skip locked) free
straight_join published p force index (published_seq) on p.seq = free.seq
set {changes}";

/// Keys with rows that were tried and are due again, before the first row to look at.
const LATE: &str = "\
left join (
    select distinct e.`key`
    from published e force index (published_held)
    where e.status = 1 and e.due_at > '1970-01-01' and e.due_at <= {now}
        and e.`key` is not null and e.seq < {from}) late on late.`key` = {key}";
const EPOCH: &str = "'1970-01-01 00:00:00'";

/// A text as a literal in hexadecimal, which needs no quotes whatever the server's mode is.
fn literal(text: &str) -> String {
    if text.is_empty() {
        return "''".to_owned();
    }
    let digits: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("_utf8mb4 x'{digits}'")
}

/// The key of `row` where there is a rule for it.
fn ruled_key(filter: &Filter, row: &str) -> String {
    let by = |keys: &str, column: &str| {
        format!(
            "json_unquote(json_extract({}, concat('$.', json_quote({row}.{column}))))",
            literal(keys)
        )
    };
    format!(
        "coalesce({row}.`key`, {}, {})",
        by(&filter.stream_keys, "stream"),
        by(&filter.destination_keys, "destination")
    )
}

/// Whether `row` is let through for its stream and destination.
fn let_through(filter: &Filter, row: &str) -> String {
    let among = |names: &str, column: &str| {
        let names = literal(names);
        format!("coalesce(json_contains({names}, json_quote({row}.{column})), 0)")
    };
    let mut rule = format!(
        "not {} and not {}",
        among(&filter.paused, "stream"),
        among(&filter.set_aside, "destination")
    );
    for (names, column) in [
        (&filter.streams, "stream"),
        (&filter.destinations, "destination"),
    ] {
        if names != "[]" {
            rule.push_str(" and ");
            rule.push_str(&among(names, column));
        }
    }
    rule
}

/// A moment as a literal.
fn moment(moment: DateTime<Utc>) -> String {
    format!("'{}'", moment.naive_utc().format("%Y-%m-%d %H:%M:%S%.6f"))
}

/// The key by which a row is claimed.
fn key(filter: &Filter) -> String {
    if filter.has_key_rule {
        ruled_key(filter, "p")
    } else {
        "p.`key`".to_owned()
    }
}

/// The statement that finds rows, with the filter in it.
fn ready(filter: &Filter, limit: usize) -> String {
    let mut not_own = String::new();
    if !filter.own_keys.is_empty() && !filter.own_tokens.is_empty() {
        let tokens: Vec<String> = filter
            .own_tokens
            .iter()
            .map(|it| format!("'{it}'"))
            .collect();
        let keys: Vec<String> = filter.own_keys.iter().map(|key| literal(key)).collect();
        not_own = format!(
            "and not (coalesce(e.lease_token in ({}), 0) and e.`key` in ({}))",
            tokens.join(", "),
            keys.join(", ")
        );
    }
    let key = key(filter);
    let mut conditions = String::new();
    if filter.is_picky {
        conditions = format!(
            "and {} and ({key} is null or not exists (select 1 from published e
                where e.`key` = {key} and e.status = 1 and e.seq < p.seq and not ({})))",
            let_through(filter, "p"),
            let_through(filter, "e")
        );
    }
    let mut late = String::new();
    if let Some(from) = filter.from {
        late = LATE
            .replace("{from}", &from.to_string())
            .replace("{key}", &key);
        conditions.push_str(&format!(
            " and p.seq >= {from} and late.`key` is null and not exists (
                select 1 from published e force index (published_held)
                where e.status = 1 and e.due_at = {EPOCH} and e.`key` = {key} and e.seq < {from})"
        ));
    }
    conditions.push_str(&filter.not_rows("p"));
    if !filter.not_keys.is_empty() {
        let keys: Vec<String> = filter.not_keys.iter().map(|key| literal(key)).collect();
        let keys = keys.join(", ");
        conditions.push_str(&format!(" and not coalesce({key} in ({keys}), 0)"));
    }
    if filter.freshness != Freshness::Any {
        conditions.push_str(&format!(
            " and p.retry = 0 and ({key} is null or not exists (
                select 1 from published e
                where e.`key` = {key} and e.status = 1 and e.seq < p.seq))"
        ));
    }
    let order = match filter.freshness {
        Freshness::Newest => "p.seq desc",
        Freshness::Any | Freshness::Fresh => "p.seq",
    };
    READY
        .replace("{key}", &key)
        .replace("{late}", &late)
        .replace("{conditions}", &conditions)
        .replace("{order}", order)
        .replace("{limit}", &limit.to_string())
        .replace("{not_own}", &not_own)
}

impl Dialect for diesel::MysqlConnection {
    const NOW: &'static str = "utc_timestamp(6)";
    const LIMITS_STATEMENTS: bool = true;
    const BEGIN_JOB: &'static str =
        "update outbox_jobs set begun = ? where name = ? and begun <= ?";
    const INSERT_JOB: &'static str = "insert ignore into outbox_jobs (begun, name) values (?, ?)";
    const PAUSE_STREAM: &'static str = "\
        insert into outbox_streams (name, paused) values (?, ?)
        on duplicate key update paused = values(paused)";
    const INSERT_STREAM: &'static str = "insert ignore into outbox_streams (name) values (?)";
    // Rows that another session has locked are left for the next time.
    const DELETE_PUBLISHED: &'static str = "\
        delete p from (
            select seq from published where status = 2 and added <= ? order by added limit ?
            for update skip locked) old
        straight_join published p force index (published_seq) on p.seq = old.seq";
    const DELETE_RECEIVED: &'static str = "\
        delete r from (
            select id from received where added <= ? order by added limit ?
            for update skip locked) old
        straight_join received r force index (primary) on r.id = old.id";
    const DELETE_DELIVERIES: &'static str = "\
        delete d from (
            select msg_id, consumer from outbox_deliveries where last_begun <= ? limit ?
            for update skip locked) old
        straight_join outbox_deliveries d force index (primary)
            on d.msg_id = old.msg_id and d.consumer = old.consumer";
    const BEGIN_AGAIN: &'static str = "\
        insert into outbox_deliveries (msg_id, consumer, begun) values (?, ?, 1)
        on duplicate key update begun = begun + 1, last_begun = utc_timestamp(6)";

    fn now(&mut self) -> QueryResult<DateTime<Utc>> {
        diesel::select(sql::<schema::Utc>(Self::NOW))
            .get_result::<Moment>(self)
            .map(|moment| moment.0)
    }

    fn lease_rows(
        &mut self,
        token: Uuid,
        lease: Duration,
        room: Room,
        filter: &Filter,
    ) -> QueryResult<(Vec<Leased>, Vec<LockedRow>)> {
        let status = AnsiTransactionManager::transaction_manager_status_mut(self);
        let is_own = matches!(status.transaction_depth(), Ok(None));
        // Before the lock: what ends or begins meanwhile is seen by the next claim.
        let present = self.now()?;
        let until =
            present.checked_add_signed(chrono::TimeDelta::from_std(lease).unwrap_or_default());
        let (now, until) = (moment(present), moment(until.unwrap_or_else(never)));
        let (begin, commit) = if is_own {
            (BEGIN_CLAIM, "commit")
        } else {
            ("", "do 0")
        };
        let filled = |statement: &str| {
            statement
                .replace("{begin}", begin)
                .replace("{commit}", commit)
                .replace("{ready}", &ready(filter, room.rows))
                .replace("{now}", &now)
                .replace("{until}", &until)
                .replace("{key}", &key(filter))
                .replace("{token}", &format!("'{token}'"))
                .replace("{bytes}", &room.bytes.to_string())
                .replace("{largest}", &room.largest.to_string())
        };
        let claim = filled(CLAIM);
        let mut has_tried = false;
        let ready = loop {
            if let Err(error) = self.batch_execute(&claim) {
                if is_own {
                    // Nothing but a lost connection keeps this from working.
                    let _ = self.batch_execute("rollback");
                }
                return Err(error);
            }
            let claimed: Claimed = diesel::sql_query(CLAIMED).get_result(self)?;
            if claimed.has_lock || has_tried {
                break claimed.ready;
            }
            // Somebody has emptied the table.
            has_tried = true;
            diesel::sql_query(Self::INSERT_JOB)
                .bind::<schema::Utc, _>(Moment(DateTime::UNIX_EPOCH))
                .bind::<Text, _>("claim")
                .execute(self)?;
        };
        let Some(ready) = ready else {
            return Ok((Vec::new(), Vec::new()));
        };
        let leased: Vec<Leased> = diesel::sql_query(filled(LEASED)).load(self)?;
        let taken: HashSet<i64> = leased.iter().map(Leased::seq).collect();
        let ready = ready.trim_matches(['[', ']']).split(',');
        let ready = ready.filter_map(|seq| seq.trim().parse::<i64>().ok());
        let missed: Vec<i64> = ready.filter(|seq| !taken.contains(seq)).collect();
        if missed.is_empty() {
            return Ok((leased, Vec::new()));
        }
        let locked = diesel::sql_query(filled(&format!(
            "select p.seq, p.id, {{key}} as `key` from published p
            where p.seq in ({})
                and (p.status = 1 or p.status = -1 and p.due_at > utc_timestamp(6))",
            numbers(&missed)
        )));
        Ok((leased, locked.load(self)?))
    }

    fn await_claims(&mut self) -> QueryResult<()> {
        // Outside of a transaction it is let go at once.
        self.batch_execute("select name from outbox_jobs where name = 'claim' for update")
    }

    fn settle(&mut self, token: Uuid, rows: &[RowKey], end: &End<'_>) -> QueryResult<usize> {
        const EPOCH_AND_FREE: &str = "p.due_at = '1970-01-01 00:00:00', p.lease_token = null";
        let seqs: Vec<i64> = rows.iter().map(|row| row.seq).collect();
        let filled = |changes: &str| {
            SETTLE
                .replace("{seqs}", &numbers(&seqs))
                .replace("{token}", &format!("'{token}'"))
                .replace("{changes}", changes)
        };
        match end {
            End::Sent => diesel::sql_query(filled(&format!(
                "p.status = 2, p.sent_at = utc_timestamp(6), p.last_error = null, {EPOCH_AND_FREE}"
            )))
            .execute(self),
            End::Released => diesel::sql_query(filled(EPOCH_AND_FREE)).execute(self),
            End::Failed {
                status,
                attempts,
                due_at,
                reason,
            } => diesel::sql_query(filled(
                "p.status = ?, p.retry = p.retry + ?, p.due_at = ?, p.lease_token = null,
                p.last_error = ?",
            ))
            .bind::<Integer, _>(status)
            .bind::<Integer, _>(attempts)
            .bind::<schema::Utc, _>(Moment(*due_at))
            .bind::<Text, _>(reason)
            .execute(self),
        }
    }

    fn lockable(&mut self, rows: &[RowKey]) -> QueryResult<Vec<RowKey>> {
        let seqs: Vec<i64> = rows.iter().map(|row| row.seq).collect();
        let free: Vec<Free> = diesel::sql_query(format!(
            "select seq from published force index (published_seq) where seq in ({})
            for update skip locked",
            numbers(&seqs)
        ))
        .load(self)?;
        let is_free = |row: &&RowKey| free.iter().any(|free| free.seq == row.seq);
        Ok(rows.iter().filter(is_free).copied().collect())
    }

    fn limit_lock_waits(&mut self, limit: Duration) -> QueryResult<()> {
        let seconds = limit.as_secs().max(1);
        self.batch_execute(&format!("set session innodb_lock_wait_timeout = {seconds}"))
    }

    fn spelled_otherwise(&mut self, status: i32, id: Uuid) -> QueryResult<Vec<i64>> {
        let rows: Vec<Free> = diesel::sql_query(format!(
            "select seq from published where status = {status} and lower(replace(replace(replace(
                replace(trim(id), '-', ''), '{{', ''), '}}', ''), 'urn:uuid:', '')) = '{}'",
            id.simple()
        ))
        .load(self)?;
        Ok(rows.into_iter().map(|row| row.seq).collect())
    }

    fn longest_statement(&mut self) -> QueryResult<usize> {
        let bytes: i64 = diesel::select(sql::<BigInt>(
            "cast(@@session.max_allowed_packet as signed)",
        ))
        .get_result(self)?;
        Ok(usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    fn last_error(&mut self) -> Option<LastError> {
        // Not a prepared statement: to prepare one forgets the error.
        self.batch_execute(
            "get diagnostics condition 1 @outbox_number = mysql_errno, @outbox_text = message_text",
        )
        .ok()?;
        let last: Diagnosed = diesel::sql_query(
            "select cast(@outbox_number as unsigned) as number, @outbox_text as text",
        )
        .get_result(self)
        .ok()?;
        Some(LastError {
            number: u32::try_from(last.number?).ok()?,
            text: last.text?,
        })
    }

    fn told_apart(id: &str) -> Cow<'_, str> {
        // Its comparisons pay no heed to spaces at the end.
        if id.ends_with(' ') {
            return Cow::Owned(digest(id));
        }
        Cow::Borrowed(id)
    }
}

#[derive(QueryableByName)]
struct Claimed {
    #[diesel(sql_type = Bool)]
    has_lock: bool,
    #[diesel(sql_type = Nullable<Text>)]
    ready: Option<String>,
}

/// What the server keeps of the last error.
#[derive(QueryableByName)]
struct Diagnosed {
    #[diesel(sql_type = Nullable<Unsigned<BigInt>>)]
    number: Option<u64>,
    #[diesel(sql_type = Nullable<Text>)]
    text: Option<String>,
}

#[derive(QueryableByName)]
struct Free {
    #[diesel(sql_type = BigInt)]
    seq: i64,
}
