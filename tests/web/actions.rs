//! Changes of rows: of one, of those that are selected, and of all that match.

use crate::client::{Answer, Client};
use crate::document::texts;
use crate::lists::ids;
use crate::served::Served;
use crate::subject::{
    LATER, NewRow, PARKED, ROW, SENT, Subject, connect, count, id, new_id, status, write,
    write_calls,
};
use crate::support::TestDatabase;

/// Presses a button of the row's page.
#[track_caller]
fn press(client: &Client, row: &str, button: &str) -> Answer {
    let page = client.get(row).is(200);
    let form = page.form("change-rows").press(button);
    let answer = client.send(&page, &form);
    match answer.status {
        303 => client.visit(&answer.location()),
        _ => answer,
    }
}

/// Confirms the change that a page asks about.
#[track_caller]
fn confirm(client: &Client, asked: &Answer) -> Answer {
    client
        .send_and_follow(asked, &asked.form("confirm"))
        .is(200)
}

pub(crate) fn one_row_is_changed_from_its_page<C: Subject>(database: &TestDatabase) {
    let mut conn = connect::<C>(database);
    let numbers: Vec<String> = (0..6).map(id).collect();
    let row = |at: usize, of: NewRow<'static>| NewRow {
        id: &numbers[at],
        ..of
    };
    let rows = [
        row(0, PARKED),
        row(1, ROW),
        NewRow {
            key: "'k'",
            ..row(2, PARKED)
        },
        row(3, PARKED),
        row(4, SENT),
        NewRow {
            key: "'k'",
            ..row(5, ROW)
        },
    ];
    write(&mut conn, &rows);
    write_calls(&mut conn, &rows);
    let served = Served::start(database, &[]);
    let ann = &served.ann;
    for (page, table) in [("message", "published"), ("call", "outbox_calls")] {
        let mut of = |at: usize, condition: &str| {
            let query = format!(
                "select count(*) as n from {table} where id = '{}' and {condition}",
                numbers[at]
            );
            conn.number(&query) == 1
        };
        let address = |at: usize| format!("{page}?id={}", numbers[at]);
        press(ann, &address(0), "retry.this")
            .says("It will be tried again.")
            .says("waiting");
        assert!(of(0, "status = 1 and retry = 0"));
        press(ann, &address(1), "cancel.this")
            .says("It is cancelled.")
            .says("parked");
        assert!(of(1, "status = -1 and last_error = 'cancelled'"));
        let blocked = ann.get(&address(5)).is(200);
        blocked.says("an earlier row of its key");
        // The order of the key is given up, so that it is asked about.
        let asked = press(ann, &address(2), "skip.this").says("Unblock keys of 1 parked row?");
        confirm(ann, &asked).says("1 skipped");
        ann.get(&address(5))
            .is(200)
            .lacks("an earlier row of its key");
        assert!(of(2, "status = -1"));
        // What is lost, or happens twice, is asked about first.
        let asked = press(ann, &address(3), "delete.this").says("Delete 1 parked row?");
        assert!(of(3, "status = -1"), "not yet");
        confirm(ann, &asked).says("1 deleted");
        assert!(!of(3, "1 = 1"));
        ann.get(&address(3)).is(404);
        let asked = press(ann, &address(4), "resend.this");
        let done = if page == "call" {
            "executed row"
        } else {
            "sent row"
        };
        let asked = asked.says(&format!("again 1 {done}?"));
        confirm(ann, &asked).says("a second time");
        assert!(of(4, "status = 1"));
    }
    // Only the actions that the state allows have a button.
    conn.batch_execute(&format!(
        "update published set status = 1, lease_token = id, due_at = {LATER} where id = '{}'",
        numbers[0]
    ))
    .unwrap();
    let leased = ann.get(&format!("message?id={}", numbers[0])).is(200);
    let leased = leased
        .says("leased")
        .says("It is leased, so that it cannot be changed now.");
    assert!(!leased.body.contains("change-rows"));
    let parked = ann
        .get(&format!("message?id={}", numbers[1]))
        .form("change-rows");
    assert!(parked.has_button("retry.this") && !parked.has_button("skip.this"));
    assert!(!parked.has_button("cancel.this"));
}

