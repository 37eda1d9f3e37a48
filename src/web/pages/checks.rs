//! The checks of `outbox doctor`.

use axum::response::Response;
use maud::{Markup, html};

use super::layout::{Page, Place};
use super::parts::outside;
use crate::doctor::{self, Report, Verdict, counted};
use crate::web::failure::PageFailure;
use crate::web::visit::Visit;

pub(in crate::web) async fn page(visit: Visit) -> Result<Response, PageFailure> {
    let report = match visit.query.get("run") {
        Some(_) => {
            // One at a time: they open connections.
            let _place = visit.site.checks.lock().await;
            Some(doctor::examine(&visit.site.config, &[]).await)
        }
        None => None,
    };
    let content = html! {
        h1 { "Checks" }
        p.hint {
            "What " code { "outbox doctor" } " checks: settings, tables, indexes, rights and clock of the database; login, certificate and alarms of the broker; queues, their arguments, and topics that nobody receives. Nothing is changed."
        }
        form method="get" action="checks" {
            button.primary name="run" value="1" { @if report.is_some() { "Run the checks again" } @else { "Run the checks" } }
        }
        @if let Some(report) = &report { (table(report)) }
    };
    let page = Page {
        visit: &visit,
        place: Place::Checks,
        title: "Checks",
        is_live: false,
    };
    Ok(page.with(&content))
}

/// The checks, the worst ones first.
fn table(report: &Report) -> Markup {
    let mut checks: Vec<_> = report.checks().iter().collect();
    checks.sort_by_key(|check| std::cmp::Reverse(check.verdict));
    let level = match report.verdict() {
        Verdict::Ok => "ok",
        Verdict::Warning => "warning",
        Verdict::Error => "error",
    };
    let number = |verdict, noun| counted(report.count(verdict), noun);
    html! {
        section.verdict data-level=(level) role="status" {
            h2 { (counted(checks.len(), "check")) ": " (number(Verdict::Error, "error")) ", " (number(Verdict::Warning, "warning")) }
        }
        div.scroll {
            table.rows {
                thead { tr { th { "Result" } th { "Check" } th { "Found" } th { "What to do" } } }
                tbody {
                    @for check in checks {
                        tr {
                            td data-label="Result" { span.state data-state=(check.verdict.to_string()) { (check.verdict.to_string()) } }
                            td data-label="Check" {
                                code { (check.name) }
                                @if let Some(subject) = &check.subject { " " (outside(subject)) }
                            }
                            td data-label="Found" { (outside(&check.text)) }
                            td data-label="What to do" { (outside(check.advice.as_deref().unwrap_or_default())) }
                        }
                    }
                }
            }
        }
    }
}
