//! Changes of rows: counted and shown first, then confirmed.

use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use maud::html;

use super::dead_letters;
use super::layout::{Page, Place};
use super::parts::{
    form_token, list_name, number, outside, redirect, row_link, row_table, rows_named,
};
use super::row::unknown_action;
use super::rows::action_names;
use crate::admin::{Action, Filter, Rows, wording};
use crate::backend::Change;
use crate::web::failure::PageFailure;
use crate::web::jobs::{Job, Task};
use crate::web::parameters::{Parameters, link};
use crate::web::pending::PendingChange;
use crate::web::row_query::RowQuery;
use crate::web::store::FilteredChange;
use crate::web::visit::{Form, Visit};

/// Rows that are shown before a change.
const LISTED: usize = 20;
/// How long a confirmation waits for the end of a short change.
const PATIENCE: Duration = Duration::from_secs(1);

const ACTIONS: [Action; 5] = [
    Action::Retry,
    Action::Cancel,
    Action::Skip,
    Action::Resend,
    Action::Delete,
];

/// Which rows are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// The row of the page.
    This,
    /// Those that are selected.
    Selected,
    /// All that the filters accept.
    All,
}

/// Counts the rows and asks for a confirmation. One row is changed at once, if nothing is lost by that.
pub(in crate::web) async fn ask(form: Form) -> Result<Response, PageFailure> {
    let of = rows_named(form.fields.get("of").unwrap_or_default())?;
    let (action, scope) = wanted(&form.fields, of).ok_or_else(unknown_action)?;
    let destination = form.fields.text("destination");
    let destination = destination
        .filter(|_| action == Action::Retry)
        .map(str::to_owned);
    if scope == Scope::This && matches!(action, Action::Retry | Action::Cancel) {
        return change_one(&form, of, action, destination).await;
    }
    // An id is a box of the list, and none of its filters.
    let query = RowQuery::read(&form.fields.without("id"))?;
    let ids: Vec<&str> = form.fields.all("id").filter(|id| !id.is_empty()).collect();
    let (filter, words) = match scope {
        Scope::All => (query.filter(), query.words()),
        Scope::Selected | Scope::This if ids.is_empty() => {
            return Err(PageFailure::bad(
                "no row is selected: go back, and select some",
            ));
        }
        Scope::Selected | Scope::This => {
            let filter = ids.iter().fold(Filter::new(), |filter, id| filter.id(id));
            (filter, format!("ids {}", ids.join(", ")))
        }
    };
    let change = FilteredChange {
        of,
        action,
        filter,
        destination: destination.clone(),
    };
    let read = form.site.store.count(change, LISTED).await?;
    let (matching, first) = read.found;
    let rows = matching.rows();
    let visit = visit_of(&form);
    let (_, verb) = action_names(of, action);
    let what = wording::changeable(of, action, rows);
    let pending = PendingChange::Rows {
        of,
        action,
        matching,
        destination: destination.clone(),
        filter: words.clone(),
    };
    let id = (rows > 0).then(|| form.site.pending.add(&form.user, pending));
    let content = html! {
        h1 { (verb) " " (number(rows)) " " (what) "?" }
        @if !words.is_empty() { p { "Filter: " (outside(&words)) } }
        @if let Some(destination) = &destination { p { "New destination: " strong { (outside(destination)) } } }
        p.hint { (explanation(of, action)) }
        @if let Some(id) = id {
            form.confirm method="post" action="confirm" {
                (form_token(&visit))
                input type="hidden" name="change" value=(id);
                div.buttons {
                    button.primary autofocus { (verb) " " (number(rows)) " " (what) }
                    a href=(query.parameters().link(list_name(of))) { "Back" }
                }
            }
        } @else {
            p.empty { "No row matches whose state allows this." }
        }
        (row_table(of, read.now, &first, false))
        @if rows > first.len() as u64 { p.hint { "And " (number(rows - first.len() as u64)) " more." } }
    };
    let page = Page {
        visit: &visit,
        place: place(of),
        title: "Confirm a change",
        is_live: false,
    };
    Ok(page.with(&content))
}