/// The page of a row is older than the row's state.
pub(crate) fn a_row_that_has_changed_meanwhile_is_left<C: Subject>(database: &TestDatabase) {
    let mut conn = connect::<C>(database);
    let (one, two) = (id(1), id(2));
    write(
        &mut conn,
        &[NewRow { id: &one, ..PARKED }, NewRow { id: &two, ..ROW }],
    );
    let served = Served::start(database, &[]);
    let ann = &served.ann;
    let parked = ann.get(&format!("message?id={one}"));
    let waiting = ann.get(&format!("message?id={two}"));
    conn.batch_execute("update published set status = 2")
        .unwrap();
    for (page, button) in [(&parked, "retry.this"), (&waiting, "cancel.this")] {
        let form = page.form("change-rows").press(button);
        let done = ann.send_and_follow(page, &form).is(200);
        done.says("It was not changed: its state does not allow that any more.");
    }
    // The row blocks no key, so that its page has no button that unblocks one.
    let unblock = parked.form("change-rows").with("do", "skip.this");
    let delete = parked.form("change-rows").press("delete.this");
    for (form, question) in [
        (unblock, "Unblock keys of 0 parked rows?"),
        (delete, "Delete 0 parked rows?"),
    ] {
        let asked = ann.send(&parked, &form).is(200);
        let asked = asked
            .says(question)
            .says("No row matches whose state allows this.");
        assert!(!asked.body.contains("action=\"confirm\""));
    }
    assert_eq!(count(&mut conn, "status = 2"), 2);
    // A row that is gone, and none at all.
    conn.batch_execute("delete from published").unwrap();
    let form = parked.form("change-rows").press("retry.this");
    assert_eq!(
        ann.send(&parked, &form)
            .is(303)
            .location()
            .query()
            .map(|it| it.ends_with("nothing")),
        Some(true)
    );
    let form = parked
        .form("change-rows")
        .set("id", "")
        .press("delete.this");
    ann.send(&parked, &form).is(400).says("no row is selected");
}

pub(crate) fn selected_rows_are_changed<C: Subject>(database: &TestDatabase) {
    let mut conn = connect::<C>(database);
    let numbers: Vec<String> = (0..6).map(id).collect();
    let rows: Vec<NewRow<'_>> = numbers.iter().map(|id| NewRow { id, ..PARKED }).collect();
    write(&mut conn, &rows);
    let served = Served::start(database, &[]);
    let ann = &served.ann;
    let page = ann.get("messages?state=parked").is(200);
    let form = page.form("change-rows").press("retry.selected");
    ann.send(&page, &form).is(400).says("no row is selected");
    let select = |button: &str, rows: &[usize]| {
        let form = page.form("change-rows").press(button);
        rows.iter()
            .fold(form, |form, at| form.with("id", &numbers[*at]))
    };
    let asked = ann.send(&page, &select("retry.selected", &[1, 3])).is(200);
    let asked = asked
        .says("Retry 2 parked rows?")
        .says(&numbers[1])
        .lacks(&numbers[2]);
    assert_eq!(count(&mut conn, "status = 1"), 0, "not yet");
    // "Back" leads to the list.
    ann.visit(&asked.link("Back"))
        .is(200)
        .says("Parked messages");
    confirm(ann, &asked).says("2 to be sent again");
    assert_eq!(
        (
            status(&mut conn, &numbers[1]),
            status(&mut conn, &numbers[3])
        ),
        (1, 1)
    );
    assert_eq!(count(&mut conn, "status = 1"), 2);
    // Another destination, which is shown before.
    let form = select("retry.selected", &[0, 1]).set("destination", " /queue/b<i> ");
    let asked = ann.send(&page, &form).is(200);
    let asked = asked
        .says("Retry 1 parked row?")
        .says("New destination: /queue/b<i>");
    confirm(ann, &asked).says("1 to be sent again");
    assert_eq!(count(&mut conn, "destination = '/queue/b<i>'"), 1);
    // One row, from its page.
    let row = ann.get(&format!("message?id={}", numbers[2]));
    let form = row
        .form("change-rows")
        .set("destination", "/queue/c")
        .press("retry.this");
    ann.send_and_follow(&row, &form)
        .is(200)
        .says("/queue/c")
        .says("waiting");
    for wrong in ["x".repeat(256), "a\u{0}b".to_owned()] {
        let form = select("retry.selected", &[4]).set("destination", &wrong);
        let refused = ann.send(&page, &form);
        assert!(matches!(refused.status, 400 | 409), "{}", refused.status);
    }
    let asked = ann.send(&page, &select("delete.selected", &[4, 5])).is(200);
    confirm(ann, &asked.says("Delete 2 parked rows?")).says("2 deleted");
    assert_eq!(count(&mut conn, "1 = 1"), 4);
}

