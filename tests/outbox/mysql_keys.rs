//! `save` without RETURNING: the row is found again by its key.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_outbox::schema::{Document, published};
use diesel_outbox::{Publish, Save};
use serde_json::json;

diesel::table! {
    places (code) {
        code -> Text,
        name -> Text,
    }
}

diesel::table! {
    visits (person, place) {
        person -> Integer,
        place -> Text,
        times -> Integer,
    }
}

diesel::table! {
    tickets (number) {
        number -> Unsigned<BigInt>,
        note -> Nullable<Text>,
    }
}

#[derive(Debug, PartialEq, Queryable, Selectable, Identifiable, Publish)]
#[diesel(table_name = places, primary_key(code))]
#[publish(destination = "/topic/places")]
struct Place {
    code: String,
    name: String,
}

#[derive(Insertable, Publish)]
#[diesel(table_name = places, primary_key(code))]
#[publish(model = Place)]
struct NewPlace<'a> {
    code: &'a str,
    name: &'a str,
}

#[derive(Debug, PartialEq, Queryable, Selectable, Identifiable, Publish)]
#[diesel(table_name = visits, primary_key(person, place))]
#[publish(destination = "/topic/visits")]
struct Visit {
    person: i32,
    place: String,
    times: i32,
}

#[derive(Insertable, Publish)]
#[diesel(table_name = visits, primary_key(place, person))]
#[publish(model = Visit)]
struct NewVisit<'a> {
    place: &'a str,
    person: i32,
    times: i32,
}

#[derive(Debug, PartialEq, Queryable, Selectable, Identifiable, Publish)]
#[diesel(table_name = tickets, primary_key(number), check_for_backend(diesel::mysql::Mysql))]
#[publish(destination = "/topic/tickets")]
struct Ticket {
    number: u64,
    note: Option<String>,
}

#[derive(Insertable, Publish)]
#[diesel(table_name = tickets, primary_key(number), check_for_backend(diesel::mysql::Mysql))]
#[publish(model = Ticket)]
struct NewTicket {
    number: Option<u64>,
    note: Option<String>,
}

fn connect() -> Option<super::Database<MysqlConnection>> {
    let mut db = super::mysql()?;
    db.conn
        .batch_execute(
            "create table places (code varchar(10) primary key, name varchar(100) not null);
             create table visits (person integer, place varchar(10), times integer not null,
                 primary key (person, place));
             create table tickets (number bigint unsigned auto_increment primary key, note text)",
        )
        .unwrap();
    Some(db)
}

fn last_body(conn: &mut MysqlConnection) -> Document {
    published::table
        .order(published::seq.desc())
        .select(published::body)
        .first(conn)
        .unwrap()
}

#[test]
fn a_key_that_the_struct_carries() {
    let Some(mut db) = connect() else { return };
    let conn = &mut db.conn;
    let new = NewPlace {
        code: "ber",
        name: "Berlin",
    };
    let mut place = new.save(conn).unwrap();
    assert_eq!(
        (place.code.as_str(), place.name.as_str()),
        ("ber", "Berlin")
    );
    place.name = "Berlin-Mitte".into();
    place.save(conn).unwrap();
    let expected = json!({"id": "ber", "name": "Berlin-Mitte"});
    assert_eq!(last_body(conn), Document(expected));
}

#[test]
fn a_key_of_several_columns() {
    let Some(mut db) = connect() else { return };
    let conn = &mut db.conn;
    for (person, place) in [(1, "ber"), (1, "muc"), (2, "ber")] {
        let visit = NewVisit {
            place,
            person,
            times: 3,
        }
        .save(conn)
        .unwrap();
        assert_eq!(
            (visit.person, visit.place.as_str(), visit.times),
            (person, place, 3)
        );
    }
}

