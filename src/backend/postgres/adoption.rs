//! Adoption of tables that django-outbox-pattern 3.1 created on PostgreSQL: they are taken over as they are
//! while Django keeps using them, and can be given back.
//!
//! A run may end after any step, and the next run continues from there. Only the quick
//! steps lock the tables for other sessions: the indexes are built `concurrently`, and the waiting
//! rows are numbered under row locks.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Nullable, Text};

use super::qualify::{qualified, quoted};
use super::{migration_lock, search_path};
use crate::current_schema::current;
use crate::migrations::{ADOPTED, MigrateError, MigrationDialect, outbox_migrations};

/// The maximum wait for the tables; meanwhile all other sessions wait too.
const LOCK_TIMEOUT: &str = "5s";
/// The maximum wait of an index for the transactions that began before it; no other session waits.
const INDEX_TIMEOUT: &str = "10min";

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    n: i64,
}

/// A table in the form in which it may be found.
struct Table {
    name: &'static str,
    django: &'static [(&'static str, &'static str)],
    ours: &'static [(&'static str, &'static str)],
}

const PUBLISHED: Table = Table {
    name: "published",
    django: &[
        ("id", "uuid"),
        ("version", "character varying(100)"),
        ("destination", "character varying(255)"),
        ("body", "jsonb"),
        ("added", "timestamp with time zone"),
        ("expires_at", "timestamp with time zone"),
        ("retry", "integer"),
        ("status", "integer"),
        ("headers", "jsonb"),
    ],
    ours: &[
        ("seq", "bigint"),
        ("stream", "character varying(100)"),
        ("key", "character varying(255)"),
        ("due_at", "timestamp with time zone"),
        ("lease_token", "uuid"),
        ("sent_at", "timestamp with time zone"),
        ("last_error", "text"),
        ("signature", "text"),
    ],
};

const RECEIVED: Table = Table {
    name: "received",
    django: &[
        ("id", "uuid"),
        ("headers", "jsonb"),
        ("body", "jsonb"),
        ("added", "timestamp with time zone"),
        ("expires_at", "timestamp with time zone"),
        ("retry", "integer"),
        ("status", "integer"),
        ("msg_id", "character varying(100)"),
    ],
    ours: &[("consumer", "character varying(100)")],
};

/// The form in which a table was found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Absent,
    Django,
    Ours,
}

#[derive(QueryableByName)]
struct Column {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    kind: String,
    /// Whether every INSERT must name it.
    #[diesel(sql_type = Bool)]
    demanded: bool,
}

const COLUMNS: &str = "\
select attname::text as name, format_type(atttypid, atttypmod) as kind,
    attnotnull and not atthasdef and attidentity = '' as demanded
from pg_attribute
where attrelid = to_regclass($1) and attnum > 0 and not attisdropped";

impl Table {
    fn shape(&self, conn: &mut PgConnection) -> Result<Shape, MigrateError> {
        let columns: Vec<Column> = diesel::sql_query(COLUMNS)
            .bind::<Text, _>(self.name)
            .load(conn)?;
        if columns.is_empty() {
            return Ok(Shape::Absent);
        }
        let foreign = |reason: String| MigrateError::Foreign {
            table: self.name,
            reason,
        };
        let lacks = |(name, kind): &(&str, &str)| {
            let found = columns.iter().find(|column| column.name == *name);
            found.is_none_or(|column| column.kind != *kind)
        };
        let missing = |all: &[(&str, &str)]| -> Vec<String> {
            let missing = all.iter().filter(|column| lacks(column));
            missing
                .map(|(name, kind)| format!("`{name} {kind}`"))
                .collect()
        };
        let of_django = missing(self.django);
        if !of_django.is_empty() {
            return Err(foreign(format!(
                "is not that of django-outbox-pattern 3.1, which has {}: migrate Django to 3.1, or \
                 rename the table",
                of_django.join(", ")
            )));
        }
        let known = |name: &str| {
            let mut all = self.django.iter().chain(self.ours);
            all.any(|(known, _)| *known == name)
        };
        if let Some(column) = columns.iter().find(|c| c.demanded && !known(&c.name)) {
            return Err(foreign(format!(
                "demands a value for `{}`, which this crate does not know: give it a default or \
                 let it take NULL",
                column.name
            )));
        }
        let of_ours = missing(self.ours);
        let has_some = columns
            .iter()
            .any(|column| self.ours.iter().any(|(name, _)| *name == column.name));
        match (of_ours.is_empty(), has_some) {
            (true, _) => Ok(Shape::Ours),
            (false, false) => Ok(Shape::Django),
            (false, true) => Err(foreign(format!(
                "has some of the outbox's columns and lacks {}: rename the others",
                of_ours.join(", ")
            ))),
        }
    }
}

