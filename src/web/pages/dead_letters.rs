//! The dead letters of a queue, which are read from the broker.

use std::ops::ControlFlow;
use std::sync::Arc;

use axum::response::Response;
use chrono::Utc;
use maud::{Markup, html};

use super::layout::{Page, Place};
use super::parts::{
    Shown, beginning, body, field, form_token, full_moment, headers, hidden, moment, number,
    outside, text_field,
};
use super::row_change::visit_of;
use crate::admin::dead_letters::{DeadLetter, DeadLetters, Selection};
use crate::backend::Change;
use crate::message::dead_letter_headers::ATTEMPTS;
use crate::web::failure::PageFailure;
use crate::web::jobs::{Job, Task};
use crate::web::parameters::Parameters;
use crate::web::pending::PendingChange;
use crate::web::row_query::{BadFilter, age};
use crate::web::site::Site;
use crate::web::visit::{Form, Visit};

/// Dead letters on a page.
const LISTED: usize = 100;
/// Dead letters that are read to count those that match.
const COUNTED: usize = 100_000;

/// The dead letters that a page is about.
struct Query {
    queue: String,
    from: Option<String>,
    ids: Vec<String>,
    error: Option<String>,
    older_than: Option<String>,
    selection: Selection,
}

impl Query {
    /// The dead letters of an address or of a form; `None` if it names no queue.
    fn read(parameters: &Parameters) -> Result<Option<Self>, BadFilter> {
        let text = |name| parameters.text(name).map(str::to_owned);
        let Some(queue) = text("queue") else {
            return Ok(None);
        };
        let ids: Vec<String> = parameters
            .all("id")
            .filter(|id| !id.is_empty())
            .map(str::to_owned)
            .collect();
        let (error, older_than) = (text("error"), text("older-than"));
        let mut selection = ids.iter().fold(Selection::all(), Selection::id);
        if let Some(part) = &error {
            selection = selection.error(part);
        }
        if let Some(value) = &older_than {
            selection = selection.older_than(age("older-than", value)?);
        }
        Ok(Some(Self {
            queue,
            from: text("from"),
            ids,
            error,
            older_than,
            selection,
        }))
    }

    /// The address of the queue and the filters, without ids.
    fn parameters(&self) -> Parameters {
        Parameters::default()
            .with("queue", &self.queue)
            .with_any("from", self.from.as_ref())
            .with_any("error", self.error.as_ref())
            .with_any("older-than", self.older_than.as_ref())
    }

    fn words(&self) -> String {
        let named = [
            ("error", self.error.as_deref()),
            ("older-than", self.older_than.as_deref()),
        ];
        let words = named.into_iter();
        let words = words.filter_map(|(name, value)| Some(format!("{name} {}", value?)));
        let selected = (!self.ids.is_empty()).then(|| format!("ids {}", self.ids.join(", ")));
        words.chain(selected).collect::<Vec<_>>().join(", ")
    }
}

fn open(site: &Site, queue: &str, from: Option<&str>) -> Result<DeadLetters, PageFailure> {
    Ok(match from {
        Some(from) => DeadLetters::in_queue(&site.config, queue, from)?,
        None => DeadLetters::of(&site.config, queue)?,
    })
}

pub(in crate::web) async fn list(visit: Visit) -> Result<Response, PageFailure> {
    let query = Query::read(&visit.query)?;
    let found = match &query {
        Some(query) => Some(listed(&visit, query).await?),
        None => None,
    };
    let value = |name: &'static str| visit.query.text(name);
    let content = html! {
        h1 { "Dead letters" }
        form.filters method="get" action="dead-letters" role="search" {
            label {
                span { "Queue of the subscriber" }
                input type="text" name="queue" value=(value("queue").unwrap_or_default()) placeholder="billing" list="queues" required;
            }
            (queues(&visit.site))
            (text_field("from", "Queue with its dead letters", value("from"), "DLQ.billing"))
            (text_field("error", "Error contains", value("error"), ""))
            (text_field("older-than", "Failed before", value("older-than"), "2h"))
            div.buttons { button { "Read" } }
        }
        p.hint {
            "They are read from the broker and stay there. Reading counts as a delivery: a quorum queue with a delivery limit drops a message that is read too often."
        }
        @if let Some(found) = found { (found) }
    };
    Ok(page(&visit, "Dead letters").with(&content))
}

/// The queues that the settings name.
fn queues(site: &Site) -> Markup {
    let subscriptions = site.config.subscription.iter();
    let queues = subscriptions.filter_map(|subscription| subscription.queue.as_deref());
    html! { datalist id="queues" { @for queue in queues { option value=(queue); } } }
}

fn page<'a>(visit: &'a Visit, title: &'a str) -> Page<'a> {
    Page {
        visit,
        place: Place::DeadLetters,
        title,
        is_live: false,
    }
}

