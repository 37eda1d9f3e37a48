//! Django's tables taken over, and given back.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel_outbox::migrations::{Migrate, MigrateError};

use crate::listener::Listener;
use crate::program::Program;
use crate::service::{run, start, world};
use crate::world::World;

const OUTBOX: &str = env!("CARGO_BIN_EXE_outbox");
const PUBLISH: &str = env!("CARGO_BIN_EXE_publish");

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

fn number(world: &World, question: &str) -> i64 {
    let number: Number = diesel::sql_query(question)
        .get_result(&mut world.connect())
        .unwrap();
    number.n
}

/// Everything about the two tables: columns, defaults, constraints, indexes.
fn shape(world: &World) -> Vec<String> {
    shape_in(world, "public")
}

/// Of the tables in this schema.
fn shape_in(world: &World, schema: &str) -> Vec<String> {
    let tables = format!("('{schema}.published'::regclass, '{schema}.received'::regclass)");
    let lines: Vec<Line> = diesel::sql_query(format!(
        "select concat_ws(' ', attrelid::regclass, attname, format_type(atttypid, atttypmod),
             attnotnull, attidentity, pg_get_expr(adbin, adrelid)) as line
         from pg_attribute left join pg_attrdef on adrelid = attrelid and adnum = attnum
         where attrelid in {tables} and attnum > 0
             and not attisdropped
         union all
         select concat_ws(' ', conrelid::regclass, conname, pg_get_constraintdef(oid))
         from pg_constraint where conrelid in {tables}
         union all
         select concat_ws(' ', tablename, indexdef)
         from pg_indexes where schemaname = '{schema}' and tablename in ('published', 'received')
         union all
         select concat_ws(' ', 'table', relname) from pg_class
         where relkind = 'r' and relnamespace = '{schema}'::regnamespace
         order by line"
    ))
    .load(&mut world.connect())
    .unwrap();
    lines.into_iter().map(|line| line.line).collect()
}

fn outbox(world: &World, arguments: &[&str]) {
    let mut program = Program::start(world, OUTBOX, arguments);
    assert!(program.ended().success(), "{:#?}", program.lines());
}

fn publish(world: &World) {
    let mut program = Program::start(world, PUBLISH, &["--once"]);
    assert!(program.ended().success(), "{:#?}", program.lines());
}

#[test]
fn while_django_goes_on_writing() {
    let Some((world, python)) = world() else {
        return;
    };
    let topic = world.topic();
    let listener = Listener::new(&world);
    run(
        &world,
        &python,
        &["service.py", "write_every_status", &topic, "300"],
    );
    let before = shape(&world);

    let mut writer = start(&world, &python, &["service.py", "write_until_told", &topic]);
    writer.wait_for_line("writing");
    outbox(&world, &["migrate"]);
    outbox(&world, &["migrate"]);
    writer.close_input();
    let line = writer.wait_for_line("wrote ");
    let written: i64 = line.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(writer.ended().success());

    let counts = world.counts();
    assert_eq!(
        (counts.waiting, counts.parked, counts.sent),
        (100 + written, 100, 100)
    );
    assert_eq!(counts.received, 300);
    let disorder = "select count(*) as n from (
        select seq, lag(seq) over (order by added, id) as earlier from published where status = 1
    ) rows where seq <= earlier";
    assert_eq!(
        number(&world, disorder),
        0,
        "waiting rows are numbered by their time"
    );

    let built = "select count(*) as n from pg_indexes
        where indexname in ('published_settled', 'received_added')";
    assert_eq!(number(&world, built), 2, "those of the clean-up");

    publish(&world);
    listener.wait_for(usize::try_from(100 + written).unwrap());
    assert_eq!(world.counts().sent, 200 + written);
    assert_eq!(world.counts().parked, 100, "what had failed is still there");

    outbox(&world, &["migrate", "--revert"]);
    assert_eq!(shape(&world), before);
    assert_eq!(
        number(&world, "select count(*) as n from published"),
        300 + written
    );
    run(&world, &python, &["service.py", "write", &topic, "1"]);
}

#[test]
fn what_stands_in_the_way_of_a_return_is_said() {
    let Some((world, _)) = world() else { return };
    let conn = &mut world.connect();
    conn.migrate().unwrap();
    let refused = |conn: &mut PgConnection, row: &str, reason: &str| {
        conn.batch_execute(row).unwrap();
        let error = conn.revert().unwrap_err();
        assert!(matches!(error, MigrateError::NotRestorable(_)), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
        conn.batch_execute("delete from published; delete from received; delete from outbox_calls")
            .unwrap();
    };
    let row = "insert into published (id, destination, body";
    refused(
        conn,
        "insert into received (id, msg_id, consumer) values (gen_random_uuid(), 'm', 'audit')",
        "under the name of a consumer",
    );
    refused(
        conn,
        &format!("{row}, key) values (gen_random_uuid(), '/queue/a', '{{}}', 'k')"),
        "ordering key",
    );
    refused(
        conn,
        &format!(
            "{row}, lease_token, due_at) values (gen_random_uuid(), '/queue/a', '{{}}',
             gen_random_uuid(), now() + interval '1 minute')"
        ),
        "stop every `publish`",
    );
    let call = "insert into outbox_calls (id, name, args) values (gen_random_uuid(), 'f', '{}')";
    refused(conn, call, "1 function calls wait or are parked");
    assert!(conn.revert().unwrap().len() >= 2);
    assert!(conn.migrate().unwrap().len() >= 2, "and once more");
    conn.batch_execute(call).unwrap();
    assert!(conn.force_revert().unwrap().len() >= 2);
    assert!(conn.migrate().unwrap().len() >= 2);
}

