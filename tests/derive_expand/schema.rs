//! The tables of the models.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;

diesel::table! {
    orders {
        id -> Integer,
        customer -> Text,
        total -> BigInt,
        note -> Nullable<Text>,
    }
}

diesel::table! {
    lines (order_id, line) {
        order_id -> Integer,
        line -> Integer,
        amount -> BigInt,
    }
}

diesel::table! {
    tags (code, label) {
        code -> Text,
        label -> Text,
    }
}

diesel::table! {
    products (code) {
        code -> Text,
        #[sql_name = "type"]
        type_ -> Text,
        price -> BigInt,
        stock -> BigInt,
        label -> Text,
    }
}

diesel::table! {
    audits {
        id -> Integer,
        text -> Text,
    }
}

diesel::table! {
    wide {
        id -> Integer,
        c01 -> Nullable<Integer>,
        c02 -> Nullable<Integer>,
        c03 -> Nullable<Integer>,
        c04 -> Nullable<Integer>,
        c05 -> Nullable<Integer>,
        c06 -> Nullable<Integer>,
        c07 -> Nullable<Integer>,
        c08 -> Nullable<Integer>,
        c09 -> Nullable<Integer>,
        c10 -> Nullable<Integer>,
        c11 -> Nullable<Integer>,
        c12 -> Nullable<Integer>,
        c13 -> Nullable<Integer>,
        c14 -> Nullable<Integer>,
        c15 -> Nullable<Integer>,
        c16 -> Nullable<Integer>,
        c17 -> Nullable<Integer>,
        c18 -> Nullable<Integer>,
        c19 -> Nullable<Integer>,
        c20 -> Nullable<Integer>,
    }
}

/// A database of its own with these tables, empty.
pub(crate) fn connection() -> SqliteConnection {
    let mut conn = SqliteConnection::establish(":memory:").unwrap();
    conn.batch_execute(
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT NOT NULL UNIQUE,
             total BIGINT NOT NULL, note TEXT DEFAULT 'none');
         CREATE TABLE lines (order_id INTEGER NOT NULL, line INTEGER NOT NULL,
             amount BIGINT NOT NULL, PRIMARY KEY (order_id, line));
         CREATE TABLE tags (code TEXT NOT NULL, label TEXT NOT NULL, PRIMARY KEY (code, label));
         CREATE TABLE products (code TEXT PRIMARY KEY, type TEXT NOT NULL, price BIGINT NOT NULL,
             stock BIGINT NOT NULL DEFAULT 7, label TEXT NOT NULL);
         CREATE TABLE audits (id INTEGER PRIMARY KEY, text TEXT NOT NULL);
         CREATE TABLE wide (id INTEGER PRIMARY KEY, c01 INT, c02 INT, c03 INT, c04 INT, c05 INT, c06 INT,
             c07 INT, c08 INT, c09 INT, c10 INT, c11 INT, c12 INT, c13 INT,
             c14 INT, c15 INT, c16 INT, c17 INT, c18 INT, c19 INT, c20 INT);",
    )
    .unwrap();
    conn
}