async fn listed(visit: &Visit, query: &Query) -> Result<Markup, PageFailure> {
    let site = &visit.site;
    let mut dead_letters = open(site, &query.queue, query.from.as_deref())?;
    let mut found: Vec<DeadLetter> = Vec::new();
    let mut has_more = false;
    let place = site.dead_letters.lock().await;
    dead_letters
        .read(&query.selection, |dead_letter| {
            has_more = found.len() >= LISTED;
            if has_more {
                return ControlFlow::Break(());
            }
            found.push(dead_letter.clone());
            ControlFlow::Continue(())
        })
        .await?;
    drop(place);
    let table = table(visit, query, &found);
    Ok(html! {
        h2 { (outside(dead_letters.dead_letter_queue())) }
        @if found.is_empty() {
            p.empty { "It has no such messages." }
        } @else if site.is_read_only {
            (table)
        } @else {
            form method="post" action="change-dead-letters" {
                (form_token(visit))
                (hidden(&query.parameters()))
                (table)
                fieldset.actions {
                    legend { "Change messages; the next page shows their number first" }
                    div.buttons {
                        button name="do" value="replay.selected" { "Replay the selected" }
                        button name="do" value="replay.all" { "Replay all that match" }
                    }
                    div.buttons {
                        button name="do" value="drop.selected" { "Delete the selected" }
                        button name="do" value="drop.all" { "Delete all that match" }
                    }
                }
            }
        }
        @if has_more { p.hint { "These are the first " (LISTED) ". Filter to see others." } }
    })
}

fn table(visit: &Visit, query: &Query, found: &[DeadLetter]) -> Markup {
    let now = Utc::now();
    let link = |id: &str| query.parameters().with("id", id).link("dead-letter");
    html! {
        div.scroll {
            table.rows {
                thead {
                    tr {
                        @if !visit.site.is_read_only { th.box { input.scripted type="checkbox" data-all aria-label="Select all on this page"; } }
                        th { "Failed" } th.number { "Attempts" } th { "Sent to" } th { "Error" } th { "Id" }
                    }
                }
                tbody {
                    @for one in found {
                        tr {
                            @if !visit.site.is_read_only {
                                td.box { input type="checkbox" name="id" value=(one.id()) aria-label={"Select " (outside(one.id()))}; }
                            }
                            td data-label="Failed" { @if let Some(time) = one.failed_at() { (moment(now, time)) } }
                            td.number data-label="Attempts" { (outside(one.header(ATTEMPTS).unwrap_or_default())) }
                            td data-label="Sent to" { (outside(one.destination().unwrap_or_default())) }
                            td.error data-label="Error" {
                                (beginning(&one.error()))
                                @if !one.is_complete() { " " span.state data-state="parked" { "not readable as it was sent" } }
                            }
                            td.id data-label="Id" { a href=(link(one.id())) { (outside(one.id())) } }
                        }
                    }
                }
            }
        }
    }
}

pub(in crate::web) async fn message(visit: Visit) -> Result<Response, PageFailure> {
    let Some(query) = Query::read(&visit.query)? else {
        return Err(PageFailure::bad("`queue` is missing"));
    };
    let mut dead_letters = open(&visit.site, &query.queue, query.from.as_deref())?;
    let mut found = None;
    let place = visit.site.dead_letters.lock().await;
    dead_letters
        .read(&query.selection, |dead_letter| {
            found = Some(dead_letter.clone());
            ControlFlow::Break(())
        })
        .await?;
    drop(place);
    let Some(found) = found else {
        return Err(PageFailure::not_found(
            "no dead letter has this id any more: it was replayed or deleted",
        ));
    };
    let shown = Shown::read(&visit.query);
    let address = query.parameters().with("id", found.id());
    let of_page = ("dead-letter", &address);
    let content = html! {
        h1 { "Dead letter" }
        section.card {
            dl.fields {
                (field("Id", Some(outside(found.id()))))
                (field("Sent to", found.destination().map(outside)))
                (field("Error", Some(outside(&found.error()))))
                (field("Attempts", found.attempts().map(|attempts| html! { (attempts) })))
                (field("Last failure", found.failed_at().map(|time| full_moment(Utc::now(), time))))
                (field("Not readable", (!found.defects().is_empty()).then(|| outside(&found.defects()))))
            }
        }
        @if !visit.site.is_read_only {
            form method="post" action="change-dead-letters" {
                (form_token(&visit))
                (hidden(&address))
                div.buttons {
                    @if found.is_complete() { button name="do" value="replay.selected" { "Replay" } }
                    button name="do" value="drop.selected" { "Delete" }
                }
            }
        }
        (headers(&visit.site, found.headers(), shown, of_page))
        (body(&visit.site, "Body", Some(found.body()), shown, of_page))
        p { a href=(query.parameters().link("dead-letters")) { "All dead letters of this queue" } }
    };
    Ok(page(&visit, "Dead letter").with(&content))
}