pub(crate) fn all_that_match_are_changed_as_they_were_counted<C: Subject>(database: &TestDatabase) {
    const ROWS: usize = 1_200;
    let mut conn = connect::<C>(database);
    let numbers: Vec<String> = (0..2_000).map(id).collect();
    let refused = "'no such queue'";
    let rows = numbers[..ROWS + 5].iter().enumerate().map(|(at, id)| {
        let error = if at < ROWS { refused } else { "'other'" };
        NewRow {
            id,
            error,
            ..PARKED
        }
    });
    write(&mut conn, &rows.collect::<Vec<_>>());
    let served = Served::start(database, &["--web-trail"]);
    let (ann, ben) = (&served.ann, served.ben());
    let list = ann.get("messages?state=parked&error=such").is(200);
    assert_eq!(ids(&list).len(), 50);
    let form = list
        .form("change-rows")
        .press("retry.all")
        .with("id", &numbers[ROWS]);
    let asked = ann.send(&list, &form).is(200);
    let asked = asked
        .says("Retry 1,200 parked rows?")
        .says("Filter: error such");
    let asked = asked.says("And 1,180 more.");
    assert_eq!(texts(&asked.document(), "td.id").len(), 20);
    // Written, and changed, after the count.
    let late: Vec<NewRow<'_>> = numbers[1_500..1_503]
        .iter()
        .map(|id| NewRow {
            id,
            error: refused,
            ..PARKED
        })
        .collect();
    write(&mut conn, &late);
    conn.batch_execute(&format!(
        "update published set status = 2 where id = '{}'",
        numbers[7]
    ))
    .unwrap();
    // Only the user who asked can confirm, with a form of an own page.
    let bens = ben.get("messages?state=parked").form("change-rows");
    let bens_token = bens
        .fields
        .iter()
        .find(|(name, _)| name == "token")
        .unwrap();
    let form = asked.form("confirm");
    let forged = form.clone().set("token", &bens_token.1);
    ben.send(&asked, &forged).is(410).says("begin it again");
    ann.send(&asked, &forged).is(403);
    assert_eq!(count(&mut conn, "status = 1"), 0, "not yet");
    let job = ann.send_and_follow(&asked, &form).is(200);
    let job = wait(ann, &job);
    let job = job
        .says("retry 1,200 parked rows")
        .says("1,199 to be sent again");
    let job = job.says("Begun by ann");
    assert_eq!(count(&mut conn, "status = 1"), 1_199);
    assert_eq!(count(&mut conn, "status = -1 and last_error = 'other'"), 5);
    assert_eq!(
        count(&mut conn, "status = -1 and last_error = 'no such queue'"),
        3
    );
    assert_eq!(status(&mut conn, &numbers[7]), 2);
    ann.send(&asked, &form)
        .is(410)
        .says("was carried out before");
    let unknown = form.set("change", &new_id());
    ann.send(&asked, &unknown).is(410);
    // Everybody sees the result, and the way back.
    ben.visit(&job.url).is(200).says("1,199 to be sent again");
    ann.visit(&job.link("Back to the list"))
        .is(200)
        .says("Parked messages");
    let trail = ben
        .get("trail")
        .is(200)
        .says("ann retry messages error such 1,199");
    trail.lacks("410");
    // The others of a tab, and without a filter.
    let list = ann.get("messages?state=waiting&to=%2Fqueue%2Fa").is(200);
    let asked = ann.send(&list, &list.form("change-rows").press("cancel.all"));
    let job = confirm(ann, &asked.is(200).says("Cancel 1,199 rows that wait?"));
    wait(ann, &job).says("1,199 cancelled");
    let list = ann.get("messages?state=done").is(200);
    let form = list.form("change-rows");
    assert!(!form.has_button("resend.all"), "only with a filter");
    let list = ann.get("messages?state=done&newer-than=1d").is(200);
    let asked = ann.send(&list, &list.form("change-rows").press("resend.all"));
    confirm(ann, &asked.is(200).says("Send again 1 sent row?")).says("1 to be sent a second time");
    let list = ann.get("messages?state=parked").is(200);
    let asked = ann.send(&list, &list.form("change-rows").press("delete.all"));
    let job = confirm(ann, &asked.is(200).says("Delete 1,207 parked rows?"));
    wait(ann, &job).says("1,207 deleted");
    assert_eq!(count(&mut conn, "1 = 1"), 1);
    let lines = served.stop();
    let logged = |parts: &[&str]| {
        let has_all = |line: &&String| parts.iter().all(|part| line.contains(part));
        lines.iter().filter(has_all).count()
    };
    assert_eq!(
        logged(&["\"ann\"", "\"retry\"", "error such", "1199"]),
        1,
        "{lines:#?}"
    );
    assert_eq!(logged(&["\"ann\"", "\"delete\"", "1207"]), 1, "{lines:#?}");
    assert_eq!(logged(&["\"ben\""]), 0, "{lines:#?}");
}

