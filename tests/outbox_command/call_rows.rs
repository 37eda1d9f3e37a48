//! Function calls are listed, shown, executed again and deleted: the commands with `--calls`.

use diesel_outbox::admin::Rows;
use diesel_outbox::backend::Backend;
use serde_json::{Value, json};

use crate::ran::outbox;
use crate::{ALSO_FAILED, FAILED, SENT, TestDatabase, WAITING, counts, write_rows};

/// Messages, and calls with the same ids, of which one has its arguments in another encoding.
fn write_calls<C: Backend>(database: &TestDatabase) {
    outbox(database, &["migrate"]).says("applied");
    write_rows::<C>(database);
    let (key, bytes) = match C::NAME {
        "MySQL/MariaDB" => ("`key`", "x'80ff'"),
        "PostgreSQL" => ("key", "'\\x80ff'"),
        _ => ("key", "x'80ff'"),
    };
    let columns = format!(
        "id, name, args, payload, encoding, status, stream, {key}, retry, last_error, done_at"
    );
    let done = "'2001-02-03 04:05:06.000000'";
    let mut conn = C::establish(&database.url).unwrap();
    conn.batch_execute(&format!(
        "insert into outbox_calls ({columns}) values
         ('{FAILED}', 'shop.charge', '{{\"order\": 7}}', null, 'json', -1, 'bills', 'k', 3, 'declined', null);
         insert into outbox_calls ({columns}) values
         ('{WAITING}', 'shop.charge', '{{}}', null, 'json', 1, null, 'k', 0, null, null);
         insert into outbox_calls ({columns}) values
         ('{SENT}', 'shop.mail', null, {bytes}, 'msgpack', 2, null, null, 0, null, {done});
         update outbox_calls set due_at = '9000-01-01 00:00:00.000000' where id = '{FAILED}'"
    ))
    .unwrap();
}

fn state<C: Backend>(database: &TestDatabase, id: &str) -> Option<String> {
    let mut conn = C::establish(&database.url).unwrap();
    let found = Rows::Calls.show(&mut conn, id).unwrap();
    found.map(|found| found.row.state.to_string())
}

fn json_lines(out: &str) -> Vec<Value> {
    out.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

pub(crate) fn calls_are_listed<C: Backend>(database: &TestDatabase) {
    write_calls::<C>(database);
    let list = |arguments: &[&str]| {
        let command = ["list", "--calls", "--json"];
        let ran = outbox(database, &[&command, arguments].concat()).says("");
        let rows = json_lines(&ran.out).into_iter();
        rows.map(|row| row["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(list(&[]), [FAILED, WAITING, SENT]);
    assert_eq!(list(&["--state", "parked"]), [FAILED]);
    assert_eq!(list(&["--state", "executed"]), [SENT]);
    assert_eq!(list(&["--to", "shop.charge"]), [FAILED, WAITING]);
    assert_eq!(list(&["--stream", "bills", "--key", "k"]), [FAILED]);
    assert_eq!(list(&["--error", "decl"]), [FAILED]);
    assert_eq!(list(&["--id", ALSO_FAILED]), [""; 0]);
    let text = outbox(database, &["list", "--calls"]).says("declined").out;
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines[0][4..], ["name", "stream", "key", "error"]);
    assert_eq!(lines[1][..3], [FAILED, "parked", "3"]);
    assert_eq!(lines[3][..2], [SENT, "executed"]);
    // The command for the next page is one for calls.
    outbox(database, &["list", "--calls", "--limit", "2"])
        .says("more rows: outbox list --calls --limit 2 --after ");
}

pub(crate) fn a_call_is_shown<C: Backend>(database: &TestDatabase) {
    write_calls::<C>(database);
    let shown = outbox(database, &["show", "--calls", FAILED])
        .says("state         parked")
        .says("name          shop.charge")
        .says("stream        bills")
        .says("failed        3 attempts")
        .says("error         declined")
        .says("blocks        the later rows of its key");
    assert!(!shown.out.contains("order"), "{shown:?}");
    outbox(database, &["show", "--calls", "--body", FAILED]).says("\"order\"");
    outbox(database, &["show", "--calls", WAITING]).says(&format!("blocked by    {FAILED}"));
    let shown = outbox(database, &["show", "--calls", "--body", SENT])
        .says("state         executed")
        .says("executed      2001-02-03T04:05:06.000Z (")
        .says("body          not stored as JSON");
    assert!(!shown.out.contains("sent "), "{shown:?}");
    let shown = outbox(
        database,
        &["show", "--calls", "--body", "--json", FAILED, SENT],
    )
    .says("");
    let shown = json_lines(&shown.out);
    assert_eq!(shown[0]["name"], "shop.charge");
    assert_eq!(shown[0]["body"], json!({"order": 7}));
    assert_eq!(
        (&shown[1]["state"], &shown[1]["body"]),
        (&json!("executed"), &Value::Null)
    );
    // It is a message, and no call.
    outbox(database, &["show", "--calls", ALSO_FAILED]).fails(1, "no row has the id");
}

pub(crate) fn calls_are_executed_again_and_deleted<C: Backend>(database: &TestDatabase) {
    write_calls::<C>(database);
    let before = counts::<C>(database);
    let state = |id: &str| state::<C>(database, id);
    outbox(database, &["resend", "--calls", FAILED]).fails(1, "not those of executed rows");
    outbox(database, &["resend", "--calls", "--all", "--dry-run"])
        .says("1 executed row matches\n")
        .says("dry run: nothing was changed");
    assert_eq!(state(SENT).as_deref(), Some("executed"));
    outbox(database, &["resend", "--calls", SENT]).says("1 to be executed a second time");
    assert_eq!(state(SENT).as_deref(), Some("waiting"));
    outbox(database, &["resend", "--calls", SENT]).fails(1, "(waiting)");
    outbox(database, &["delete", "--calls", WAITING]).fails(1, "(waiting)");
    assert_eq!(state(WAITING).as_deref(), Some("waiting"));
    let deleted = outbox(database, &["delete", "--calls", FAILED]).says("1 deleted");
    assert!(
        deleted.out.contains("shop.charge") && deleted.out.contains("declined"),
        "{deleted:?}"
    );
    assert_eq!(state(FAILED), None);
    outbox(
        database,
        &["cancel", "--calls", "--all", "--to", "shop.mail"],
    )
    .says("1 cancelled");
    outbox(database, &["delete", "--calls", "--all"]).says("1 parked row matches\n");
    assert_eq!(state(SENT), None);
    assert_eq!(state(WAITING).as_deref(), Some("waiting"));
    assert_eq!(
        counts::<C>(database),
        before,
        "the messages are as they were"
    );
}