#[test]
fn what_is_neither_djangos_nor_ours_is_refused() {
    let Some((world, _)) = world() else { return };
    let conn = &mut world.connect();
    for (change, back, reason) in [
        (
            "alter table published drop headers",
            "alter table published add headers jsonb not null",
            "`headers jsonb`: migrate Django to 3.1",
        ),
        (
            "alter table published alter destination type text",
            "alter table published alter destination type varchar(255)",
            "`destination character varying(255)`",
        ),
        (
            "alter table published add tenant int not null",
            "alter table published drop tenant",
            "demands a value for `tenant`",
        ),
        (
            "alter table published add seq bigint",
            "alter table published drop seq",
            "lacks `stream character varying(100)`",
        ),
        (
            "alter table received rename to others",
            "alter table others rename to received",
            "`received` is not",
        ),
    ] {
        conn.batch_execute(change).unwrap();
        let before = number(&world, "select count(*) as n from pg_attribute");
        let error = conn.migrate().unwrap_err();
        assert!(matches!(error, MigrateError::Foreign { .. }), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
        let after = number(&world, "select count(*) as n from pg_attribute");
        assert_eq!(before, after, "nothing was changed");
        conn.batch_execute(back).unwrap();
    }
}

#[test]
fn a_step_that_was_broken_off_is_made_again() {
    let Some((world, _)) = world() else { return };
    let conn = &mut world.connect();
    // As an index that was being built when its process was killed.
    conn.batch_execute(
        "insert into received (id, msg_id, added, expires_at, retry, status)
         values (gen_random_uuid(), 'm', now(), now(), 0, 2)",
    )
    .unwrap();
    conn.migrate().unwrap();
    conn.batch_execute(
        "delete from outbox_migrations where version <> 'adopted';
         drop table outbox_streams;
         drop table outbox_deliveries;
         drop table outbox_calls;
         drop table outbox_trail;
         drop trigger outbox_wake on published;
         drop function outbox_wake();
         update pg_index set indisvalid = false where indexrelid = 'published_waiting'::regclass",
    )
    .unwrap();
    assert!(conn.migrate().unwrap().len() >= 2);
    let invalid = "select count(*) as n from pg_index where not indisvalid";
    assert_eq!(number(&world, invalid), 0);
    assert!(conn.revert().unwrap().len() >= 2);
}

#[test]
fn tables_in_use_are_not_waited_for_long() {
    let Some((world, _)) = world() else { return };
    let mut other = world.connect();
    other
        .batch_execute("begin; lock table published in row exclusive mode")
        .unwrap();
    let error = world.connect().migrate().unwrap_err();
    assert!(matches!(error, MigrateError::Busy { .. }), "{error}");
    assert!(error.to_string().contains("run it again"), "{error}");
    other.batch_execute("rollback").unwrap();
    world.connect().migrate().unwrap();
}

/// Two Django services in one database: the tables of the one in `tenant` are adopted, in a session
/// whose search path goes on to those of the other.
#[test]
fn tables_in_a_schema_of_their_own() {
    let Some((world, python)) = world() else {
        return;
    };
    let mut conn = world.connect();
    conn.batch_execute(
        "create schema tenant;
         create table tenant.published (like public.published including all);
         create table tenant.received (like public.received including all)",
    )
    .unwrap();
    let topic = world.topic();
    run(
        &world,
        &python,
        &["service.py", "write_every_status", &topic, "30"],
    );
    conn.batch_execute(
        "insert into tenant.published select * from public.published;
         insert into tenant.received select * from public.received",
    )
    .unwrap();
    let before = (shape(&world), shape_in(&world, "tenant"));
    let with_path = format!(
        "{}?options=-csearch_path%3Dtenant,public",
        world.database.url
    );
    let mut ours = PgConnection::establish(&with_path).unwrap();
    assert_eq!(ours.migrate().unwrap().len(), 8);
    assert_eq!(shape(&world), before.0, "the other's are as they were");
    let waiting = "select count(*) as n from tenant.published where status in (-1, 1) and seq > 0";
    assert_eq!(number(&world, waiting), 20);

    let listener = Listener::new(&world);
    let arguments = ["--once", "--database-schema", "tenant"];
    let mut program = Program::start(&world, PUBLISH, &arguments);
    assert!(program.ended().success(), "{:#?}", program.lines());
    listener.wait_for(10);
    let sent = |schema: &str| {
        let sent = format!("select count(*) as n from {schema}.published where status = 2");
        number(&world, &sent)
    };
    assert_eq!((sent("tenant"), sent("public")), (20, 10));

    outbox(
        &world,
        &["--database-schema", "tenant", "migrate", "--revert"],
    );
    assert_eq!((shape(&world), shape_in(&world, "tenant")), before);
}
