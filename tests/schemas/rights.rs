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
