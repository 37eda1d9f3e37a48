//! Columns and keys under other names, tables in other modules, values that may be missing.

use diesel::prelude::*;
use diesel_outbox::{Error, Publish, Save};

mod schema {
    diesel::table! {
        shop_lines (order_id, line) {
            order_id -> Integer,
            line -> Integer,
            #[sql_name = "type"]
            type_ -> Nullable<Text>,
            note -> Nullable<Text>,
            paid -> Nullable<Bool>,
        }
    }

    diesel::table! {
        customers (code) {
            code -> Text,
        }
    }
}

#[derive(Queryable, Selectable, Publish)]
#[diesel(table_name = schema::shop_lines, primary_key(order_id, line))]
#[publish(destination = "/queue/lines", key = order)]
#[publish(destination = "/queue/notes", fields(note, r#type), key = note)]
#[publish(destination = "/queue/paid", fields(paid, line), key = self::key)]
struct Line {
    #[diesel(column_name = order_id)]
    order: i32,
    line: i32,
    #[diesel(column_name = "type_")]
    r#type: Option<String>,
    note: Option<String>,
    paid: Option<bool>,
}

fn key(line: &Line) -> Option<String> {
    line.note.clone()
}

// The key is named for MySQL, which finds the row again by it.
#[derive(Insertable, Publish)]
#[diesel(table_name = schema::shop_lines, primary_key(order_id, line))]
#[publish(model = Line)]
struct NewLine {
    order_id: i32,
    line: i32,
    note: Option<&'static str>,
}

/// Nothing but its key.
#[derive(Queryable, Selectable, Publish)]
#[diesel(table_name = crate::accepted::columns::schema::customers)]
#[diesel(primary_key(code))]
#[publish(destination = "/queue/customers")]
struct Customer {
    code: String,
}

fn save(conn: &mut SqliteConnection) -> Result<Customer, Error> {
    let line = NewLine {
        order_id: 1,
        line: 1,
        note: None,
    };
    line.save(conn)?.save(conn)?;
    Customer { code: "a".into() }.save(conn)
}

#[test]
fn is_saved() {
    let _ = save;
}
