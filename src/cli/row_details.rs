//! `outbox show`: one row with its history, its headers and, if asked for, its body.

use chrono::{DateTime, SecondsFormat, Utc};
use clap::Args;

use super::admin_database::{no_such_row, read_at};
use super::output::Output;
use super::row_table::{age, received_object, row_object};
use super::run::Failure;
use crate::admin::{self, ReceivedDetails, RowDetails, RowState, Rows};
use crate::backend::Backend;
use crate::db::Db;

#[derive(Args)]
pub(super) struct Show {
    /// Function calls, not messages
    #[arg(long)]
    calls: bool,
    /// Messages of the inbox, by the id of the message or of the row
    #[arg(long, conflicts_with = "calls")]
    inbox: bool,
    /// Ids of the rows, in any spelling
    #[arg(required = true)]
    ids: Vec<String>,
    /// Print the body too, or the arguments of a call
    #[arg(long)]
    body: bool,
    /// Print texts unchanged; without it, a terminal gets their control characters escaped
    #[arg(long)]
    pub(super) raw: bool,
}

pub(super) async fn perform<C: Backend>(
    db: &Db<C>,
    show: Show,
    out: &mut Output,
) -> Result<(), Failure> {
    let of = Rows::of(show.calls);
    let mut unknown = Vec::new();
    let mut is_first = true;
    for id in &show.ids {
        if out.is_closed() {
            return Ok(());
        }
        let name = id.clone();
        let mut separate = |out: &mut Output| {
            if !std::mem::take(&mut is_first) && !out.is_json() {
                out.line("");
            }
        };
        if show.inbox {
            let read = read_at(db, move |conn| admin::show_inbox(conn, name)).await?;
            if read.found.is_empty() {
                unknown.push(id.as_str());
            }
            for found in &read.found {
                separate(out);
                print_received(found, read.now, show.body, out);
            }
            continue;
        }
        let read = read_at(db, move |conn| of.show(conn, name)).await?;
        match read.found {
            Some(found) => {
                separate(out);
                print(of, &found, read.now, show.body, out);
            }
            None => unknown.push(id),
        }
    }
    match unknown.as_slice() {
        [] => Ok(()),
        unknown => Err(no_such_row(unknown, show.inbox)),
    }
}

fn print(of: Rows, found: &RowDetails, now: DateTime<Utc>, with_body: bool, out: &mut Output) {
    if out.is_json() {
        let mut object = row_object(of, &found.row)
            .with("blocked_by", &found.blocked_by)
            .with("signature", &found.signature)
            .with_document("headers", &found.headers)
            .with("body_bytes", found.body.len());
        if with_body {
            object = match found.body.as_str() {
                "" => object.with("body", None::<&str>),
                body => object.with_document("body", body),
            };
        }
        return out.object(&object);
    }
    let row = &found.row;
    let moment = |time| moment(now, time);
    let (target, done) = if of == Rows::Calls {
        ("name", "executed")
    } else {
        ("destination", "sent")
    };
    field(out, "id", Some(&row.id));
    field(out, "state", Some(&row.state.to_string()));
    field(out, target, Some(&row.destination));
    field(out, "stream", row.stream.as_deref());
    field(out, "key", row.key.as_deref());
    field(out, "seq", Some(&row.seq.to_string()));
    field(out, "written", Some(&moment(row.added)));
    field(out, done, row.sent_at.map(moment).as_deref());
    if row.attempts > 0 {
        let attempts = format!("{} of its attempts", row.attempts);
        field(out, "failed", Some(&attempts));
    }
    field(out, "error", row.error.as_deref());
    let due = row.due_at.map(moment);
    match row.state {
        RowState::Leased => field(out, "leased until", due.as_deref()),
        _ => field(out, "not before", due.as_deref()),
    }
    field(out, "expires", row.expires_at.map(moment).as_deref());
    field(out, "blocked by", found.blocked_by.as_deref());
    if row.blocks_key {
        field(out, "blocks", Some("the later rows of its key"));
    }
    field(out, "signature", found.signature.as_deref());
    headers(out, Some(&found.headers));
    body(
        out,
        Some(&found.body).filter(|body| !body.is_empty()),
        with_body,
    );
}

fn print_received(found: &ReceivedDetails, now: DateTime<Utc>, with_body: bool, out: &mut Output) {
    let row = &found.row;
    if out.is_json() {
        let mut object = received_object(row);
        object = match &found.headers {
            Some(headers) => object.with_document("headers", headers),
            None => object.with("headers", None::<&str>),
        };
        object = object.with("body_bytes", found.body.as_ref().map(String::len));
        if with_body {
            object = match &found.body {
                Some(body) => object.with_document("body", body),
                None => object.with("body", None::<&str>),
            };
        }
        return out.object(&object);
    }
    field(out, "message", row.message_id.as_deref());
    field(out, "row", Some(&row.id));
    field(
        out,
        "consumer",
        Some(&row.consumer)
            .filter(|name| !name.is_empty())
            .map(String::as_str),
    );
    field(out, "handled", Some(&moment(now, row.handled_at)));
    if row.failed_attempts > 0 {
        let attempts = format!("{} attempts before", row.failed_attempts);
        field(out, "failed", Some(&attempts));
    }
    headers(out, found.headers.as_ref());
    body(out, found.body.as_ref(), with_body);
}

/// Prints a name and its value, if there is one.
fn field(out: &mut Output, name: &str, value: Option<&str>) {
    let Some(value) = value else { return };
    let value = out.text(value).into_owned();
    out.line(format_args!("{name:<14}{value}"));
}

fn moment(now: DateTime<Utc>, time: DateTime<Utc>) -> String {
    let written = time.to_rfc3339_opts(SecondsFormat::Millis, true);
    if time > now {
        return written;
    }
    format!("{written} ({} ago)", age(now, time))
}

/// Prints the headers, one on a line, in the order of their names.
fn headers(out: &mut Output, headers: Option<&String>) {
    let Some(text) = headers else { return };
    out.line("headers");
    let Ok(headers) = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text)
    else {
        let text = out.text(text).into_owned();
        out.line(format_args!("  {text}"));
        return;
    };
    for (name, value) in &headers {
        let value = match value {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let line = format!("  {}: {}", out.text(name), out.text(&value));
        out.line(line);
    }
}

/// Prints the body, or its size.
fn body(out: &mut Output, body: Option<&String>, with_body: bool) {
    match body {
        None => out.line(format_args!("{:<14}not stored as JSON", "body")),
        Some(body) if with_body => {
            out.line("body");
            out.bytes(body.as_bytes());
            out.line("");
        }
        Some(body) => out.line(format_args!(
            "{:<14}{} bytes; --body prints them",
            "body",
            body.len()
        )),
    }
}
