//! Where tables are made, and what is left alone.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_outbox::migrations::{Migrate, MigrateError};
use diesel_outbox::{Message, in_schema};

use crate::place::Place;

#[test]
fn the_outbox_of_another_service_further_on_in_the_path_is_left_alone() {
    let Some(place) = Place::new(&["tenant"]) else {
        return;
    };
    let mut theirs = place.connect("public");
    theirs.migrate().unwrap();
    Message::new("/queue/theirs", 1)
        .publish(&mut theirs)
        .unwrap();
    let before = place.objects("public");

    let mut ours = place.connect("tenant,public");
    let versions = ours.migrate().unwrap();
    assert_eq!(versions.len(), 8, "{versions:?}");
    assert_eq!(
        place.objects("tenant"),
        before,
        "all of it is in the first schema"
    );
    assert_eq!(place.objects("public"), before);
    Message::new("/queue/ours", 1).publish(&mut ours).unwrap();
    assert_eq!(
        (
            place.rows("tenant.published"),
            place.rows("public.published")
        ),
        (1, 1)
    );

    let error = ours.revert().unwrap_err();
    assert!(
        matches!(error, MigrateError::Unsent { waiting: 1, .. }),
        "{error}"
    );
    assert_eq!(ours.force_revert().unwrap().len(), 8);
    assert_eq!(
        (place.objects("tenant"), place.objects("public")),
        (0, before)
    );
    assert_eq!(
        ours.revert().unwrap(),
        [""; 0],
        "nothing to do, and not theirs"
    );
    assert_eq!(
        (place.objects("tenant"), place.objects("public")),
        (0, before)
    );
    assert_eq!(place.rows("public.published"), 1);
}

#[test]
fn a_named_schema_counts_whatever_the_path_is() {
    let Some(place) = Place::new(&["a", "none"]) else {
        return;
    };
    let odd = "O'dd \"1\" \\";
    let mut conn = place.connect("public,a");
    conn.batch_execute("create schema \"O'dd \"\"1\"\" \\\"")
        .unwrap();
    for schema in ["a", "none", odd] {
        in_schema(schema, || {
            conn.migrate().unwrap();
            assert_eq!(conn.migrate().unwrap(), [""; 0]);
            let id = Message::new("/queue/a", 1).publish(&mut conn).unwrap();
            assert!(diesel_outbox::cancel(&mut conn, id).unwrap());
        });
    }
    assert_eq!(place.objects("public"), 0);
    assert_eq!(
        (place.rows("a.published"), place.rows("\"none\".published")),
        (1, 1)
    );
}

#[test]
fn the_search_path_is_as_it_was_afterwards() {
    let Some(place) = Place::new(&["tenant"]) else {
        return;
    };
    let mut conn = place.connect("public");
    let path = |conn: &mut PgConnection| -> String {
        diesel::select(diesel::dsl::sql::<diesel::sql_types::Text>(
            "current_setting('search_path')",
        ))
        .get_result(conn)
        .unwrap()
    };
    conn.batch_execute("set search_path = \"$user\", 'od''d', public")
        .unwrap();
    let before = path(&mut conn);
    in_schema("tenant", || {
        conn.migrate().unwrap();
        assert_eq!(path(&mut conn), before);
        Message::new("/queue/a", 1).publish(&mut conn).unwrap();
        conn.revert().unwrap_err();
        assert_eq!(path(&mut conn), before);
    });
    in_schema("nowhere", || conn.migrate().unwrap_err());
    assert_eq!(path(&mut conn), before);
    // A transaction of the caller's that is rolled back takes everything with it.
    in_schema("tenant", || conn.force_revert().unwrap());
    let undone = conn.transaction::<(), MigrateError, _>(|conn| {
        in_schema("tenant", || conn.migrate())?;
        Err(MigrateError::Locked)
    });
    assert!(matches!(undone, Err(MigrateError::Locked)));
    assert_eq!(path(&mut conn), before);
    assert_eq!(place.objects("tenant"), 0);
}

#[test]
fn a_schema_that_cannot_have_the_tables_is_told() {
    let Some(place) = Place::new(&[]) else { return };
    let mut conn = place.connect("public");
    let error = in_schema("no\"where", || conn.migrate()).unwrap_err();
    assert!(matches!(error, MigrateError::NoSchema(_)), "{error}");
    let expected = "there is no schema `no\"where`: create it with `create schema \"no\"\"where\"`; \
                nothing was changed";
    assert_eq!(error.to_string(), expected);
    let mut conn = place.connect("nowhere");
    let error = conn.migrate().unwrap_err();
    assert!(error.to_string().contains("database_schema"), "{error}");
    assert_eq!(place.objects("public"), 0);
}

#[test]
fn what_is_in_the_way_is_told_before_anything_is_done() {
    let Some(place) = Place::new(&["tenant"]) else {
        return;
    };
    let mut conn = place.connect("tenant");
    for in_the_way in [
        "table outbox_jobs (id int)",
        "table outbox_streams (id int)",
        "view outbox_deliveries as select 1 as id",
        "table received (id int)",
    ] {
        conn.batch_execute(&format!("create {in_the_way}")).unwrap();
        let before = place.objects("tenant");
        let error = conn.migrate().unwrap_err();
        assert!(matches!(error, MigrateError::Foreign { .. }), "{error}");
        assert_eq!(place.objects("tenant"), before, "{error}");
        let words: Vec<&str> = in_the_way.split(' ').collect();
        conn.batch_execute(&format!("drop {} {}", words[0], words[1]))
            .unwrap();
    }
    // In another schema it is in nobody's way.
    place
        .connect("public")
        .batch_execute("create table received (id int); create table outbox_jobs (id int)")
        .unwrap();
    place.connect("tenant,public").migrate().unwrap();
}

#[test]
fn two_schemas_migrate_side_by_side_and_beside_no_older_version() {
    let Some(place) = Place::new(&["a", "b"]) else {
        return;
    };
    const OLD_LOCK: &str = "8031453476610927977";
    let mut old = place.connect("public");
    // As a version that knows no schema does it, in whichever schema.
    old.batch_execute(&format!("select pg_advisory_lock({OLD_LOCK})"))
        .unwrap();
    let url = place.url_with("public");
    std::thread::scope(|scope| {
        let runs: Vec<_> = ["a", "b", "a", "b"]
            .map(|schema| {
                let url = url.as_str();
                scope.spawn(move || {
                    let mut conn = PgConnection::establish(url).unwrap();
                    in_schema(schema, || conn.migrate().unwrap())
                })
            })
            .into();
        assert_eq!(
            (place.objects("a"), place.objects("b")),
            (0, 0),
            "they wait"
        );
        old.batch_execute(&format!("select pg_advisory_unlock({OLD_LOCK})"))
            .unwrap();
        let versions: usize = runs.into_iter().map(|run| run.join().unwrap().len()).sum();
        assert_eq!(versions, 16, "each schema once");
    });
    let held = "select count(*) as n from pg_locks where locktype = 'advisory'
        and database = (select oid from pg_database where datname = current_database())";
    assert_eq!(place.number(held), 0);
}
