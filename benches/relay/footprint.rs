//! The relay's memory while draining and its processor time while idle.

use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_outbox::migrations::Migrate;
use tokio::runtime::Runtime;

use crate::Size;
use crate::broker::Broker;
use crate::outbox::Outbox;
use crate::program::Program;
use crate::queue::Queue;
use crate::report::{Goal, Report};

/// How many rows are drained to measure memory, as a multiple of a round's rows.
const TIMES: i64 = 20;
const REST: Duration = Duration::from_secs(30);

pub(crate) fn measure(size: Size, report: &mut Report) {
    let rows = size.rows * TIMES;
    let runtime = Runtime::new().unwrap();
    let broker = Broker::usual();
    let queue = Queue::new(&broker, &runtime);
    let mut outbox = Outbox::new();
    outbox.fill(&queue.destination(), rows, "null::varchar");
    let peak = Program::start(&outbox.database.url, &broker, &["--once"]).peak_memory();
    assert_eq!(outbox.waiting(), 0);
    queue.delete(&runtime);
    #[allow(clippy::cast_precision_loss)] // a figure for people
    let mebibytes = peak as f64 / 1024.0 / 1024.0;
    let what = format!("memory: draining {rows} rows, peak of the process");
    report.add(
        &what,
        format!("{mebibytes:.1} MiB"),
        mebibytes,
        Goal::AtMost(32.0),
    );

    outbox
        .conn
        .batch_execute("alter table published enable trigger outbox_wake")
        .unwrap();
    idle("PostgreSQL", &outbox.database.url, report);
    let mysql = crate::support::mysql::<diesel::MysqlConnection>().unwrap();
    MysqlConnection::establish(&mysql.url)
        .unwrap()
        .migrate()
        .unwrap();
    idle("MariaDB", &mysql.url, report);
    let sqlite = crate::support::sqlite::<diesel::SqliteConnection>();
    SqliteConnection::establish(&sqlite.url)
        .unwrap()
        .migrate()
        .unwrap();
    idle("SQLite", &sqlite.url, report);
}

fn idle(name: &str, database: &str, report: &mut Report) {
    let program = Program::start(database, &Broker::usual(), &[]);
    std::thread::sleep(Duration::from_secs(3));
    let before = program.ticks();
    std::thread::sleep(REST);
    #[allow(clippy::cast_precision_loss)] // a figure for people
    let ticks = (program.ticks() - before) as f64;
    program.stop();
    let percent = ticks / REST.as_secs_f64();
    let what = format!("processor: {name}, an idle process");
    report.add(
        &what,
        format!("{percent:.2} % of a core"),
        percent,
        Goal::AtMost(0.5),
    );
}