/// Adopts the tables that exist. Returns false if there are none.
pub(super) fn adopt(conn: &mut PgConnection) -> Result<bool, MigrateError> {
    let shapes = conn.checked(|conn| Ok((PUBLISHED.shape(conn)?, RECEIVED.shape(conn)?)))?;
    match shapes {
        (Shape::Absent, Shape::Absent) => return Ok(false),
        (Shape::Django, Shape::Django) => add_columns(conn)?,
        (Shape::Ours, Shape::Ours) => {}
        (found, Shape::Absent) if found != Shape::Absent => {
            return Err(MigrateError::Foreign {
                table: PUBLISHED.name,
                reason: "`received` is not: make it with Django's migrations, or rename this one"
                    .to_owned(),
            });
        }
        _ => {
            return Err(MigrateError::Foreign {
                table: RECEIVED.name,
                reason: "does not go with `published`: rename it".to_owned(),
            });
        }
    }
    conn.checked(|conn| Ok(number_waiting(conn)?))?;
    build_index(
        conn,
        "published_waiting",
        "index published_waiting on published (seq) where status = 1",
    )?;
    build_index(
        conn,
        "published_parked",
        "index published_parked on published (seq) where status = -1",
    )?;
    build_index(
        conn,
        "published_held",
        "index published_held on published (key, due_at, seq)
         where status <> 2 and key is not null",
    )?;
    build_index(
        conn,
        "published_settled",
        "index published_settled on published (added) where status = 2",
    )?;
    build_index(
        conn,
        "received_added",
        "index received_added on received (added)",
    )?;
    build_index(
        conn,
        "received_once",
        "unique index received_once on received (msg_id, consumer)",
    )?;
    replace_unique(conn)?;
    Ok(true)
}

const ADD_COLUMNS: &str = "\
alter table published
    alter headers set default '{}',
    alter added set default now(),
    alter expires_at set default '9000-01-01T00:00:00Z',
    alter retry set default 0,
    alter status set default 1,
    add seq bigint not null default 0,
    add stream varchar(100),
    add key varchar(255),
    add due_at timestamptz not null default 'epoch',
    add lease_token uuid,
    add sent_at timestamptz,
    add last_error text,
    add signature text;
alter table published alter seq drop default;
alter table received
    alter added set default now(),
    alter expires_at set default '9000-01-01T00:00:00Z',
    alter retry set default 0,
    alter status set default 2,
    add consumer varchar(100) not null default '';
create table if not exists outbox_jobs (
    name  varchar(100) primary key,
    begun timestamptz not null
)";

/// Adds the columns that Django does not have, with defaults that need no rewrite: this takes milliseconds.
fn add_columns(conn: &mut PgConnection) -> Result<(), MigrateError> {
    briefly_locked(conn, |conn| {
        conn.batch_execute(ADD_COLUMNS)?;
        // Rows that wait are numbered later, and come before those that are written in the meantime.
        let waiting = count(
            conn,
            "select count(*) as n from published where status in (-1, 1)",
        )?;
        conn.batch_execute(&format!(
            "alter table published alter seq add generated by default as identity (start with {})",
            waiting + 1
        ))?;
        diesel::insert_into(outbox_migrations::table)
            .values(outbox_migrations::version.eq(ADOPTED))
            .on_conflict_do_nothing()
            .execute(conn)?;
        Ok(())
    })
}

