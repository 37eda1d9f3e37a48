//! The overview: how far the outbox is behind, and what needs attention.

use axum::response::Response;
use chrono::{DateTime, Utc};
use maud::{Markup, html};

use super::chart;
use super::layout::{Page, Place};
use super::parts::{self, beginning, count, form_token, list_name, moment, outside, short};
use crate::admin::{LeaseHolder, NamedCount, Rows, Status, StreamStatus, UnclaimedCalls};
use crate::web::failure::PageFailure;
use crate::web::parameters::Parameters;
use crate::web::processes::Process;
use crate::web::samples::{Sample, lag};
use crate::web::store::Numbers;
use crate::web::visit::Visit;

/// From this lag on, in seconds, the overview says that the outbox is behind.
const BEHIND: u64 = 60;

pub(in crate::web) async fn page(visit: Visit) -> Result<Response, PageFailure> {
    let read = visit.site.store.numbers().await?;
    let samples = visit.site.samples.all();
    let (now, numbers) = (read.now, read.found);
    let processes = visit.site.processes.all();
    let content = html! {
        h1.visually-hidden { "Overview" }
        (attention(&numbers, &processes))
        (running(&visit))
        (table(&visit, Rows::Messages, &numbers.messages, numbers.totals.sent, now, &samples))
        (table(&visit, Rows::Calls, &numbers.calls, numbers.totals.executed, now, &samples))
        (streams(&visit, &numbers))
        (process_table(&processes))
        p.hint { "Inbox: " a href="inbox" { (count(numbers.totals.received)) " handled" } " and not deleted yet." }
    };
    let page = Page {
        visit: &visit,
        place: Place::Overview,
        title: "Overview",
        is_live: true,
    };
    Ok(page.with(&content))
}

/// Something that an operator should look at.
struct Notice {
    is_serious: bool,
    text: String,
    link: Option<String>,
}

/// What needs attention, the most serious first.
fn notices(of: Rows, status: &Status) -> Vec<Notice> {
    let (list, nouns) = match of {
        Rows::Messages => (list_name(of), "messages"),
        Rows::Calls => (list_name(of), "calls"),
    };
    let tab = |state: &str| Some(Parameters::default().with("state", state).link(list));
    let some = |rows: i64, state: &str| match rows {
        1 => format!("1 {} is {state}", nouns.trim_end_matches('s')),
        _ => format!("{} {nouns} are {state}", count(rows)),
    };
    let mut notices = Vec::new();
    let mut add = |is_serious, text: String, link| {
        notices.push(Notice {
            is_serious,
            text,
            link,
        });
    };
    let failed = status.parked - status.cancelled;
    if failed > 0 {
        let text = format!("{}: not tried again automatically", some(failed, "parked"));
        add(true, text, tab("parked"));
    }
    if status.blocked > 0 {
        let text = format!(
            "{} by an earlier row of the same key",
            some(status.blocked, "blocked")
        );
        // What blocks is parked, or pauses after a failure.
        let blocking = if failed > 0 { "parked" } else { "waiting" };
        add(true, text, tab(blocking));
    }
    let lag = lag(status);
    if lag.as_secs() >= BEHIND {
        let text = format!(
            "the oldest of the {nouns} that could be taken waits for {}",
            short(lag)
        );
        add(true, text, tab("waiting"));
    }
    for calls in &status.unclaimed {
        let UnclaimedCalls { name, rows, .. } = calls;
        let text = format!("no executor takes calls of {name}: {} wait", count(*rows));
        let link = Parameters::default().with("to", name).link(list);
        add(true, text, Some(link));
    }
    if status.retrying > 0 {
        let text = format!("{} after a failure", some(status.retrying, "retried"));
        add(false, text, tab("waiting"));
    }
    notices
}

/// What is wrong with processes.
fn process_notices(processes: &[Process]) -> impl Iterator<Item = Notice> {
    let texts = processes.iter().flat_map(|process| {
        let address = &process.address;
        match &process.state {
            Err(error) => vec![format!("the process at {address} does not answer: {error}")],
            Ok(state) => {
                let problems = state.problems.iter();
                let problems =
                    problems.map(|problem| format!("the process at {address}: {problem}"));
                let circuits = state.open_circuits.iter();
                let circuits = circuits
                    .map(|it| format!("the circuit of {it} is open in the process at {address}"));
                problems.chain(circuits).collect()
            }
        }
    });
    texts.map(|text| Notice {
        is_serious: true,
        text,
        link: Some("#processes".to_owned()),
    })
}