/// Carries out a change that was counted and confirmed.
pub(in crate::web) async fn confirm(form: Form) -> Result<Response, PageFailure> {
    let id = form.fields.get("change").unwrap_or_default();
    let Some(change) = form.site.pending.take(&form.user, id) else {
        return Err(PageFailure::new(
            axum::http::StatusCode::GONE,
            "Not changed",
            "this change was carried out before, or has waited for too long: begin it again",
        ));
    };
    let job = match change {
        PendingChange::Rows {
            of,
            action,
            matching,
            destination,
            filter,
        } => {
            let rows = matching.rows();
            let (name, _) = action_names(of, action);
            let what = wording::changeable(of, action, rows);
            let change = Change {
                user: form.user.0.clone(),
                action: name.to_owned(),
                target: list_name(of).to_owned(),
                details: details(&filter, destination.as_deref()),
                changed: 0,
                error: None,
            };
            let task = Task {
                title: format!("{name} {} {what}", number(rows)),
                user: form.user.clone(),
                total: rows,
                back: Parameters::default()
                    .with(
                        "state",
                        if action == Action::Cancel {
                            "waiting"
                        } else {
                            "parked"
                        },
                    )
                    .link(list_name(of)),
            };
            let site = Arc::clone(&form.site);
            form.site.jobs.start(task, move |changed| async move {
                let outcome = site.store.apply(matching, changed.clone()).await;
                let outcome = outcome.map_err(|error| error.to_string());
                let change = Change {
                    changed: changed.get(),
                    error: outcome.as_ref().err().cloned(),
                    ..change
                };
                site.record(change).await;
                outcome.map(|rows| format!("{} {}", number(rows), wording::done(of, action)))
            })
        }
        PendingChange::DeadLetters { .. } => dead_letters::start(&form, change)?,
    };
    Ok(after(&job).await)
}

/// The page of a job, at once or when it has ended shortly.
async fn after(job: &Job) -> Response {
    let _ = tokio::time::timeout(PATIENCE, job.ended()).await;
    redirect(&link("job", "id", &job.id.to_string()))
}

/// Changes the row of a page, and shows it again.
async fn change_one(
    form: &Form,
    of: Rows,
    action: Action,
    destination: Option<String>,
) -> Result<Response, PageFailure> {
    let id = form.fields.get("id").unwrap_or_default();
    let (ids, store) = (vec![id.to_owned()], &form.site.store);
    let (name, _) = action_names(of, action);
    let changed = match &destination {
        Some(destination) if of == Rows::Messages => {
            store.redirect(destination.clone(), ids).await?
        }
        _ => store.act(of, action, ids).await?,
    };
    let change = Change {
        user: form.user.0.clone(),
        action: name.to_owned(),
        target: list_name(of).to_owned(),
        details: details(&format!("id {id}"), destination.as_deref()),
        changed: changed.rows as u64,
        error: None,
    };
    form.site.record(change).await;
    let done = if changed.rows > 0 { name } else { "nothing" };
    Ok(redirect(&format!("{}&done={done}", row_link(of, id))))
}

/// Which rows a change is about, in words.
fn details(filter: &str, destination: Option<&str>) -> String {
    let filter = if filter.is_empty() { "all" } else { filter };
    match destination {
        Some(destination) => format!("{filter}, new destination {destination}"),
        None => filter.to_owned(),
    }
}

fn wanted(fields: &Parameters, of: Rows) -> Option<(Action, Scope)> {
    let (name, scope) = fields.get("do")?.split_once('.')?;
    let mut actions = ACTIONS.into_iter();
    let action = actions.find(|action| action_names(of, *action).0 == name)?;
    let scope = match scope {
        "this" => Scope::This,
        "selected" => Scope::Selected,
        "all" => Scope::All,
        _ => return None,
    };
    Some((action, scope))
}

fn explanation(of: Rows, action: Action) -> &'static str {
    match action {
        Action::Retry => {
            "They are tried again at once; their failed attempts do not count any more."
        }
        Action::Cancel => {
            "They are parked with the reason `cancelled`. Retry makes them wait again."
        }
        Action::Skip => {
            "The later rows of their keys are taken without these, which stay parked: the order of these keys is given up."
        }
        Action::Delete => "The rows are gone afterwards, and what they say is lost.",
        Action::Resend if of == Rows::Calls => "Their effect happens a second time.",
        Action::Resend => {
            "They are sent a second time with the same id: an inbox that has it sees a duplicate, others have the effect twice."
        }
    }
}

/// The form as a visit, to show a page.
pub(super) fn visit_of(form: &Form) -> Visit {
    Visit {
        site: Arc::clone(&form.site),
        user: form.user.clone(),
        query: Parameters::default(),
    }
}

fn place(of: Rows) -> Place {
    match of {
        Rows::Messages => Place::Messages,
        Rows::Calls => Place::Calls,
    }
}
