//! Checks of the database. The broker is one inside the test.

use diesel_outbox::backend::Backend;
use diesel_outbox::migrations::Migrate;
use diesel_outbox::testing::LoopbackBroker;

use super::Doctor;
use crate::support::{self, TestDatabase};

fn open<C: Backend + Migrate>(database: &TestDatabase) -> C {
    let mut conn = C::establish(&database.url).unwrap();
    conn.migrate().unwrap();
    conn
}

fn a_healthy_deployment_is_all_ok<C: Backend + Migrate>(database: &TestDatabase) {
    let broker = LoopbackBroker::start().unwrap();
    open::<C>(database);
    let url = broker.url();
    let doctor = Doctor::of(&database.url, &url).with(&["--strict"]);
    doctor
        .run()
        .only(&[])
        .has(
            "database.connection",
            "ok",
            C::NAME.split('/').next_back().unwrap(),
        )
        .has("database.migrations", "ok", "were run")
        .has("database.indexes", "ok", "all ")
        .has("database.rights", "ok", "7 tables")
        .has("database.writable", "ok", "takes writes")
        .has(
            "broker.heartbeats",
            "ok",
            "we send every 10s, the broker every 10s",
        );
    let (code, out, err) = doctor.output(&[]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(
        out.starts_with("ok       settings: all values are allowed\n"),
        "{out}"
    );
    assert!(out.ends_with(" checks: 0 errors, 0 warnings\n"), "{out}");
}

fn tables_that_are_missing_or_old_are_named<C: Backend + Migrate>(database: &TestDatabase) {
    let broker = LoopbackBroker::start().unwrap();
    let url = broker.url();
    let doctor = Doctor::of(&database.url, &url);
    doctor
        .run()
        .only(&["database.tables"])
        .has("database.tables", "error", "run `outbox migrate`");
    let mut conn = open::<C>(database);
    // Nothing was created by the first run.
    let last = C::SCRIPTS
        .last()
        .unwrap()
        .name
        .split('_')
        .next()
        .unwrap()
        .replace('-', "");
    let forget = format!("delete from outbox_migrations where version = '{last}'");
    conn.batch_execute(&forget).unwrap();
    doctor.run().only(&["database.migrations"]).has(
        "database.migrations",
        "error",
        &format!("not run yet: {last}"),
    );
    conn.batch_execute(&format!(
        "insert into outbox_migrations (version) values ('{last}'), ('29990101000001')"
    ))
    .unwrap();
    doctor.run().only(&["database.migrations"]).has(
        "database.migrations",
        "warning",
        "later version of the outbox than this program: 2999",
    );
    conn.batch_execute("drop table outbox_streams").unwrap();
    doctor
        .run()
        .has("database.tables", "error", "missing: outbox_streams");
}

/// The advice is a statement that creates the index.
fn an_index_that_is_missing_is_created_by_the_advice<C: Backend + Migrate>(
    database: &TestDatabase,
) {
    let broker = LoopbackBroker::start().unwrap();
    let url = broker.url();
    let doctor = Doctor::of(&database.url, &url);
    let mut conn = open::<C>(database);
    let on_table = if C::NAME == "MySQL/MariaDB" {
        " on published"
    } else {
        ""
    };
    let mut check_index = |name: &str, instead: Option<&str>| {
        conn.batch_execute(&format!("drop index {name}{on_table}"))
            .unwrap();
        if let Some(statement) = instead {
            conn.batch_execute(statement).unwrap();
        }
        let report = doctor.run();
        report.only(&["database.indexes"]);
        let check = report
            .checks()
            .iter()
            .find(|check| check["verdict"] != "ok")
            .unwrap();
        assert_eq!(check["subject"], name);
        if instead.is_some() {
            report.has("database.indexes", "warning", "instead of (");
            conn.batch_execute(&format!("drop index {name}{on_table}"))
                .unwrap();
        } else {
            report.has(
                "database.indexes",
                "error",
                "missing: statements read the whole table",
            );
        }
        let advice = check["advice"].as_str().unwrap();
        let (_, statement) = advice.split_once('`').unwrap();
        let (statement, _) = statement.rsplit_once('`').unwrap();
        conn.batch_execute(statement).unwrap();
        doctor.run().only(&[]);
    };
    check_index("published_waiting", None);
    check_index("published_held", None);
    check_index(
        "published_settled",
        Some("create index published_settled on published (status, seq)"),
    );
}

macro_rules! case {
    ($feature:literal, $module:ident, $connection:ty, $open:expr) => {
        #[cfg(feature = $feature)]
        mod $module {
            case!(@ $connection, $open; a_healthy_deployment_is_all_ok,
                tables_that_are_missing_or_old_are_named,
                an_index_that_is_missing_is_created_by_the_advice);
        }
    };
    (@ $connection:ty, $open:expr; $($name:ident),*) => {
        $(#[test]
        fn $name() {
            let Some(database) = $open else { return };
            super::$name::<$connection>(&database);
        })*
    };
}

case!(
    "sqlite",
    sqlite,
    diesel::SqliteConnection,
    Some(crate::support::sqlite::<diesel::SqliteConnection>())
);
case!(
    "mysql",
    mysql,
    diesel::MysqlConnection,
    crate::support::mysql::<diesel::MysqlConnection>()
);
case!(
    "postgres",
    postgres,
    diesel::PgConnection,
    crate::support::postgres::<diesel::PgConnection>()
);

/// A user of a server, who is dropped at the end.
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(super) struct User<C: Backend> {
    name: String,
    admin: C,
    drop: &'static str,
}

#[cfg(any(feature = "postgres", feature = "mysql"))]
impl<C: Backend> User<C> {
    pub(super) fn new(url: &str, create: &str, drop: &'static str) -> Self {
        let name = format!(
            "outbox_{}",
            &uuid::Uuid::new_v4().simple().to_string()[..16]
        );
        let mut admin = C::establish(url).unwrap();
        admin.batch_execute(&create.replace("{}", &name)).unwrap();
        Self { name, admin, drop }
    }

    pub(super) fn may(&mut self, what: &str) {
        self.admin
            .batch_execute(&what.replace("{}", &self.name))
            .unwrap();
    }

    /// The address of the same database, as this user.
    pub(super) fn url(&self, url: &str) -> String {
        let (scheme, rest) = url.split_once("://").unwrap();
        format!(
            "{scheme}://{}:secret@{}",
            self.name,
            rest.split_once('@').unwrap().1
        )
    }
}

#[cfg(any(feature = "postgres", feature = "mysql"))]
impl<C: Backend> Drop for User<C> {
    fn drop(&mut self) {
        let drop = self.drop.replace("{}", &self.name);
        let _ = self.admin.batch_execute(&drop);
    }
}

#[cfg(feature = "mysql")]
#[test]
fn rights_that_are_missing_on_mysql_are_named() {
    type C = diesel::MysqlConnection;
    let Some(database) = support::mysql::<C>() else {
        return;
    };
    let broker = LoopbackBroker::start().unwrap();
    open::<C>(&database);
    let create = "create user '{}'@'%' identified by 'secret'";
    let mut user = User::<C>::new(&database.url, create, "drop user '{}'@'%'");
    let name = database.url.rsplit_once('/').unwrap().1;
    for table in [
        "published",
        "outbox_jobs",
        "outbox_streams",
        "outbox_deliveries",
        "outbox_calls",
        "outbox_trail",
    ] {
        user.may(&format!(
            "grant select, insert, update, delete on {name}.{table} to '{{}}'@'%'"
        ));
    }
    user.may(&format!(
        "grant select, update, delete on {name}.received to '{{}}'@'%'"
    ));
    user.may(&format!(
        "revoke delete on {name}.outbox_calls from '{{}}'@'%'"
    ));
    let (own, url) = (user.url(&database.url), broker.url());
    Doctor::of(&own, &url)
        .run()
        .only(&["database.rights", "database.rights"])
        .has(
            "database.rights",
            "error",
            "`grant insert on received to …`",
        )
        .has(
            "database.rights",
            "warning",
            "lacks delete: old rows are not deleted",
        )
        .has(
            "database.migrations",
            "ok",
            "may not read outbox_migrations",
        );
}

#[test]
fn a_database_that_is_away_or_refuses_is_an_error() {
    let broker = LoopbackBroker::start().unwrap();
    let url = broker.url();
    #[cfg(feature = "sqlite")]
    Doctor::of("sqlite:/nowhere/outbox.db", &url)
        .run()
        .only(&["database.connection"])
        .has("database.connection", "error", "there is no file");
    #[cfg(feature = "postgres")]
    Doctor::of("postgres://app:hunter2@127.0.0.1:1/app", &url)
        .run()
        .only(&["database.connection"])
        .has("database.connection", "error", "start the server");
    #[cfg(feature = "mysql")]
    if let Some(database) = support::mysql::<diesel::MysqlConnection>() {
        let wrong = database.url.replace("root@", "root:hunter2@");
        let report = Doctor::of(&wrong, &url).run();
        report.only(&["database.connection"]).has(
            "database.connection",
            "error",
            "correct the user, the password",
        );
        assert!(!format!("{report:?}").contains("hunter2"), "{report:?}");
    }
}

#[cfg(feature = "postgres")]
mod on_postgres {
    use diesel::connection::SimpleConnection;
    use diesel::{PgConnection, RunQueryDsl};
    use diesel_outbox::migrations::Migrate;
    use diesel_outbox::testing::LoopbackBroker;

    use super::{Doctor, User, open};
    use crate::support;

    #[test]
    fn rights_that_are_missing_are_named() {
        let Some(database) = support::postgres::<PgConnection>() else {
            return;
        };
        let broker = LoopbackBroker::start().unwrap();
        let mut conn = open::<PgConnection>(&database);
        let create = "create role {} login password 'secret'";
        let drop = "drop owned by {}; drop role {}";
        let mut user = User::<PgConnection>::new(&database.url, create, drop);
        conn.batch_execute("revoke all on schema public from public")
            .unwrap();
        let (own, url) = (user.url(&database.url), broker.url());
        let doctor = Doctor::of(&own, &url).set("OUTBOX_DATABASE_SCHEMA", "public");
        let report = doctor.run();
        report
            .has(
                "database.rights",
                "error",
                "lacks usage on its schema, select, insert, update, delete",
            )
            .has(
                "database.rights",
                "error",
                "`grant usage on schema …` and `grant select,",
            );
        user.may("grant usage on schema public to {}");
        user.may("grant select, insert, update, delete on all tables in schema public to {}");
        user.may("revoke insert on received from {}");
        user.may("revoke delete on outbox_calls from {}");
        doctor
            .run()
            .only(&["database.rights", "database.rights"])
            .has(
                "database.rights",
                "error",
                "`grant insert on received to …`",
            )
            .has(
                "database.rights",
                "warning",
                "lacks delete: old rows are not deleted",
            );
        // A user who may not migrate.
        user.may("grant insert, delete on all tables in schema public to {}");
        conn.batch_execute("delete from outbox_migrations").unwrap();
        doctor.run().only(&["database.migrations"]).has(
            "database.migrations",
            "error",
            "as a user who may create tables: this one may not",
        );
        user.may("alter role {} connection limit 4");
        doctor
            .run()
            .has("database.connections", "warning", " of 4 are left");
    }

    #[test]
    fn settings_of_the_session_that_matter_are_named() {
        let Some(database) = support::postgres::<PgConnection>() else {
            return;
        };
        let broker = LoopbackBroker::start().unwrap();
        let mut conn = open::<PgConnection>(&database);
        let url = broker.url();
        let with = |option: &str| format!("{}?options=-c{option}", database.url);
        let idle = with("idle_session_timeout%3D60000");
        Doctor::of(&idle, &url)
            .run()
            .only(&["database.idle_sessions"])
            .has(
                "database.idle_sessions",
                "warning",
                "idle_session_timeout is 1m",
            );
        Doctor::of(&idle, &url)
            .set("OUTBOX_WAKE_UP", "false")
            .run()
            .only(&[]);
        let version =
            diesel::dsl::sql::<diesel::sql_types::Text>("current_setting('server_version_num')");
        let version: String = diesel::select(version).get_result(&mut conn).unwrap();
        if version.parse::<u32>().unwrap() >= 170_000 {
            let url = with("transaction_timeout%3D20000");
            let check = "database.transactions";
            Doctor::of(&url, &broker.url()).run().only(&[check]).has(
                check,
                "warning",
                "transaction_timeout is 20s",
            );
        }
        let standby = with("default_transaction_read_only%3Don");
        Doctor::of(&standby, &url)
            .run()
            .only(&["database.writable"])
            .has(
                "database.writable",
                "error",
                "or turn off the setting `default_transaction_read_only`",
            );
        // A second outbox on the search path.
        conn.batch_execute("create schema tenant").unwrap();
        diesel_outbox::in_schema("tenant", || conn.migrate()).unwrap();
        let path = with("search_path%3Dtenant,public");
        Doctor::of(&path, &url)
            .run()
            .only(&["database.schema"])
            .has(
                "database.schema",
                "warning",
                "set database_schema to tenant or to public",
            );
        // The statement in the advice names the schema.
        conn.batch_execute("drop index tenant.published_held")
            .unwrap();
        let report = Doctor::of(&database.url, &url)
            .set("OUTBOX_DATABASE_SCHEMA", "tenant")
            .run();
        report.only(&["database.indexes"]).has(
            "database.indexes",
            "error",
            "create index concurrently published_held on \"tenant\".published",
        );
    }

    #[test]
    fn the_trigger_the_statistics_and_a_broken_index_are_checked() {
        let Some(database) = support::postgres::<PgConnection>() else {
            return;
        };
        let broker = LoopbackBroker::start().unwrap();
        let mut conn = open::<PgConnection>(&database);
        let url = broker.url();
        let doctor = Doctor::of(&database.url, &url);
        conn.batch_execute("alter table published disable trigger outbox_wake")
            .unwrap();
        doctor.run().only(&["database.triggers"]).has(
            "database.triggers",
            "warning",
            "enable trigger outbox_wake`, or set wake_up to false",
        );
        Doctor::of(&database.url, &url)
            .set("OUTBOX_WAKE_UP", "false")
            .run()
            .only(&[]);
        conn.batch_execute("alter table published enable trigger outbox_wake")
            .unwrap();
        conn.batch_execute(
            "update pg_index set indisvalid = false where indexrelid = 'published_held'::regclass",
        )
        .unwrap();
        doctor.run().only(&["database.indexes"]).has(
            "database.indexes",
            "error",
            "`drop index published_held`",
        );
        conn.batch_execute(
            "update pg_index set indisvalid = true where indexrelid = 'published_held'::regclass;
             alter table published set (autovacuum_enabled = false);
             insert into published (id, destination, body, status)
                select gen_random_uuid(), '/queue/a', '{}', 2 from generate_series(1, 10000)",
        )
        .unwrap();
        // The server counts changes when a session reports them: at its end, or after a second.
        std::mem::drop(conn);
        support::program::wait_until("the rows are counted", || {
            doctor.run().troubles() == ["database.statistics"]
        });
        doctor
            .run()
            .has(
                "database.statistics",
                "warning",
                "never made, for about 10000 rows",
            )
            .has(
                "database.statistics",
                "warning",
                "`analyze published`; turn autovacuum on",
            );
        let mut conn = open::<PgConnection>(&database);
        conn.batch_execute("analyze published").unwrap();
        support::program::wait_until("the statistics are made", || {
            doctor.run().troubles().is_empty()
        });
    }
}