#[test]
fn a_key_that_may_be_carried() {
    let Some(mut db) = connect() else { return };
    let conn = &mut db.conn;
    let given = NewTicket {
        number: None,
        note: None,
    }
    .save(conn)
    .unwrap();
    assert_eq!(given.number, 1);
    // Past the range of signed numbers, as only an unsigned key may be.
    let number = (1 << 63) + 5;
    let carried = NewTicket {
        number: Some(number),
        note: Some("x".into()),
    };
    assert_eq!(carried.save(conn).unwrap().number, number);
    let next = NewTicket {
        number: None,
        note: None,
    }
    .save(conn)
    .unwrap();
    assert_eq!(next.number, number + 1);
}

diesel::table! {
    parts (id) {
        id -> Integer,
        name -> Text,
    }
}

#[derive(Debug, Clone, PartialEq, Queryable, Selectable, Identifiable, Publish)]
#[diesel(table_name = parts)]
#[publish(destination = "/topic/parts")]
struct Part {
    id: i32,
    name: String,
}

#[derive(Insertable, Publish)]
#[diesel(table_name = parts)]
#[publish(model = Part)]
struct NewPart<'a> {
    id: Option<i32>,
    name: &'a str,
}

#[derive(Insertable, Publish)]
#[diesel(table_name = parts)]
#[publish(model = Part)]
struct NewPartOfSequence<'a> {
    name: &'a str,
}

/// The parts and what was published, after something that is an error.
fn nothing_was_written(conn: &mut MysqlConnection, before: i64) {
    assert_eq!(parts::table.count().get_result(conn), Ok(before));
    assert_eq!(published::table.count().get_result(conn), Ok(0_i64));
}

#[test]
fn a_key_that_a_default_gives_is_an_error_and_not_another_row() {
    let Some(mut db) = connect() else { return };
    let conn = &mut db.conn;
    let made = conn.batch_execute(
        "create sequence numbers;
         create table parts (id integer primary key default nextval(numbers), name text not null)",
    );
    if made.is_err() {
        // MySQL has no sequences.
        return;
    }
    conn.batch_execute(
        "insert into parts (id, name) values (7, 'other');
         insert into tickets (note) values (''), (''), (''), (''), (''), (''), ('')",
    )
    .unwrap();
    // AUTO_INCREMENT has given a key that a part has too.
    conn.batch_execute("insert into tickets (number, note) values (null, '')")
        .unwrap();
    conn.batch_execute("update parts set id = 8").unwrap();
    let error = NewPartOfSequence { name: "new" }.save(conn).unwrap_err();
    assert!(error.to_string().contains("another key"), "{error}");
    let error = NewPart {
        id: None,
        name: "new",
    }
    .save(conn)
    .unwrap_err();
    assert!(error.to_string().contains("another key"), "{error}");
    nothing_was_written(conn, 1);
    let carried = NewPart {
        id: Some(9),
        name: "new",
    };
    assert_eq!(carried.save(conn).unwrap().id, 9);
}

#[test]
fn a_key_of_zero_is_an_error_where_the_server_replaces_it() {
    let Some(mut db) = connect() else { return };
    let conn = &mut db.conn;
    conn.batch_execute(
        "create table parts (id integer primary key auto_increment, name text not null)",
    )
    .unwrap();
    let part = Part {
        id: 0,
        name: "new".to_owned(),
    };
    let error = part.clone().save(conn).unwrap_err();
    assert!(error.to_string().contains("replaced 0"), "{error}");
    let error = NewPart {
        id: Some(0),
        name: "new",
    }
    .save(conn)
    .unwrap_err();
    assert!(error.to_string().contains("replaced 0"), "{error}");
    nothing_was_written(conn, 0);
    conn.batch_execute("set sql_mode = concat(@@sql_mode, ',NO_AUTO_VALUE_ON_ZERO')")
        .unwrap();
    assert_eq!(part.save(conn).unwrap().id, 0);
    let expected = json!({"id": 0, "name": "new"});
    assert_eq!(last_body(conn), Document(expected));
}
