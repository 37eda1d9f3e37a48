//! MySQL's and MariaDB's words for the outbox.

use std::borrow::Cow;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable, Text, Unsigned};
use uuid::Uuid;

use super::dialect::{Dialect, digest};
use super::never;
use super::outbox::{Claimed, SCHEDULE};
use super::qualify::RunQueryDsl;
use super::scope::Filter;
use crate::db::LastError;
use crate::schema::{self, Id, Moment, published};

/// The row that is locked while claims are made. InnoDB's gap locks would deadlock two claims,
/// hence READ COMMITTED, which takes none.
const LOCK: &str = "\
select name, cast(@@global.read_only as signed) = 1 as is_read_only
from outbox_jobs where name = 'claim' for update";
/// Changes nothing, and fails where this session may not write. A former primary that is read-only
/// hands out the lock, and has no rows that would show it by their claim.
const WRITE: &str = "update outbox_jobs set begun = begun where name = 'claim'";

/// A row is held up by an earlier one of its key that is leased, waits or is parked: each of them
/// has a `due_at` to come. The indexes are named because the optimizer prefers a sort of all
/// waiting rows.
const READY: &str = "\
select p.seq, p.id, p.destination, cast(p.body as char) as body,
    cast(p.headers as char) as headers, {key} as `key`, p.stream, p.retry,
    cast(p.expires_at <= ? as signed) as expired
from published p force index (published_waiting)
left join (
    select e.`key`, min(e.seq) as seq
    from published e force index (published_held)
    where e.status in (-1, 1) and e.due_at > ? and e.`key` is not null {not_own}
    group by e.`key`) held on held.`key` = {key}
{late}
where p.status = 1 and p.due_at <= ? and (held.seq is null or held.seq >= p.seq)
    {conditions}
order by p.seq
limit ?";

/// Keys with rows that were tried and are due again, before the first row to look at.
const LATE: &str = "\
left join (
    select distinct e.`key`
    from published e force index (published_held)
    where e.status = 1 and e.due_at > '1970-01-01' and e.due_at <= utc_timestamp(6)
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

/// The statement with the filter in it.
fn statement(filter: &Filter) -> String {
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
    let key = if filter.has_key_rule {
        ruled_key(filter, "p")
    } else {
        "p.`key`".to_owned()
    };
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
    READY
        .replace("{key}", &key)
        .replace("{late}", &late)
        .replace("{conditions}", &conditions)
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
    const DELETE_PUBLISHED: &'static str =
        "delete from published where status = 2 and added <= ? order by added limit ?";
    const DELETE_RECEIVED: &'static str =
        "delete from received where added <= ? order by added limit ?";
    const DELETE_DELIVERIES: &'static str =
        "delete from outbox_deliveries where last_begun <= ? limit ?";
    const BEGIN_AGAIN: &'static str = "\
        insert into outbox_deliveries (msg_id, consumer, begun) values (?, ?, 1)
        on duplicate key update begun = begun + 1, last_begun = utc_timestamp(6)";

    fn now(&mut self) -> QueryResult<DateTime<Utc>> {
        diesel::select(sql::<schema::Utc>(Self::NOW))
            .get_result::<Moment>(self)
            .map(|moment| moment.0)
    }

    fn exclusively<T>(&mut self, work: impl FnOnce(&mut Self) -> QueryResult<T>) -> QueryResult<T> {
        let status = AnsiTransactionManager::transaction_manager_status_mut(self);
        if matches!(status.transaction_depth(), Ok(None)) {
            // For the next transaction only.
            self.batch_execute("set transaction isolation level read committed")?;
        }
        self.transaction(|conn| {
            let locks = diesel::sql_query(LOCK).load::<Lock>(conn)?;
            if locks.iter().any(|lock| lock.is_read_only) {
                diesel::sql_query(WRITE).execute(conn)?;
            }
            if locks.is_empty() {
                let epoch = Moment(DateTime::UNIX_EPOCH);
                diesel::sql_query(Self::INSERT_JOB)
                    .bind::<schema::Utc, _>(epoch)
                    .bind::<Text, _>("claim")
                    .execute(conn)?;
            }
            work(conn)
        })
    }

    fn claim_rows(
        &mut self,
        token: Uuid,
        lease: Duration,
        limit: i64,
        filter: &Filter,
    ) -> QueryResult<Vec<Claimed>> {
        let now = self.now()?;
        let until = now.checked_add_signed(chrono::TimeDelta::from_std(lease).unwrap_or_default());
        let (now, until) = (Moment(now), Moment(until.unwrap_or_else(never)));
        let mut rows: Vec<Claimed> = diesel::sql_query(statement(filter))
            .bind::<schema::Utc, _>(now)
            .bind::<schema::Utc, _>(now)
            .bind::<schema::Utc, _>(now)
            .bind::<BigInt, _>(limit)
            .load(self)?;
        if rows.is_empty() {
            return Ok(rows);
        }
        let ids = || rows.iter().map(|row| Id(row.id)).collect::<Vec<_>>();
        let key = if filter.has_key_rule {
            ruled_key(filter, "published")
        } else {
            "`key`".to_owned()
        };
        let claimed = diesel::update(published::table)
            .filter(published::id.eq_any(ids()))
            // A holder whose lease had ended may have settled it in the meantime.
            .filter(published::status.eq(SCHEDULE))
            .filter(published::due_at.le(now))
            .set((
                published::key.eq(sql::<Nullable<Text>>(&key)),
                published::lease_token.eq(Id(token)),
                published::due_at.eq(until),
            ))
            .execute(self)?;
        if claimed < rows.len() {
            let ours: Vec<Id> = published::table
                .filter(published::id.eq_any(ids()))
                .filter(published::lease_token.eq(Id(token)))
                .select(published::id)
                .load(self)?;
            rows.retain(|row| ours.contains(&Id(row.id)));
        }
        Ok(rows)
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
struct Lock {
    #[diesel(sql_type = Text, column_name = name)]
    _name: String,
    #[diesel(sql_type = Bool)]
    is_read_only: bool,
}

/// What the server keeps of the last error.
#[derive(QueryableByName)]
struct Diagnosed {
    #[diesel(sql_type = Nullable<Unsigned<BigInt>>)]
    number: Option<u64>,
    #[diesel(sql_type = Nullable<Text>)]
    text: Option<String>,
}
