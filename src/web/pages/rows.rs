//! Lists of messages and of calls.

use axum::response::Response;
use maud::{Markup, html};

use super::layout::{Page, Place};
use super::parts::{form_token, hidden, list_name, redirect, row_link, row_table, text_field};
use crate::admin::{Action, Rows};
use crate::web::failure::PageFailure;
use crate::web::row_query::{PAGE, RowQuery, Tab};
use crate::web::store::Part;
use crate::web::visit::Visit;

pub(in crate::web) async fn messages(visit: Visit) -> Result<Response, PageFailure> {
    page(visit, Rows::Messages, Place::Messages).await
}

pub(in crate::web) async fn calls(visit: Visit) -> Result<Response, PageFailure> {
    page(visit, Rows::Calls, Place::Calls).await
}

async fn page(visit: Visit, of: Rows, place: Place) -> Result<Response, PageFailure> {
    let query = RowQuery::read(&visit.query)?;
    // An id is one row, whatever its state is.
    if let Some(id) = query.given.text("id") {
        return Ok(redirect(&row_link(of, id)));
    }
    let part = Part {
        after: query.after.clone(),
        limit: PAGE,
    };
    let store = &visit.site.store;
    let read = match query.tab {
        Tab::Done => store.list_done(of, query.listed(), part).await?,
        Tab::Waiting | Tab::Parked => store.list(of, query.listed(), part).await?,
    };
    let (now, found) = (read.now, read.found);
    let list = list_name(of);
    let title = format!("{} {list}", query.tab.title(of));
    let next = found.next.as_ref().map(|next| {
        let address = query.parameters().with("after", next.to_string());
        address.link(list)
    });
    let is_changeable = !visit.site.is_read_only && !found.rows.is_empty();
    let rows = row_table(of, now, &found.rows, is_changeable);
    let content = html! {
        h1 { (title) }
        nav.tabs aria-label="States" {
            @for tab in Tab::ALL {
                @let name = tab.title(of);
                @if tab == query.tab {
                    a href=(query.link(list, tab)) aria-current="page" { (name) }
                } @else {
                    a href=(query.link(list, tab)) { (name) }
                }
            }
        }
        (filters(of, &query))
        @if found.rows.is_empty() {
            p.empty { @if query.is_empty() { "No such rows." } @else { "No row matches these filters." } }
        } @else if is_changeable {
            form method="post" action="change-rows" {
                (form_token(&visit))
                input type="hidden" name="of" value=(list);
                (hidden(&query.parameters()))
                (rows)
                (actions(of, &query))
            }
        } @else {
            (rows)
        }
        nav.pages aria-label="Parts of the list" {
            @if query.after.is_some() { a href=(query.link(list, query.tab)) { "First rows" } }
            @if let Some(next) = next { a href=(next) rel="next" { "Next rows" } }
        }
    };
    let page = Page {
        visit: &visit,
        place,
        title: &title,
        is_live: true,
    };
    Ok(page.with(&content))
}

fn filters(of: Rows, query: &RowQuery) -> Markup {
    let value = |name| query.given.text(name);
    let target = match of {
        Rows::Messages => ("Destination", "/topic/orders.v1"),
        Rows::Calls => ("Function", "charge"),
    };
    html! {
        form.filters method="get" action=(list_name(of)) role="search" {
            input type="hidden" name="state" value=(query.tab.name());
            (text_field("to", target.0, value("to"), target.1))
            (text_field("stream", "Stream", value("stream"), ""))
            (text_field("key", "Key", value("key"), ""))
            (text_field("error", "Error contains", value("error"), ""))
            (text_field("older-than", "Older than", value("older-than"), "2h"))
            (text_field("newer-than", "Newer than", value("newer-than"), "3d"))
            (text_field("id", "Id", None, ""))
            div.buttons {
                button { "Filter" }
                @if !query.is_empty() { a href={(list_name(of)) "?state=" (query.tab.name())} { "Clear" } }
            }
        }
    }
}

/// The actions for the rows of a tab.
pub(super) fn actions_of(tab: Tab) -> &'static [Action] {
    match tab {
        Tab::Waiting => &[Action::Cancel],
        Tab::Parked => &[Action::Retry, Action::Skip, Action::Delete],
        Tab::Done => &[Action::Resend],
    }
}

/// The name of an action, in a form and as the verb of a button.
pub(super) fn action_names(of: Rows, action: Action) -> (&'static str, &'static str) {
    match action {
        Action::Retry => ("retry", "Retry"),
        Action::Cancel => ("cancel", "Cancel"),
        Action::Skip => ("skip", "Unblock keys of"),
        Action::Delete => ("delete", "Delete"),
        Action::Resend if of == Rows::Calls => ("resend", "Execute again"),
        Action::Resend => ("resend", "Send again"),
    }
}

fn actions(of: Rows, query: &RowQuery) -> Markup {
    let all = match query.is_empty() {
        true => "all",
        false => "all that match",
    };
    html! {
        fieldset.actions {
            legend { "Change rows; the next page shows their number first" }
            @for action in actions_of(query.tab) {
                @let (name, verb) = action_names(of, *action);
                div.buttons {
                    button name="do" value={(name) ".selected"} { (verb) " the selected" }
                    @if *action != Action::Resend || !query.is_empty() {
                        button name="do" value={(name) ".all"} { (verb) " " (all) }
                    }
                }
            }
            @if query.tab == Tab::Waiting && of == Rows::Messages {
                p.hint { "To send rows to another destination, cancel them, and retry them among the parked ones." }
            }
            @if query.tab == Tab::Parked && of == Rows::Messages {
                (text_field("destination", "Retry with another destination", None, "/topic/orders.v1"))
            }
        }
    }
}