/// Counts the dead letters and asks for a confirmation.
pub(in crate::web) async fn ask(form: Form) -> Result<Response, PageFailure> {
    let wanted = form
        .fields
        .get("do")
        .and_then(|wanted| wanted.split_once('.'));
    let (is_replay, is_all) = match wanted {
        Some((action @ ("replay" | "drop"), scope @ ("selected" | "all"))) => {
            (action == "replay", scope == "all")
        }
        _ => return Err(super::row::unknown_action()),
    };
    let Some(mut query) = Query::read(&form.fields)? else {
        return Err(PageFailure::bad("`queue` is missing"));
    };
    if is_all {
        // The boxes do not count then.
        let address = query.parameters();
        query = Query::read(&address)?.ok_or_else(|| PageFailure::bad("`queue` is missing"))?;
    } else if query.ids.is_empty() {
        return Err(PageFailure::bad(
            "no message is selected: go back, and select some",
        ));
    }
    let selection = match is_replay {
        true => query.selection.clone().complete(),
        false => query.selection.clone(),
    };
    let mut dead_letters = open(&form.site, &query.queue, query.from.as_deref())?;
    let place = form.site.dead_letters.lock().await;
    let mut read = 0_usize;
    let counted = dead_letters
        .read(&selection, |_| {
            read += 1;
            match read >= COUNTED {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })
        .await?;
    drop(place);
    let total = counted.selected as u64;
    let words = query.words();
    let pending = PendingChange::DeadLetters {
        queue: query.queue.clone(),
        from: query.from.clone(),
        selection,
        total,
        is_replay,
        filter: words.clone(),
    };
    let id = (total > 0).then(|| form.site.pending.add(&form.user, pending));
    let verb = if is_replay { "Replay" } else { "Delete" };
    let noun = if total == 1 { "message" } else { "messages" };
    let more = if read >= COUNTED { " or more" } else { "" };
    let visit = visit_of(&form);
    let content = html! {
        h1 { (verb) " " (number(total)) (more) " " (noun) "?" }
        p { "Queue: " (outside(dead_letters.dead_letter_queue())) }
        @if !words.is_empty() { p { "Filter: " (outside(&words)) } }
        p.hint {
            @if is_replay { "They go back to the queue of the subscriber, as they were sent." }
            @else { "The messages are gone afterwards." }
        }
        @if counted.incomplete > 0 { p.hint { (counted.incomplete) " more cannot be read as they were sent, and stay." } }
        @if let Some(id) = id {
            form.confirm method="post" action="confirm" {
                (form_token(&visit))
                input type="hidden" name="change" value=(id);
                div.buttons {
                    button.primary autofocus { (verb) " " (number(total)) (more) " " (noun) }
                    a href=(query.parameters().link("dead-letters")) { "Back" }
                }
            }
        } @else {
            p.empty { "No message matches." }
        }
    };
    Ok(page(&visit, "Confirm a change").with(&content))
}

/// Starts a change that was confirmed.
pub(super) fn start(form: &Form, change: PendingChange) -> Result<Arc<Job>, PageFailure> {
    let PendingChange::DeadLetters {
        queue,
        from,
        selection,
        total,
        is_replay,
        filter,
    } = change
    else {
        return Err(super::row::unknown_action());
    };
    let name = if is_replay { "replay" } else { "delete" };
    let change = Change {
        user: form.user.0.clone(),
        action: name.to_owned(),
        target: format!("dead letters of {queue}"),
        details: if filter.is_empty() {
            "all".to_owned()
        } else {
            filter
        },
        changed: 0,
        error: None,
    };
    let task = Task {
        title: format!("{name} {} dead letters of {queue}", number(total)),
        user: form.user.clone(),
        total,
        back: Parameters::default()
            .with("queue", &queue)
            .with_any("from", from.as_ref())
            .link("dead-letters"),
    };
    let mut dead_letters = open(&form.site, &queue, from.as_deref())?;
    let site = Arc::clone(&form.site);
    Ok(form.site.jobs.start(task, move |changed| async move {
        let _place = site.dead_letters.lock().await;
        let mut done = 0;
        let count = || {
            done += 1;
            changed.set(done);
        };
        let outcome = match is_replay {
            true => dead_letters.replay_with(&selection, count).await,
            false => dead_letters.delete_with(&selection, count).await,
        };
        let change = Change {
            changed: done,
            error: outcome.as_ref().err().map(ToString::to_string),
            ..change
        };
        site.record(change).await;
        match outcome {
            Ok(found) if is_replay => Ok(format!("{} sent back", found.selected)),
            Ok(found) => Ok(format!("{} deleted", found.selected)),
            Err(error) => Err(error.to_string()),
        }
    }))
}
