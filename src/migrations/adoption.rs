//! Tables that django-outbox-pattern 3.1 has made on PostgreSQL: taken over as they are, while
//! Django goes on with them, and given back.
//!
//! Each step may be the last of a run, and the next run goes on from there. Nothing but the quick
//! steps keeps anybody from the tables: the indexes are built `concurrently`, and the rows that
//! wait are numbered under row locks.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Nullable, Text};

use super::{ADOPTED, Count, MigrateError, outbox_migrations};
use crate::backend::quoted;

/// Longest wait for the tables; until then everybody else waits too.
const LOCK_TIMEOUT: &str = "5s";
/// Longest wait of an index for the transactions that began before it; nobody else waits.
const INDEX_TIMEOUT: &str = "10min";

/// A table as it may be found.
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

/// What a table turned out to be.
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
    /// Whether every INSERT has to name it.
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

/// Takes over the tables that are there. False where there are none.
pub(super) fn adopt(conn: &mut PgConnection) -> Result<bool, MigrateError> {
    let shapes = (PUBLISHED.shape(conn)?, RECEIVED.shape(conn)?);
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
    number_waiting(conn)?;
    build_index(
        conn,
        "published_waiting",
        "index published_waiting on published (seq) where status = 1",
    )?;
    build_index(
        conn,
        "published_held",
        "index published_held on published (key, due_at, seq)
         where status <> 2 and key is not null",
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

/// Adds what Django does not know, with defaults that need no rewrite: milliseconds.
fn add_columns(conn: &mut PgConnection) -> Result<(), MigrateError> {
    briefly_locked(conn, |conn| {
        conn.batch_execute(ADD_COLUMNS)?;
        // Those that wait are numbered later, and come before those that are written meanwhile.
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

/// Gives the rows that wait their places by the time they were written. Rows that were sent keep
/// 0: nobody asks for their order.
fn number_waiting(conn: &mut PgConnection) -> QueryResult<()> {
    conn.batch_execute(
        "update published p set seq = o.n
         from (select id, row_number() over (order by added, id) as n
               from published where status in (-1, 1) and seq = 0) o
         where p.id = o.id and p.seq = 0",
    )
}

/// Builds an index while everybody goes on. A build that was broken off leaves an invalid one.
fn build_index(conn: &mut PgConnection, name: &str, definition: &str) -> Result<(), MigrateError> {
    let invalid = format!(
        "select count(*) as n from pg_index where indexrelid = to_regclass('{name}') and not indisvalid"
    );
    let create = definition.replacen("index ", "index concurrently if not exists ", 1);
    // A session's setting: such a build may not be part of a transaction.
    conn.batch_execute(&format!("set lock_timeout = '{INDEX_TIMEOUT}'"))?;
    let built = count(conn, &invalid).and_then(|invalid| {
        if invalid > 0 {
            conn.batch_execute(&format!("drop index concurrently {name}"))?;
        }
        conn.batch_execute(&format!("create {create}"))
    });
    conn.batch_execute("reset lock_timeout")?;
    built.map_err(|error| busy_or_refused(error, INDEX_TIMEOUT))
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

/// Puts our uniqueness in the place of Django's, whose name it remembers.
fn replace_unique(conn: &mut PgConnection) -> Result<(), MigrateError> {
    let found = constraints(conn)?;
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
drop function if exists outbox_wake();
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
drop table outbox_migrations";

/// What stands in the way of giving the tables back, each with its reason.
const HINDRANCES: [(&str, &str); 3] = [
    (
        "select count(*) as n from received where consumer <> ''",
        "messages were received under the name of a consumer, which Django's table cannot tell \
         apart: delete those rows first",
    ),
    (
        "select count(*) as n from published where status = 1 and lease_token is not null
         and due_at > clock_timestamp()",
        "rows are held by a relay: stop every `publish` of this crate first",
    ),
    (
        "select count(*) as n from published where status = 1
         and (key is not null or stream is not null)",
        "waiting rows have an ordering key or a stream, which Django would not heed: let `publish` \
         send them first",
    ),
];

/// Gives the tables their former shape back, with all the rows in them.
pub(super) fn restore(conn: &mut PgConnection) -> Result<(), MigrateError> {
    let hinder = |conn: &mut PgConnection| -> Result<(), MigrateError> {
        for (question, reason) in HINDRANCES {
            let rows = count(conn, question)?;
            if rows > 0 {
                return Err(MigrateError::NotRestorable(format!("{rows} {reason}")));
            }
        }
        Ok(())
    };
    hinder(conn)?;
    let ours = constraints(conn)?;
    let ours = ours.iter().find(|found| found.name == "received_once");
    let theirs = ours.and_then(|found| found.comment.clone());
    if let Some(theirs) = &theirs {
        let name = quoted(theirs, '"');
        let definition = format!("unique index {name} on received (msg_id)");
        build_index(conn, &name, &definition)?;
    }
    briefly_locked(conn, |conn| {
        // Nobody writes any more; it may have changed meanwhile.
        hinder(conn)?;
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

/// Runs quick work while nobody else is at the two tables.
pub(super) fn briefly_locked<T>(
    conn: &mut PgConnection,
    work: impl FnOnce(&mut PgConnection) -> Result<T, MigrateError>,
) -> Result<T, MigrateError> {
    conn.transaction(|conn| {
        // Both at once, so that it never waits while others wait for it.
        conn.batch_execute(&format!(
            "set local lock_timeout = '{LOCK_TIMEOUT}';
             lock table published, received in access exclusive mode"
        ))
        .map_err(|error| busy_or_refused(error, LOCK_TIMEOUT))?;
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
