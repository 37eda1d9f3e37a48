//! Rows are listed, shown and changed by filters.

use diesel_outbox::admin::{self, RowState};
use diesel_outbox::backend::Backend;
use serde_json::{Value, json};

use crate::ran::{Ran, outbox};
use crate::{ALSO_FAILED, FAILED, SENT, TestDatabase, WAITING, counts, write_rows};

/// The objects that a run has printed, one on each line.
fn objects(ran: &Ran) -> Vec<Value> {
    assert_eq!(ran.code, 0, "{ran:?}");
    let lines = ran.out.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The only object that a run has printed.
fn object(database: &TestDatabase, arguments: &[&str]) -> Value {
    let mut all = objects(&outbox(database, arguments));
    assert_eq!(all.len(), 1, "{arguments:?}");
    all.remove(0)
}

fn ids(ran: &Ran) -> Vec<String> {
    let rows = objects(ran);
    let ids = rows
        .iter()
        .map(|row| row["id"].as_str().unwrap().to_owned());
    ids.collect()
}

pub(crate) fn rows_are_listed_by_filters<C: Backend>(database: &TestDatabase) {
    outbox(database, &["migrate"]).says("applied");
    assert_eq!(outbox(database, &["list"]).out, "no rows\n");
    assert_eq!(outbox(database, &["list", "--json"]).out, "");
    write_rows::<C>(database);
    let list = |arguments: &[&str]| {
        ids(&outbox(
            database,
            &[&["list", "--json"], arguments].concat(),
        ))
    };
    assert_eq!(list(&[]), [FAILED, WAITING, ALSO_FAILED, SENT]);
    assert_eq!(list(&["--state", "parked"]), [FAILED, ALSO_FAILED]);
    assert_eq!(
        list(&["--state", "parked", "--state", "sent", "--key", "k"]),
        [FAILED]
    );
    assert_eq!(
        list(&["--to", "/queue/a", "--error", "refu", "--newer-than", "1h"]).len(),
        4
    );
    assert_eq!(list(&["--destination", "/queue/b"]).len(), 0);
    assert_eq!(list(&["--id", SENT, "--older-than", "0s"]), [SENT]);
    assert_eq!(list(&["--older-than", "1h"]).len(), 0);
    assert_eq!(list(&["--stream", "it's"]).len(), 0);
    assert_eq!(list(&["--calls"]).len(), 0);
    let text = outbox(database, &["list", "--limit", "4"]).out;
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        lines[0],
        [
            "id",
            "state",
            "failed",
            "age",
            "destination",
            "key",
            "error"
        ]
    );
    assert_eq!(lines[1][..3], [FAILED, "parked", "50"]);
    assert_eq!(lines[1][4..], ["/queue/a", "k", "refused"]);
    assert_eq!(lines.len(), 5, "no command for an empty page: {text}");
    outbox(database, &["list", "--state", "gone"])
        .fails(2, "waiting, leased, parked, sent, executed");
    outbox(database, &["list", "--inbox", "--key", "k"]).fails(2, "cannot be used with");
    outbox(database, &["list", "--limit", "0"]).fails(2, "--limit");
    outbox(database, &["list", "--after", "x"]).fails(2, "not a cursor");
}