/// Numbers the rows that wait by the time at which they were written. Rows that were sent keep
/// 0, because their order no longer matters.
fn number_waiting(conn: &mut PgConnection) -> QueryResult<()> {
    conn.batch_execute(
        "update published p set seq = o.n
         from (select id, row_number() over (order by added, id) as n
               from published where status in (-1, 1) and seq = 0) o
         where p.id = o.id and p.seq = 0",
    )
}

/// Builds an index without blocking writers. A build that was interrupted leaves an invalid index.
fn build_index(conn: &mut PgConnection, name: &str, definition: &str) -> Result<(), MigrateError> {
    let invalid = format!(
        "select count(*) as n from pg_index where indexrelid = to_regclass('{name}') and not indisvalid"
    );
    let (invalid, schema) = conn.checked(|conn| {
        // A setting of the session: the build must not be part of a transaction.
        conn.batch_execute(&format!("set lock_timeout = '{INDEX_TIMEOUT}'"))?;
        Ok((count(conn, &invalid)?, current().unwrap_or_default()))
    })?;
    let create = definition.replacen("index ", "index concurrently if not exists ", 1);
    let create = qualified(&format!("create {create}"), &schema);
    let drop = format!("drop index concurrently {}.{name}", quoted(&schema, '"'));
    let built = match invalid {
        0 => Ok(()),
        _ => conn.batch_execute(&drop),
    };
    let built = built.and_then(|()| conn.batch_execute(&create));
    let reset =
        migration_lock::in_its_session(conn, |conn| conn.batch_execute("reset lock_timeout"));
    built.map_err(|error| busy_or_refused(error, INDEX_TIMEOUT))?;
    reset
}

#[derive(QueryableByName)]
struct Constraint {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Nullable<Text>)]
    comment: Option<String>,
}

const CONSTRAINTS: &str = "\
select conname::text as name, obj_description(oid, 'pg_constraint') as comment
from pg_constraint
where conrelid = to_regclass('received') and contype = 'u'
order by conname";

fn constraints(conn: &mut PgConnection) -> QueryResult<Vec<Constraint>> {
    diesel::sql_query(CONSTRAINTS).load(conn)
}

/// Replaces Django's unique constraint by ours and records the name of Django's.
fn replace_unique(conn: &mut PgConnection) -> Result<(), MigrateError> {
    let found = conn.checked(|conn| Ok(constraints(conn)?))?;
    if found
        .iter()
        .any(|constraint| constraint.name == "received_once")
    {
        return Ok(());
    }
    let theirs = found.first().map(|constraint| constraint.name.as_str());
    briefly_locked(conn, |conn| {
        conn.batch_execute(
            "alter table received add constraint received_once unique using index received_once",
        )?;
        if let Some(theirs) = theirs {
            conn.batch_execute(&format!(
                "alter table received drop constraint {};
                 comment on constraint received_once on received is {}",
                quoted(theirs, '"'),
                quoted(theirs, '\'')
            ))?;
        }
        Ok(())
    })
}

const RESTORE: &str = "\
drop trigger if exists outbox_wake on published;
drop table if exists outbox_calls;
drop function if exists outbox_wake();
drop index if exists published_settled;
drop index if exists received_added;
alter table published
    drop seq, drop stream, drop key, drop due_at, drop lease_token, drop sent_at,
    drop last_error, drop signature,
    alter headers drop default, alter added drop default, alter expires_at drop default,
    alter retry drop default, alter status drop default;
alter table received
    drop constraint received_once,
    drop consumer,
    alter added drop default, alter expires_at drop default, alter retry drop default,
    alter status drop default;
drop table outbox_jobs;
drop table outbox_streams;
drop table outbox_deliveries;
drop table if exists outbox_trail;
drop table outbox_migrations";