/// The page of a job when it has ended.
fn wait(client: &Client, job: &Answer) -> Answer {
    let mut shown = job.clone();
    crate::support::program::wait_until("the change ends", || {
        shown = client.visit(&job.url).is(200);
        !shown.text().contains("Running")
    });
    shown
}

pub(crate) fn streams_are_paused_and_resumed<C: Subject>(database: &TestDatabase) {
    let mut conn = connect::<C>(database);
    conn.batch_execute(
        "insert into outbox_streams (name, paused) values ('mail <b>', false), ('other', false)",
    )
    .unwrap();
    let served = Served::start(database, &[]);
    let ann = &served.ann;
    let paused = |conn: &mut C| {
        conn.number("select count(*) as n from outbox_streams where paused and name = 'mail <b>'")
    };
    let page = ann.get("").is(200).says("All is well");
    let stream = page.form("change-stream");
    let done = ann.send_and_follow(&page, &stream.clone().press("pause"));
    let done = done
        .says("the stream mail <b> is paused")
        .says("mail <b> 0 0 0 s paused Resume");
    assert_eq!(paused(&mut conn), 1);
    // Twice is as once.
    ann.send(&page, &stream.clone().press("pause")).is(303);
    ann.send(&done, &done.form("change-stream").press("resume"))
        .is(303);
    assert_eq!(paused(&mut conn), 0);
    assert_eq!(
        conn.number("select count(*) as n from outbox_streams where paused"),
        0
    );
    for wrong in [stream.clone().with("do", "stop"), stream.clone()] {
        ann.send(&page, &wrong)
            .is(400)
            .says("`do` is pause or resume");
    }
    for name in [String::new(), "x".repeat(101)] {
        let refused = ann.send(&page, &stream.clone().set("stream", &name).press("pause"));
        refused.is(409).says("1 to 100 characters");
    }
    let lines = served.stop();
    let logged = lines
        .iter()
        .filter(|line| line.contains("ann") && line.contains("mail <b>"));
    assert_eq!(logged.count(), 3, "{lines:#?}");
}