fn attention(numbers: &Numbers, processes: &[Process]) -> Markup {
    let mut all = notices(Rows::Messages, &numbers.messages);
    all.extend(process_notices(processes));
    all.extend(notices(Rows::Calls, &numbers.calls));
    let paused = numbers.streams.iter().filter(|stream| stream.is_paused);
    all.extend(paused.map(|stream| Notice {
        is_serious: false,
        text: format!("the stream {} is paused", stream.name),
        link: Some("#streams".to_owned()),
    }));
    all.sort_by_key(|notice| !notice.is_serious);
    html! {
        @if all.is_empty() {
            section.verdict data-level="ok" {
                h2 { "All is well" }
                p { "Nothing is parked or blocked, and nothing waits for long." }
            }
        } @else {
            section.verdict data-level=(if all[0].is_serious { "error" } else { "warning" }) {
                h2 { "Needs attention" }
                ul {
                    @for notice in &all {
                        li data-level=(if notice.is_serious { "error" } else { "warning" }) {
                            @match &notice.link {
                                Some(link) => a href=(link) { (outside(&notice.text)) },
                                None => (outside(&notice.text)),
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The changes that run.
fn running(visit: &Visit) -> Markup {
    let jobs = visit.site.jobs.running();
    html! {
        @for job in jobs {
            p.card { "Running: " a href={"job?id=" (job.id)} { (outside(&job.title)) } " by " (outside(&job.user.0)) }
        }
    }
}

/// The numbers of messages, or of calls.
fn table(
    visit: &Visit,
    of: Rows,
    status: &Status,
    done: i64,
    now: DateTime<Utc>,
    samples: &[Sample],
) -> Markup {
    if of == Rows::Calls && status.waiting + status.parked + done == 0 {
        return html! {};
    }
    let list = list_name(of);
    let (title, done_title) = match of {
        Rows::Messages => ("Messages", "Sent"),
        Rows::Calls => ("Calls", "Executed"),
    };
    let tab = |state: &str| Parameters::default().with("state", state).link(list);
    html! {
        section aria-labelledby=(list) {
            h2 id=(list) { (title) }
            div.tiles {
                (tile("Lag", &short(lag(status)), "the age of the oldest row that could be taken now", None))
                (tile("Waiting", &count(status.waiting), "all rows that wait", Some(tab("waiting"))))
                (tile("Due", &count(status.due), "rows that could be taken now", None))
                (tile("Retrying", &count(status.retrying), "rows that have failed and are tried again", None))
                (tile("Blocked", &count(status.blocked), "rows that wait for an earlier one of their key", None))
                (tile("Delayed", &count(status.delayed), "rows that were written for a later time", None))
                (tile("Leased", &count(status.leased), "rows that a relay or an executor has taken", None))
                (tile("Parked", &count(status.parked), &format!("not tried again by themselves; {} expired, {} cancelled", count(status.expired), count(status.cancelled)), Some(tab("parked"))))
                (tile(done_title, &count(done), "rows that are kept until they are cleaned", Some(tab("done"))))
            }
            div.charts {
                (chart::rates(of, samples))
                (chart::lag(of, samples))
            }
            div.columns {
                (reasons(of, status))
                (targets(of, "Failing now", "The circuit of a destination that keeps failing opens in its relay.", &status.failing))
                (targets(of, "Waiting for", "", &status.targets))
                (holders(status, now))
            }
            @if !visit.site.is_read_only && status.parked > 0 {
                p.hint { "To retry all of a kind, filter the " a href=(tab("parked")) { "parked rows" } " and use \"Retry all\"." }
            }
        }
    }
}

fn tile(name: &str, value: &str, explanation: &str, link: Option<String>) -> Markup {
    let content = html! { span.name { (name) } " " span.value { (value) } };
    html! {
        @match link {
            Some(link) => a.tile href=(link) title=(explanation) { (content) },
            None => div.tile title=(explanation) { (content) },
        }
    }
}

fn reasons(of: Rows, status: &Status) -> Markup {
    let link = |reason: &str| {
        let error: String = reason.chars().take(100).collect();
        Parameters::default()
            .with("error", error)
            .link(list_name(of))
    };
    html! {
        @if !status.reasons.is_empty() {
            div.card {
                h3 { "Why rows are retried" }
                ul.counted {
                    @for NamedCount { name, rows, .. } in status.reasons.iter().take(8) {
                        li { span.number { (count(*rows)) } a href=(link(name)) { (beginning(name)) } }
                    }
                }
            }
        }
    }
}

fn targets(of: Rows, title: &str, hint: &str, targets: &[NamedCount]) -> Markup {
    let link = |name: &str| Parameters::default().with("to", name).link(list_name(of));
    html! {
        @if !targets.is_empty() {
            div.card {
                h3 { (title) }
                @if !hint.is_empty() { p.hint { (hint) } }
                ul.counted {
                    @for NamedCount { name, rows, .. } in targets.iter().take(8) {
                        li { span.number { (count(*rows)) } a href=(link(name)) { (outside(name)) } }
                    }
                }
            }
        }
    }
}

fn holders(status: &Status, now: DateTime<Utc>) -> Markup {
    html! {
        @if !status.holders.is_empty() {
            div.card {
                h3 { "At work" }
                ul.counted {
                    @for LeaseHolder { name, rows, since, until, .. } in &status.holders {
                        li {
                            span.number { (count(*rows)) }
                            span {
                                (outside(name.as_deref().unwrap_or("a process without a name")))
                                @if let Some(since) = since { ", since " (moment(now, *since)) }
                                ", lease ends " (moment(now, *until))
                            }
                        }
                    }
                }
            }
        }
    }
}

fn streams(visit: &Visit, numbers: &Numbers) -> Markup {
    let find = |status: &'_ Status, name: &str| -> StreamStatus {
        let mut streams = status.streams.iter();
        let found = streams.find(|stream| stream.name.as_deref() == Some(name));
        found.cloned().unwrap_or_default()
    };
    let link = |page: &str, name: &str| Parameters::default().with("stream", name).link(page);
    html! {
        @if !numbers.streams.is_empty() {
            section aria-labelledby="streams" {
                h2 id="streams" { "Streams" }
                div.scroll {
                    table.rows {
                        thead { tr { th { "Stream" } th.number { "Messages" } th.number { "Calls" } th { "Lag" } th { "State" } } }
                        tbody {
                            @for stream in &numbers.streams {
                                @let messages = find(&numbers.messages, &stream.name);
                                @let calls = find(&numbers.calls, &stream.name);
                                tr {
                                    td data-label="Stream" { (outside(&stream.name)) }
                                    td.number data-label="Messages" { a href=(link("messages", &stream.name)) { (count(messages.waiting)) } }
                                    td.number data-label="Calls" { a href=(link("calls", &stream.name)) { (count(calls.waiting)) } }
                                    td data-label="Lag" { (short(messages.oldest_claimable.max(calls.oldest_claimable))) }
                                    td data-label="State" {
                                        @if stream.is_paused { span.state data-state="parked" { "paused" } } @else { span.state data-state="sent" { "running" } }
                                        @if !visit.site.is_read_only { " " (switch(visit, &stream.name, stream.is_paused)) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The processes that the settings name.
fn process_table(processes: &[Process]) -> Markup {
    html! {
        @if processes.is_empty() {
            p.hint { "With " code { "web_processes" } " this page shows whether relays, subscribers and executors work, and their open circuits." }
        } @else {
            section aria-labelledby="processes" {
                h2 id="processes" { "Processes" }
                div.scroll {
                    table.rows {
                        thead { tr { th { "Process" } th { "State" } th { "Since its start" } th { "Open circuits" } th { "Asked" } } }
                        tbody { @for process in processes { (process_row(process)) } }
                    }
                }
            }
        }
    }
}

fn process_row(process: &Process) -> Markup {
    let asked = moment(Utc::now(), process.asked);
    html! {
        tr {
            td data-label="Process" { (outside(&process.address)) }
            @match &process.state {
                Err(error) => {
                    td data-label="State" { span.state data-state="parked" { "no answer" } " " (outside(error)) }
                    td {}
                    td {}
                },
                Ok(state) => {
                    td data-label="State" {
                        @if state.problems.is_empty() { span.state data-state="sent" { "ready" } }
                        @else { span.state data-state="parked" { "not ready" } " " (outside(&state.problems.join("; "))) }
                    }
                    td data-label="Since its start" {
                        @for (at, (what, number)) in state.work.iter().enumerate() { @if at > 0 { ", " } (parts::number(*number)) " " (what) }
                    }
                    td data-label="Open circuits" { @if state.open_circuits.is_empty() { "none" } @else { (outside(&state.open_circuits.join(", "))) } }
                },
            }
            td data-label="Asked" { (asked) }
        }
    }
}

/// The form that pauses or resumes a stream.
fn switch(visit: &Visit, name: &str, is_paused: bool) -> Markup {
    let (value, text) = if is_paused {
        ("resume", "Resume")
    } else {
        ("pause", "Pause")
    };
    html! {
        form.inline method="post" action="change-stream" {
            (form_token(visit))
            input type="hidden" name="stream" value=(name);
            button name="do" value=(value) { (text) }
        }
    }
}