/// Conditions that prevent giving the tables back, each with its reason.
const OBSTACLES: [(&str, &str); 3] = [
    (
        "select count(*) as n from received where consumer <> ''",
        "messages were received under the name of a consumer, which Django's table cannot \
         distinguish: delete those rows first",
    ),
    (
        "select count(*) as n from published where status = 1 and lease_token is not null
         and due_at > clock_timestamp()",
        "rows are leased by a relay: stop every `publish` of this crate first",
    ),
    (
        "select count(*) as n from published where status = 1
         and (key is not null or stream is not null)",
        "waiting rows have an ordering key or a stream, which Django would ignore: let `publish` \
         send them first",
    ),
];

/// Restores the former shape of the tables, with all their rows. Function calls, for which Django has no table, are
/// deleted if `is_forced` is set.
pub(super) fn restore(conn: &mut PgConnection, is_forced: bool) -> Result<(), MigrateError> {
    let check_restorable = |conn: &mut PgConnection| -> Result<(), MigrateError> {
        if !is_forced && conn.has_table("outbox_calls")? {
            let calls = count(
                conn,
                "select count(*) as n from outbox_calls where status <> 2",
            )?;
            if calls > 0 {
                return Err(MigrateError::NotRestorable(format!(
                    "{calls} function calls wait or are parked, and would be deleted: execute them first, or \
                     force it (`--force`)"
                )));
            }
        }
        for (question, reason) in OBSTACLES {
            let rows = count(conn, question)?;
            if rows > 0 {
                return Err(MigrateError::NotRestorable(format!("{rows} {reason}")));
            }
        }
        Ok(())
    };
    let ours = conn.checked(|conn| {
        check_restorable(conn)?;
        Ok(constraints(conn)?)
    })?;
    let ours = ours.iter().find(|found| found.name == "received_once");
    let theirs = ours.and_then(|found| found.comment.clone());
    if let Some(theirs) = &theirs {
        let name = quoted(theirs, '"');
        let definition = format!("unique index {name} on received (msg_id)");
        build_index(conn, &name, &definition)?;
    }
    briefly_locked(conn, |conn| {
        // No other session writes now; the count may have changed since the first check.
        check_restorable(conn)?;
        conn.batch_execute(RESTORE)?;
        if let Some(theirs) = &theirs {
            let name = quoted(theirs, '"');
            conn.batch_execute(&format!(
                "alter table received add constraint {name} unique using index {name}"
            ))?;
        }
        Ok(())
    })
}

/// Runs quick work while no other session uses the tables of messages and calls.
pub(super) fn briefly_locked<T>(
    conn: &mut PgConnection,
    work: impl FnOnce(&mut PgConnection) -> Result<T, MigrateError>,
) -> Result<T, MigrateError> {
    // Older tables have no calls. Not in the transaction below, which must lock before its first snapshot.
    let has_calls = search_path::alone(conn, |conn| Ok(conn.has_table("outbox_calls")?))?;
    let calls = if has_calls { ", outbox_calls" } else { "" };
    search_path::alone(conn, |conn| {
        // All tables at once, so that it never waits for one while others wait for another. Before the first
        // snapshot, so that it sees what was committed meanwhile at each isolation level.
        conn.batch_execute(&format!(
            "set local lock_timeout = '{LOCK_TIMEOUT}';
             lock table published, received{calls} in access exclusive mode"
        ))
        .map_err(|error| busy_or_refused(error, LOCK_TIMEOUT))?;
        migration_lock::check(conn)?;
        work(conn)
    })
}

fn busy_or_refused(error: diesel::result::Error, waited: &'static str) -> MigrateError {
    if error.to_string().contains("lock timeout") {
        return MigrateError::Busy {
            waited,
            source: error,
        };
    }
    error.into()
}

fn count(conn: &mut PgConnection, question: &str) -> QueryResult<i64> {
    diesel::sql_query(question)
        .get_result::<Count>(conn)
        .map(|count| count.n)
}