/// The command at the end of a page is one that a shell runs.
pub(crate) fn a_page_prints_the_command_for_the_next<C: Backend>(database: &TestDatabase) {
    outbox(database, &["migrate"]).says("applied");
    let hostile = "it's \u{1b}[2J\u{202e} $HOME";
    let mut conn = C::establish(&database.url).unwrap();
    for number in 0..5 {
        let message = diesel_outbox::Message::new("/queue/a", number).stream(hostile);
        message.publish(&mut conn).unwrap();
    }
    let mut found = Vec::new();
    let arguments = [
        "list", "--state", "waiting", "--stream", hostile, "--limit", "2",
    ];
    let mut page = outbox(database, &arguments);
    for rows in [2, 2, 1] {
        assert_eq!(page.code, 0, "{page:?}");
        let lines: Vec<&str> = page.out.lines().collect();
        let ids = lines[1..=rows]
            .iter()
            .map(|line| line.split_whitespace().next());
        found.extend(ids.map(|id| id.unwrap().to_owned()));
        let next = lines.get(rows + 1).copied();
        if rows == 1 {
            assert_eq!(next, None);
            break;
        }
        let command = next.unwrap().strip_prefix("more rows: outbox ").unwrap();
        assert!(!command.contains(['\u{1b}', '\u{202e}']), "{command}");
        let output = std::process::Command::new("bash")
            .env("LC_ALL", "C.UTF-8")
            .env("DATABASE_URL", &database.url)
            .args(["-c", &format!("{} {command}", env!("CARGO_BIN_EXE_outbox"))])
            .output()
            .unwrap();
        page = Ran {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        };
    }
    let all = admin::list(&mut conn, &admin::Filter::new(), None, 9).unwrap();
    let all: Vec<String> = all.rows.into_iter().map(|row| row.id).collect();
    assert_eq!(found, all);
}

pub(crate) fn a_row_is_shown_with_its_history<C: Backend>(database: &TestDatabase) {
    outbox(database, &["migrate"]).says("applied");
    write_rows::<C>(database);
    let mut conn = C::establish(&database.url).unwrap();
    conn.batch_execute(&format!(
        "update published set due_at = '9000-01-01 00:00:00.000000' where id = '{FAILED}';
         update published set sent_at = '2001-02-03 04:05:06.000000' where id = '{SENT}';
         insert into received (id, msg_id, headers, body, added) values
             ('{SENT}', 'order 7', '{{\"x\": \"y\"}}', '{{\"total\": 12}}', '2001-02-03 04:05:06.000000')"
    ))
    .unwrap();
    let shown = outbox(database, &["show", FAILED])
        .says("state         parked")
        .says("failed        50 attempts")
        .says("error         refused")
        .says("blocks        the later rows of its key")
        .says("body          2 bytes; --body prints them");
    assert!(!shown.out.contains("{}"), "{shown:?}");
    outbox(database, &["show", "--body", FAILED]).says("body\n{}\n");
    outbox(database, &["show", WAITING]).says(&format!("blocked by    {FAILED}"));
    outbox(database, &["show", &SENT.replace('-', "")])
        .says("sent          2001-02-03T04:05:06.000Z (");
    let both = object(database, &["show", "--json", "--body", WAITING]);
    assert_eq!(both["blocked_by"], FAILED);
    assert_eq!((&both["headers"], &both["body"]), (&json!({}), &json!({})));
    outbox(database, &["show", "--inbox", "order 7"])
        .says("handled       2001-02-03T04:05:06.000Z (")
        .says("  x: y\n")
        .says("--body prints them");
    let received = object(database, &["show", "--inbox", "--json", "--body", SENT]);
    assert_eq!(received["message_id"], "order 7");
    assert_eq!(
        (&received["headers"]["x"], &received["body"]["total"]),
        (&json!("y"), &json!(12))
    );
    assert_eq!(
        object(database, &["list", "--inbox", "--json", "--id", "order 7"])["id"],
        SENT
    );
    outbox(database, &["list", "--inbox", "--consumer", ""]).says("order 7");
    let unknown = "0192f0aa-0000-7000-8000-00000000000f";
    let found = outbox(database, &["show", unknown, SENT, ALSO_FAILED]);
    assert_eq!(found.out.matches("state ").count(), 2, "{found:?}");
    found.fails(1, &format!("no row has the id `{unknown}`"));
    outbox(database, &["show", "order"]).fails(2, "neither a UUID nor the id of a row");
    outbox(database, &["show", "--inbox", "order"]).fails(1, "no row has the id `order`");
}

