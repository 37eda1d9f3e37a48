//! What all pages have.

use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

use super::parts::outside;
use crate::web::visit::Visit;

/// The places in the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Overview,
    Messages,
    Calls,
    Inbox,
    DeadLetters,
    #[cfg(feature = "cli")]
    Checks,
    Trail,
}

const PLACES: &[(Place, &str, &str)] = &[
    (Place::Overview, "./", "Overview"),
    (Place::Messages, "messages", "Messages"),
    (Place::Calls, "calls", "Calls"),
    (Place::Inbox, "inbox", "Inbox"),
    (Place::DeadLetters, "dead-letters", "Dead letters"),
    #[cfg(feature = "cli")]
    (Place::Checks, "checks", "Checks"),
    (Place::Trail, "trail", "Changes"),
];

/// A page of the site.
pub(super) struct Page<'a> {
    pub(super) visit: &'a Visit,
    pub(super) place: Place,
    pub(super) title: &'a str,
    /// Whether the script renews it.
    pub(super) is_live: bool,
}

impl Page<'_> {
    pub(super) fn with(&self, content: &Markup) -> Response {
        let has_trail = self.visit.site.config.web_trail;
        html(html! {
            (DOCTYPE)
            html lang="en" {
                (head(self.title))
                body {
                    a.skip href="#main" { "Skip to the content" }
                    header {
                        a.brand href="./" { "outbox" }
                        nav aria-label="Pages" {
                            @for (place, link, name) in PLACES.iter().filter(|(place, ..)| *place != Place::Trail || has_trail) {
                                @if *place == self.place {
                                    a href=(link) aria-current="page" { (name) }
                                } @else {
                                    a href=(link) { (name) }
                                }
                            }
                        }
                        div.session {
                            button #live type="button" hidden { "Live" }
                            @if self.visit.site.is_read_only {
                                span.badge { "read-only" }
                            }
                            span.user title="The user who is logged in" { (outside(&self.visit.user.0)) }
                        }
                    }
                    main #main data-live=[self.is_live.then_some("5")] { (content) }
                }
            }
        })
    }
}

/// A page without navigation, for a request that was refused.
pub(in crate::web) fn bare(title: &str, text: &str) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            (head(title))
            body.bare {
                main #main {
                    h1 { (title) }
                    p { (outside(text)) }
                    p { a href="./" { "Overview" } }
                }
            }
        }
    }
}

fn head(title: &str) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            title { (outside(title)) " · outbox" }
            link rel="stylesheet" href="style.css";
            script src="script.js" defer {}
        }
    }
}

/// A page as an answer.
pub(in crate::web) fn html(page: Markup) -> Response {
    let content_type = HeaderValue::from_static("text/html; charset=utf-8");
    ([(CONTENT_TYPE, content_type)], page.into_string()).into_response()
}
