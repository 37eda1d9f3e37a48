//! The progress of a change.

use axum::response::Response;
use chrono::Utc;
use maud::html;

use super::layout::{Page, Place};
use super::parts::{full_moment, number, outside};
use crate::web::failure::PageFailure;
use crate::web::visit::Visit;

pub(in crate::web) async fn page(visit: Visit) -> Result<Response, PageFailure> {
    let id = visit.query.get("id").unwrap_or_default();
    let Some(job) = visit.site.jobs.find(id) else {
        return Err(PageFailure::not_found(
            "this change is not known any more: the log has it",
        ));
    };
    let outcome = job.outcome();
    let changed = job.changed.get();
    let content = html! {
        h1 { (outside(&job.title)) }
        section.verdict data-level=(match &outcome { None => "running", Some(Ok(_)) => "ok", Some(Err(_)) => "error" }) role="status" {
            @match &outcome {
                None => {
                    h2 { "Running" }
                    p {
                        progress max=(job.total) value=(changed) { (number(changed)) }
                        " " (number(changed)) " of " (number(job.total))
                    }
                    p.hint { "You can leave this page. " a href={"job?id=" (job.id)} { "Renew it" } }
                },
                Some(Ok(done)) => {
                    h2 { "Done" }
                    p { (outside(done)) }
                },
                Some(Err(error)) => {
                    h2 { "Failed" }
                    p { (outside(error)) }
                },
            }
        }
        p.hint { "Begun by " (outside(&job.user.0)) " at " (full_moment(Utc::now(), job.began)) }
        p { a href=(job.back) { "Back to the list" } }
    };
    let page = Page {
        visit: &visit,
        place: Place::Overview,
        title: &job.title,
        is_live: outcome.is_none(),
    };
    Ok(page.with(&content))
}
