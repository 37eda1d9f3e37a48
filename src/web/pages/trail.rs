//! Who changed what, if the settings record it.

use axum::response::Response;
use maud::html;

use super::layout::{Page, Place};
use super::parts::{beginning, moment, number, outside};
use crate::web::failure::PageFailure;
use crate::web::visit::Visit;

/// Changes on the page.
const LISTED: i64 = 200;

pub(in crate::web) async fn page(visit: Visit) -> Result<Response, PageFailure> {
    if !visit.site.config.web_trail {
        return Err(PageFailure::not_found(
            "changes are in the log only: set web_trail to record them in a table too",
        ));
    }
    let read = visit.site.store.last_changes(LISTED).await?;
    let content = html! {
        h1 { "Changes" }
        p.hint { "The last changes that were made on these pages, the latest first. Changes by commands are not among them." }
        @if read.found.is_empty() {
            p.empty { "Nothing was changed yet." }
        } @else {
            div.scroll {
                table.rows {
                    thead { tr { th { "When" } th { "User" } th { "Change" } th { "Of" } th { "Which" } th.number { "Changed" } th { "Error" } } }
                    tbody {
                        @for (time, change) in &read.found {
                            tr {
                                td data-label="When" { (moment(read.now, *time)) }
                                td data-label="User" { (outside(&change.user)) }
                                td data-label="Change" { (outside(&change.action)) }
                                td data-label="Of" { (outside(&change.target)) }
                                td data-label="Which" { (beginning(&change.details)) }
                                td.number data-label="Changed" { (number(change.changed)) }
                                td.error data-label="Error" { (beginning(change.error.as_deref().unwrap_or_default())) }
                            }
                        }
                    }
                }
            }
        }
    };
    let page = Page {
        visit: &visit,
        place: Place::Trail,
        title: "Changes",
        is_live: true,
    };
    Ok(page.with(&content))
}
