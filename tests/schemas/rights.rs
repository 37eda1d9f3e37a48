//! A user who may read and write rows, and make no tables.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_outbox::backend::Dialect;
use diesel_outbox::config::Config;
use diesel_outbox::migrations::{Migrate, MigrateError};
use diesel_outbox::relay::Relay;
use diesel_outbox::testing::LoopbackBroker;
use diesel_outbox::{Message, Shutdown};

use crate::place::Place;

/// A role that is dropped at the end.
struct Role<'a> {
    name: String,
    place: &'a Place,
}

impl<'a> Role<'a> {
    fn new(place: &'a Place) -> Self {
        let name = format!("outbox_{}", uuid::Uuid::new_v4().simple());
        place
            .connect("public")
            .batch_execute(&format!("create role {name} login password 'secret'"))
            .unwrap();
        Self { name, place }
    }

    fn may(&self, what: &str) {
        self.place
            .connect("public")
            .batch_execute(&what.replace("{}", &self.name))
            .unwrap();
    }

    fn url(&self, search_path: &str) -> String {
        let (_, at) = self.place.url().split_once('@').unwrap();
        format!(
            "postgres://{}:secret@{at}?options=-csearch_path%3D{search_path}",
            self.name
        )
    }

    fn connect(&self, search_path: &str) -> PgConnection {
        PgConnection::establish(&self.url(search_path)).unwrap()
    }
}

impl Drop for Role<'_> {
    fn drop(&mut self) {
        self.may("drop owned by {}; drop role {}");
    }
}

const ROWS_OF: &str = "\
grant usage on schema {schema} to {};
grant select, insert, update, delete on all tables in schema {schema} to {}";

fn found(conn: &mut PgConnection) -> Option<String> {
    conn.find_schema(None).unwrap().schema
}

#[test]
fn the_outbox_that_migrate_made_is_found_without_the_right_to_make_tables() {
    let Some(place) = Place::new(&["empty", "tenant"]) else {
        return;
    };
    let role = Role::new(&place);
    role.may("revoke create on schema public from public");
    // The owner may make tables in the second schema only.
    let owner = Role::new(&place);
    owner.may("grant usage on schema empty to {}; grant usage, create on schema tenant to {}");
    let path = "empty,tenant,public";
    owner.connect(path).migrate().unwrap();
    assert!(place.objects("tenant") > 0);
    assert_eq!((place.objects("empty"), place.objects("public")), (0, 0));
    // Another outbox, further on.
    diesel_outbox::in_schema("public", || place.connect("public").migrate().unwrap());

    role.may("grant usage on schema empty to {}");
    role.may(&ROWS_OF.replace("{schema}", "tenant"));
    role.may(&ROWS_OF.replace("{schema}", "public"));
    let mut conn = role.connect(path);
    assert_eq!(found(&mut conn).as_deref(), Some("tenant"));
    Message::new("/queue/a", 1).publish(&mut conn).unwrap();
    let broker = LoopbackBroker::start().unwrap();
    let config = Config::builder()
        .set("database_url", role.url(path))
        .set("stomp_url", broker.url())
        .build()
        .unwrap();
    let relay = Relay::<PgConnection>::new(&config).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sent = runtime.block_on(relay.run_once(&Shutdown::new())).unwrap();
    assert_eq!(sent.sent, 1);
    let settled = "select count(*) as n from tenant.published where status = 2";
    assert_eq!(place.number(settled), 1);

    let error = conn.migrate().unwrap_err();
    assert!(matches!(error, MigrateError::NoSchema(_)), "{error}");
    assert!(error.to_string().contains("schema `tenant`"), "{error}");
    drop((role, owner));
}

/// Where `migrate` would make an outbox, nobody takes the next one for it.
#[test]
fn a_schema_of_our_own_without_an_outbox_hides_those_behind_it() {
    let Some(place) = Place::with_outboxes(&["shared"]) else {
        return;
    };
    let role = Role::new(&place);
    role.may("create schema own authorization {}");
    role.may(&ROWS_OF.replace("{schema}", "shared"));
    let mut conn = role.connect("own,shared");
    assert_eq!(found(&mut conn).as_deref(), Some("own"));
    // An earlier one that has an outbox is never passed over by a later one.
    let mut conn = role.connect("shared,own");
    assert_eq!(found(&mut conn).as_deref(), Some("shared"));
    let error = conn.migrate().unwrap_err();
    assert!(
        error
            .to_string()
            .contains("may not create tables in the schema `shared`"),
        "{error}"
    );
}

/// The trigger of a service's own table writes to the outbox at COMMIT. From PostgreSQL 18 on it runs as the role
/// that changed the row, before as the role at the COMMIT.
#[test]
fn a_deferred_trigger_needs_the_rights_of_the_outbox_for_the_role_that_it_runs_as() {
    let Some(place) = Place::with_outboxes(&["tenant"]) else {
        return;
    };
    let version = place.number("select current_setting('server_version_num')::bigint as n");
    let writer = Role::new(&place);
    writer.may(&ROWS_OF.replace("{schema}", "tenant"));
    let clerk = Role::new(&place);
    clerk.may("grant usage on schema tenant to {}");
    let mut conn = place.connect("tenant");
    conn.batch_execute(
        "create table orders (n integer);
         create function announce() returns trigger language plpgsql as $$ begin
             insert into published (id, destination, body)
             values (gen_random_uuid(), '/queue/orders', jsonb_build_object('n', new.n, 'by', current_user));
             return null;
         end $$;
         create constraint trigger announce after insert on orders deferrable initially deferred
             for each row execute function announce();
         grant insert on orders to public",
    )
    .unwrap();
    // What wakes the relays runs in the statement that writes, so that no version's rule matters to it.
    let deferred =
        "select count(*) as n from pg_trigger where tgname = 'outbox_wake' and tgdeferrable";
    assert_eq!(place.number(deferred), 0);

    let mut write = |n: i64, changing: &Role<'_>, committing: &Role<'_>| {
        conn.batch_execute(&format!(
            "begin; set local role {}; insert into orders values ({n}); set local role {}",
            changing.name, committing.name
        ))
        .unwrap();
        let done = conn.batch_execute("commit");
        let _ = conn.batch_execute("rollback");
        done.map_err(|error| error.to_string())
    };
    let by_writer = |n: i64| {
        place.number(&format!(
            "select count(*) as n from tenant.published
             where body ->> 'n' = '{n}' and body ->> 'by' = '{}'",
            writer.name
        ))
    };
    let (may, may_not) = if version >= 180_000 {
        ((&writer, &clerk), (&clerk, &writer))
    } else {
        ((&clerk, &writer), (&writer, &clerk))
    };
    assert_eq!(write(1, may.0, may.1), Ok(()));
    assert_eq!(by_writer(1), 1);
    let error = write(2, may_not.0, may_not.1).unwrap_err();
    assert!(
        error.contains("permission denied for table published"),
        "{error}"
    );
    assert_eq!((place.rows("tenant.orders"), by_writer(2)), (1, 0));
}
