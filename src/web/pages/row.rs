//! A message or a call with its history, what blocks it, its headers and its body.

use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::layout::{Page, Place};
use super::parts::{
    Shown, body, field, form_token, full_moment, headers, list_name, outside, row_link, state,
    stored_headers, text_field,
};
use super::rows::action_names;
use crate::admin::pooled::Read;
use crate::admin::{Action, Row, RowDetails, RowState, Rows};
use crate::web::failure::PageFailure;
use crate::web::parameters::Parameters;
use crate::web::visit::Visit;

pub(in crate::web) async fn message(visit: Visit) -> Result<Response, PageFailure> {
    page(visit, Rows::Messages, Place::Messages).await
}

pub(in crate::web) async fn call(visit: Visit) -> Result<Response, PageFailure> {
    page(visit, Rows::Calls, Place::Calls).await
}

async fn page(visit: Visit, of: Rows, place: Place) -> Result<Response, PageFailure> {
    let id = visit.query.text("id").unwrap_or_default();
    let read = visit.site.store.find(of, id.to_owned()).await?;
    let Read { now, found } = read;
    let Some(found) = found else {
        let text = format!("no row has the id `{id}`: it was deleted, or is in another database");
        return Err(PageFailure::not_found(text));
    };
    let shown = Shown::read(&visit.query);
    let address = Parameters::default().with("id", &found.row.id);
    let of_page = match of {
        Rows::Messages => ("message", &address),
        Rows::Calls => ("call", &address),
    };
    let (noun, body_title) = match of {
        Rows::Messages => ("Message", "Body"),
        Rows::Calls => ("Call", "Arguments"),
    };
    let pairs = stored_headers(&found.headers);
    let pairs = pairs
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let text = Some(found.body.as_bytes()).filter(|body| !body.is_empty());
    let content = html! {
        @if let Some(done) = visit.query.text("done") { p.notice role="status" { (notice(done)) } }
        h1 { (noun) " " (state(found.row.state)) }
        (facts(of, &found, now))
        @if !visit.site.is_read_only { (changes(&visit, of, &found.row)) }
        (headers(&visit.site, pairs, shown, of_page))
        (body(&visit.site, body_title, text, shown, of_page))
    };
    let page = Page {
        visit: &visit,
        place,
        title: &format!("{noun} {}", found.row.id),
        is_live: true,
    };
    Ok(page.with(&content))
}

/// What was done, for a name in the address.
fn notice(done: &str) -> &'static str {
    match done {
        "retry" => "It will be tried again.",
        "cancel" => "It is cancelled.",
        _ => "It was not changed: its state does not allow that any more.",
    }
}

fn facts(of: Rows, found: &RowDetails, now: chrono::DateTime<chrono::Utc>) -> Markup {
    let row = &found.row;
    let (target, done) = match of {
        Rows::Messages => ("Destination", "Sent"),
        Rows::Calls => ("Function", "Executed"),
    };
    let text = |text: &Option<String>| text.as_deref().map(outside);
    let due = match row.state {
        RowState::Leased => "Leased until",
        _ => "Not before",
    };
    let list = |name: &str, value: &Option<String>| {
        let link = value.as_deref().map(|value| {
            let address = Parameters::default().with("state", tab_of(row.state));
            (
                address.with(name, value).link(list_name(of)),
                outside(value),
            )
        });
        link.map(|(link, value)| html! { a href=(link) { (value) } })
    };
    let waits_for = found.blocked_by.as_deref().map(|id| {
        html! { a href=(row_link(of, id)) { (outside(id)) } ", an earlier row of its key" }
    });
    html! {
        section.card {
            dl.fields {
                (field("Id", Some(html! { code { (outside(&row.id)) } })))
                (field(target, list("to", &Some(row.destination.clone()))))
                (field("Stream", list("stream", &row.stream)))
                (field("Key", list("key", &row.key)))
                (field("Blocked by", waits_for))
                (field("Blocks", row.blocks_key.then(|| html! { "the later rows of its key" })))
                (field("Written", Some(html! { (full_moment(now, row.added)) ", as number " (row.seq) })))
                (field("Failed attempts", (row.attempts > 0).then(|| html! { (row.attempts) })))
                (field("Error", text(&row.error)))
                (field(due, row.due_at.map(|time| full_moment(now, time))))
                (field("Expires", row.expires_at.map(|time| full_moment(now, time))))
                (field(done, row.sent_at.map(|time| full_moment(now, time))))
                (field("Signature", text(&found.signature)))
            }
        }
    }
}

/// The list that has the rows in this state.
fn tab_of(state: RowState) -> &'static str {
    match state {
        RowState::Waiting | RowState::Leased => "waiting",
        RowState::Parked => "parked",
        RowState::Sent | RowState::Executed => "done",
    }
}

fn changes(visit: &Visit, of: Rows, row: &Row) -> Markup {
    let actions: &[Action] = match row.state {
        RowState::Parked if row.blocks_key => &[Action::Retry, Action::Skip, Action::Delete],
        RowState::Parked => &[Action::Retry, Action::Delete],
        RowState::Waiting => &[Action::Cancel],
        RowState::Sent | RowState::Executed => &[Action::Resend],
        RowState::Leased => &[],
    };
    let verb = |action| match action {
        Action::Skip => "Unblock its key",
        other => action_names(of, other).1,
    };
    html! {
        @if actions.is_empty() {
            p.hint { "It is leased, so that it cannot be changed now." }
        } @else {
            form method="post" action="change-rows" {
                (form_token(visit))
                input type="hidden" name="of" value=(list_name(of));
                input type="hidden" name="id" value=(row.id);
                fieldset.actions {
                    legend { "Change it" }
                    div.buttons {
                        @for action in actions {
                            button name="do" value={(action_names(of, *action).0) ".this"} { (verb(*action)) }
                        }
                    }
                    @if row.state == RowState::Parked && of == Rows::Messages {
                        (text_field("destination", "Retry with another destination", None, &row.destination))
                    }
                }
            }
        }
    }
}

/// Refuses a request whose action is not known.
pub(super) fn unknown_action() -> PageFailure {
    PageFailure::new(
        StatusCode::BAD_REQUEST,
        "Not understood",
        "there is no such action",
    )
}