pub(crate) fn rows_are_changed_by_filters<C: Backend>(database: &TestDatabase) {
    outbox(database, &["migrate"]).says("applied");
    write_rows::<C>(database);
    let before = counts::<C>(database);
    for command in ["retry", "skip", "delete"] {
        outbox(database, &[command, "--all", "--key", "k", "--dry-run"])
            .says("1 parked row matches\n")
            .says(FAILED)
            .says("dry run: nothing was changed");
        outbox(database, &[command, "--error", "x"]).fails(2, "--all");
        outbox(database, &[command, "--error", "x", FAILED])
            .fails(2, "ids and filters exclude each other");
    }
    outbox(database, &["cancel", "--dry-run", WAITING, FAILED]).says("1 row that waits matches\n");
    let dry = object(database, &["resend", "--all", "--dry-run", "--json"]);
    assert_eq!(
        (&dry["matching"], &dry["changed"], &dry["dry_run"]),
        (&json!(1), &json!(0), &json!(true))
    );
    assert_eq!(dry["rows"][0]["id"], SENT);
    assert_eq!(counts::<C>(database), before);
    outbox(database, &["skip", "--all", "--key", "k"]).says("1 skipped");
    outbox(database, &["cancel", "--all", "--to", "/queue/b"])
        .says("0 rows that wait match\n0 cancelled");
    outbox(database, &["cancel", "--all", "--destination", "/queue/a"]).says("1 cancelled");
    let retried = object(
        database,
        &["retry", "--all", "--error", "cancelled", "--json"],
    );
    assert_eq!(
        retried,
        json!({"matching": 1, "changed": 1, "dry_run": false})
    );
    outbox(database, &["retry", "--all"]).says("2 parked rows match\n2 to be sent again");
    assert_eq!(counts::<C>(database).waiting, 3);
}

pub(crate) fn what_took_sql_is_a_command<C: Backend>(database: &TestDatabase) {
    outbox(database, &["migrate"]).says("applied");
    write_rows::<C>(database);
    let state = |id: &str| {
        let mut conn = C::establish(&database.url).unwrap();
        let found = admin::show(&mut conn, id).unwrap();
        found.map(|found| (found.row.state, found.row.destination))
    };
    let waits_at = |destination: &str| Some((RowState::Waiting, destination.to_owned()));
    outbox(database, &["resend", SENT]).says("1 to be sent a second time, with the same id");
    assert_eq!(state(SENT), waits_at("/queue/a"));
    outbox(database, &["resend", SENT]).fails(1, "not those of sent rows");
    outbox(database, &["retry", FAILED, "--destination", "/queue/b"]).says("1 to be sent again");
    assert_eq!(state(FAILED), waits_at("/queue/b"));
    outbox(database, &["retry", FAILED, "--destination", " "]).fails(2, "1 to 255 characters");
    outbox(
        database,
        &["retry", "--calls", FAILED, "--destination", "x"],
    )
    .fails(2, "cannot be used with");
    let retried = [
        "retry",
        "--all",
        "--to",
        "/queue/a",
        "--destination",
        "/queue/c",
    ];
    outbox(database, &retried).says("1 to be sent again");
    assert_eq!(state(ALSO_FAILED), waits_at("/queue/c"));
    outbox(database, &["cancel", FAILED]).says("1 cancelled");
    let deleted = outbox(database, &["delete", FAILED]);
    assert!(
        deleted.out.contains("/queue/b") && deleted.out.contains("cancelled"),
        "{deleted:?}"
    );
    deleted.says("1 deleted");
    assert_eq!(state(FAILED), None);
    outbox(database, &["delete", WAITING]).fails(1, "(waiting)");
    outbox(database, &["cancel", "--all"]).says("3 cancelled");
    outbox(database, &["delete", "--all"])
        .says("3 parked rows match")
        .says("3 deleted");
    assert_eq!(outbox(database, &["list"]).out, "no rows\n");
}

