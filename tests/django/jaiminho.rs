//! With django-jaiminho itself: its settings against our table of them, and the way from its table to ours.

use std::process::Command;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_outbox::calls::{Calls, Executor};
use diesel_outbox::config::Config;
use diesel_outbox::migrations::Migrate;
use diesel_outbox::{BoxError, Shutdown, outboxed};

use crate::service::run_in;
use crate::support;
use crate::world::World;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/from-django-jaiminho.md");
const PROJECT: &str = "jaiminho_project";

/// A Python that has django-jaiminho; `None` where it is left out.
fn python() -> Option<String> {
    let python = support::server("OUTBOX_TEST_DJANGO", "django-jaiminho")?;
    let import = Command::new(&python)
        .args(["-c", "import jaiminho"])
        .status();
    let is_there = import.is_ok_and(|status| status.success());
    let required = std::env::var_os("OUTBOX_TEST_REQUIRE_ALL").is_some();
    assert!(
        is_there || !required,
        "{python} has no django-jaiminho; run `make test`"
    );
    is_there.then_some(python)
}

/// The first two cells of each row of the table of settings.
fn documented() -> Vec<(String, String)> {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (_, section) = page.split_once("\n## The settings\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cell = |number: usize| {
            let cell = row.split('|').nth(number).unwrap().trim();
            cell.trim_matches('`').to_owned()
        };
        (cell(1), cell(2))
    })
    .collect()
}

#[test]
fn no_setting_of_jaiminho_is_missing() {
    const NOT_READ: &str = "not read";
    let Some(python) = python() else { return };
    // The names that its module reads, with their defaults, and those that its documentation lists.
    let script = "\
import re
from importlib.metadata import metadata
from django.conf import settings

class Noted(dict):
    def get(self, name, default=None):
        if callable(default):
            text = f'{default.__module__}.{default.__qualname__}'
        else:
            text = default if isinstance(default, str) else repr(default).replace('datetime.', '')
        print('read', name, text, sep='\\t')
        return super().get(name, default)

settings.configure(JAIMINHO_CONFIG=Noted())
from jaiminho import settings
description = metadata('django-jaiminho').get_payload()
for name in re.findall(r'^- `([A-Z_]+)` - ', description, re.M):
    print('listed', name, '', sep='\\t')";
    let output = Command::new(python).args(["-c", script]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Vec<&str>> = printed
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();

    let documented = documented();
    let of = |kind: &'static str| {
        lines
            .iter()
            .filter(move |line| line[0] == kind)
            .map(|line| (line[1].to_owned(), line[2].to_owned()))
    };
    let mut read: Vec<(String, String)> = of("read").collect();
    let mut ours: Vec<(String, String)> = documented
        .iter()
        .filter(|(_, default)| default != NOT_READ)
        .cloned()
        .collect();
    read.sort();
    ours.sort();
    assert_eq!(ours, read);
    let listed: Vec<String> = of("listed").map(|(name, _)| name).collect();
    assert!(listed.len() > 3, "{printed}");
    for name in listed {
        assert!(documented.iter().any(|(known, _)| *known == name), "{name}");
    }
}

#[outboxed(name = "shop.charge", stream = "bills", ordered)]
fn charge(conn: &mut PgConnection, order: i64, email: &str) -> Result<(), BoxError> {
    let _ = email;
    diesel::sql_query("insert into effects (order_id, by) values ($1, 'rust')")
        .bind::<diesel::sql_types::BigInt, _>(order)
        .execute(conn)?;
    Ok(())
}

#[derive(Debug, PartialEq, QueryableByName)]
struct Effect {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    order_id: i64,
    #[diesel(sql_type = diesel::sql_types::Text)]
    by: String,
}

#[test]
fn the_way_across() {
    let Some(python) = python() else { return };
    let Some(world) = World::bare() else { return };
    let run = |arguments: &[&str]| run_in(PROJECT, &world, &python, arguments);
    run(&["-m", "django", "migrate"]);
    let conn = &mut world.connect();
    conn.batch_execute(
        "create table effects (id bigserial, order_id bigint not null, by text not null)",
    )
    .unwrap();
    run(&["service.py", "write_events", "1", "5"]);
    conn.migrate().unwrap();
    run(&["service.py", "write_calls", "6", "8"]);
    // What the page says about its command.
    run(&["service.py", "relay"]);
    run(&["service.py", "drain"]);
    // The last ones are written from Rust, with the key that Django has written.
    charge::later(conn, 9, "ann@example.org").unwrap();

    let config = Config::builder()
        .set("database_url", world.database.url.as_str())
        .build()
        .unwrap();
    let calls = Calls::<PgConnection>::new().add::<charge>();
    let executor = Executor::new(&config, calls).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stats = runtime
        .block_on(executor.run_once(&Shutdown::new()))
        .unwrap();
    assert_eq!((stats.executed, stats.failed, stats.parked), (4, 0, 0));

    let keys = "select count(distinct key) as order_id, min(key) as by from outbox_calls";
    let keys: Vec<Effect> = diesel::sql_query(keys).load(conn).unwrap();
    let one_key = Effect {
        order_id: 1,
        by: "stream:bills".to_owned(),
    };
    assert_eq!(keys, [one_key]);
    let effects = "select order_id, by from effects order by id";
    let effects: Vec<Effect> = diesel::sql_query(effects).load(conn).unwrap();
    let expected: Vec<Effect> = (1..=9)
        .map(|order_id| Effect {
            order_id,
            by: if order_id <= 5 { "django" } else { "rust" }.to_owned(),
        })
        .collect();
    assert_eq!(effects, expected);
    let left = "select count(*) as order_id, '' as by from jaiminho_event where sent_at is null";
    let left: Vec<Effect> = diesel::sql_query(left).load(conn).unwrap();
    assert_eq!(left[0].order_id, 0);
}
