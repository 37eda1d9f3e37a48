//! The inbox: messages that had their effect.

use axum::response::Response;
use maud::html;

use super::layout::{Page, Place};
use super::parts::{
    Shown, body, field, full_moment, headers, moment, outside, stored_headers, text_field,
};
use crate::admin::InboxFilter;
use crate::web::failure::PageFailure;
use crate::web::parameters::{Parameters, link};
use crate::web::row_query::{PAGE, after, age};
use crate::web::store::Part;
use crate::web::visit::Visit;

pub(in crate::web) async fn list(visit: Visit) -> Result<Response, PageFailure> {
    let query = &visit.query;
    if let Some(id) = query.text("message") {
        return Ok(super::parts::redirect(&link("received", "message", id)));
    }
    let mut filter = InboxFilter::new();
    let mut given = Parameters::default();
    for name in ["consumer", "older-than", "newer-than"] {
        let Some(value) = query.text(name) else {
            continue;
        };
        given = given.with(name, value);
        filter = match name {
            "consumer" => filter.consumer(value),
            "older-than" => filter.older_than(age("older-than", value)?),
            _ => filter.newer_than(age("newer-than", value)?),
        };
    }
    let part = Part {
        after: after(query)?,
        limit: PAGE,
    };
    let is_first = part.after.is_none();
    let read = visit.site.store.list_inbox(filter, part).await?;
    let next = read.found.next.as_ref();
    let next = next.map(|next| given.clone().with("after", next.to_string()).link("inbox"));
    let content = html! {
        h1 { "Inbox" }
        p.hint { "Messages that had their effect here, the oldest first. A message that is delivered again is found here, and has no second effect." }
        form.filters method="get" action="inbox" role="search" {
            (text_field("message", "Id of the message", None, ""))
            (text_field("consumer", "Consumer", given.text("consumer"), "billing"))
            (text_field("older-than", "Older than", given.text("older-than"), "2h"))
            (text_field("newer-than", "Newer than", given.text("newer-than"), "3d"))
            div.buttons {
                button { "Filter" }
                @if given != Parameters::default() { a href="inbox" { "Clear" } }
            }
        }
        @if read.found.rows.is_empty() {
            p.empty { "No such messages." }
        } @else {
            div.scroll {
                table.rows {
                    thead { tr { th { "Message" } th { "Consumer" } th.number { "Failed before" } th { "Handled" } } }
                    tbody {
                        @for row in &read.found.rows {
                            @let id = row.message_id.as_deref().unwrap_or(&row.id);
                            tr {
                                td.id data-label="Message" { a href=(link("received", "message", id)) { (outside(id)) } }
                                td data-label="Consumer" { @if row.consumer.is_empty() { span.hint { "the whole service" } } @else { (outside(&row.consumer)) } }
                                td.number data-label="Failed before" { (row.failed_attempts) }
                                td data-label="Handled" { (moment(read.now, row.handled_at)) }
                            }
                        }
                    }
                }
            }
        }
        nav.pages aria-label="Parts of the list" {
            @if !is_first { a href=(given.link("inbox")) { "First messages" } }
            @if let Some(next) = next { a href=(next) rel="next" { "Next messages" } }
        }
    };
    let page = Page {
        visit: &visit,
        place: Place::Inbox,
        title: "Inbox",
        is_live: true,
    };
    Ok(page.with(&content))
}

pub(in crate::web) async fn message(visit: Visit) -> Result<Response, PageFailure> {
    let id = visit.query.text("message").unwrap_or_default();
    let read = visit.site.store.find_received(id.to_owned()).await?;
    if read.found.is_empty() {
        let text = format!(
            "the inbox has no message `{id}`: it was not handled yet, or its row was deleted"
        );
        return Err(PageFailure::not_found(text));
    }
    let shown = Shown::read(&visit.query);
    let address = Parameters::default().with("message", id);
    let of_page = ("received", &address);
    let content = html! {
        h1 { "Message that was handled" }
        @for found in &read.found {
            @let row = &found.row;
            section.card {
                dl.fields {
                    (field("Message", row.message_id.as_deref().map(outside)))
                    (field("Consumer", Some(if row.consumer.is_empty() { html! { "the whole service" } } else { outside(&row.consumer) })))
                    (field("Handled", Some(full_moment(read.now, row.handled_at))))
                    (field("Failed attempts before", Some(html! { (row.failed_attempts) })))
                    (field("Row", Some(outside(&row.id))))
                }
            }
            @if let Some(text) = &found.headers {
                @let pairs = stored_headers(text);
                (headers(&visit.site, pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())), shown, of_page))
            }
            (body(&visit.site, "Body", found.body.as_deref().map(str::as_bytes), shown, of_page))
        }
    };
    let page = Page {
        visit: &visit,
        place: Place::Inbox,
        title: &format!("Message {id}"),
        is_live: false,
    };
    Ok(page.with(&content))
}