pub(crate) fn signed_rows_are_signed_again_with_the_keys<C: Backend>(database: &TestDatabase) {
    outbox(database, &["migrate"]).says("applied");
    let mut conn = C::establish(&database.url).unwrap();
    let secret = "a:0123456789abcdef";
    let keys = diesel_outbox::signing::Keys::parse(secret).unwrap();
    let id = diesel_outbox::signing::with_keys(&keys, || {
        let message = diesel_outbox::Message::new("/queue/a", 1);
        message.publish(&mut conn).unwrap()
    });
    let id = id.to_string();
    outbox(database, &["cancel", &id]).says("1 cancelled");
    for selected in [id.as_str(), "--all"] {
        let refused = outbox(database, &["retry", selected, "--destination", "/queue/b"]);
        refused.fails(2, "nothing was changed: the row `");
    }
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_outbox"))
        .args(["retry", "--all", "--destination", "/queue/b", "--json"])
        .env("DATABASE_URL", &database.url)
        .env("OUTBOX_SIGN", "true")
        .env("OUTBOX_SIGNING_KEYS", secret)
        .output()
        .unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(out.contains("\"changed\":1"), "{out} {:?}", output.stderr);
    let row = admin::show(&mut conn, &id).unwrap().unwrap();
    assert_eq!(row.row.destination, "/queue/b");
    assert!(row.signature.unwrap().starts_with("v1:a::"));
}

/// Each command has a form in JSON: docs/json.md.
pub(crate) fn each_command_has_a_form_in_json<C: Backend>(database: &TestDatabase) {
    let migrated = object(database, &["migrate", "--json"]);
    assert!(!migrated["applied"].as_array().unwrap().is_empty());
    assert_eq!(
        object(database, &["--json", "migrate"]),
        json!({"applied": []})
    );
    let sql = object(database, &["migrate", "--print", "--json"]);
    assert!(
        sql["sql"]
            .as_str()
            .unwrap()
            .contains("create table published")
    );
    write_rows::<C>(database);
    let status = object(database, &["status", "--json"]);
    for (name, rows) in [("waiting", 1), ("parked", 2), ("sent", 1), ("received", 0)] {
        assert_eq!(status[name], rows, "{status}");
    }
    let calls = object(database, &["status", "--calls", "--json"]);
    assert_eq!(calls["waiting"], 0);
    let row = objects(&outbox(database, &["list", "--json", "--limit", "1"])).remove(0);
    assert_eq!(
        (
            &row["state"],
            &row["destination"],
            &row["failed_attempts"],
            &row["error"]
        ),
        (
            &json!("parked"),
            &json!("/queue/a"),
            &json!(50),
            &json!("refused")
        )
    );
    let after = row["cursor"].as_str().unwrap();
    let rest = outbox(database, &["list", "--json", "--after", after]);
    assert_eq!(ids(&rest), [WAITING, ALSO_FAILED, SENT]);
    assert_eq!(
        object(
            database,
            &["pause", "--json", "--stream", "a", "--stream", "b"]
        ),
        json!({"paused": ["a", "b"]})
    );
    assert_eq!(
        object(database, &["resume", "--json", "--stream", "a"]),
        json!({"resumed": ["a"]})
    );
    let retry = outbox(database, &["retry", "--json", FAILED, SENT]);
    assert_eq!(
        serde_json::from_str::<Value>(&retry.out).unwrap(),
        json!({"changed": 1, "unchanged": [{"id": SENT, "state": "sent"}]})
    );
    retry.fails(1, "not those of parked rows");
    let deleted = object(database, &["delete", "--json", ALSO_FAILED]);
    assert_eq!(deleted, json!({"changed": 1, "unchanged": []}));
    assert_eq!(
        object(database, &["clean", "--json", "--older-than", "0s"]),
        json!({"deleted": 1, "inbox_deleted": 0})
    );
    let wrong = outbox(database, &["list", "--json", "--state", "gone"]);
    assert_eq!(wrong.out, "");
    wrong.fails(2, "gone");
    assert_eq!(
        object(database, &["migrate", "--json", "--revert", "--force"])["reverted"]
            .as_array()
            .map(Vec::is_empty),
        Some(false)
    );
    outbox(database, &["list", "--json"]).fails(1, "run `outbox migrate`");
}
