//! Small parts that several pages have.

use std::time::Duration;

use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SecondsFormat, Utc};
use maud::{Markup, html};

use crate::admin::{COUNT_LIMIT, Row, RowState, Rows};
use crate::terminal;
use crate::web::document::{indented, members};
use crate::web::failure::PageFailure;
use crate::web::parameters::{Parameters, link};
use crate::web::redaction::{HIDDEN, Redaction};
use crate::web::site::Site;
use crate::web::visit::{TOKEN, Visit};

/// A longer body is not shown.
const LONGEST_BODY: usize = 1 << 20;
/// Characters of an error in a list.
const LONGEST_ERROR: usize = 200;

/// A text from outside: unsafe characters are written as `\u{1b}`.
pub(super) fn outside(text: &str) -> Markup {
    html! { (&*terminal::escaped(text)) }
}

/// The beginning of a text from outside.
pub(super) fn beginning(text: &str) -> Markup {
    let mut shown: String = text.chars().take(LONGEST_ERROR).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    outside(&shown)
}

/// A time, as its distance from now.
pub(super) fn moment(now: DateTime<Utc>, time: DateTime<Utc>) -> Markup {
    let text = time.to_rfc3339_opts(SecondsFormat::Millis, true);
    let shown = match (now - time).to_std() {
        Ok(age) => format!("{} ago", first_unit(age)),
        Err(_) => {
            let left = (time - now).to_std().unwrap_or_default();
            format!("in {}", first_unit(left))
        }
    };
    html! { time datetime=(text) title=(text) { (shown) } }
}

/// A time, as it is and as its distance from now.
pub(super) fn full_moment(now: DateTime<Utc>, time: DateTime<Utc>) -> Markup {
    let text = time.to_rfc3339_opts(SecondsFormat::Millis, true);
    html! { (text) " (" (moment(now, time)) ")" }
}

/// A time span with its greatest unit: `2 h`.
fn first_unit(time: Duration) -> String {
    let shown = short(time);
    let words: Vec<&str> = shown.split(' ').take(2).collect();
    words.join(" ")
}

/// A time span with its two greatest units: `2 h 5 m`.
pub(super) fn short(time: Duration) -> String {
    let seconds = time.as_secs();
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let first = parts.iter().position(|(number, _)| *number > 0);
    let shown: Vec<String> = parts
        .iter()
        .skip(first.unwrap_or(3))
        .take(2)
        .filter(|(number, unit)| *number > 0 || (*unit == "s" && seconds == 0))
        .map(|(number, unit)| format!("{number} {unit}"))
        .collect();
    shown.join(" ")
}

/// A number with its thousands apart.
pub(super) fn number(number: impl Into<i128>) -> String {
    let digits = number.into().to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && digit != '-' && (digits.len() - at).is_multiple_of(3) && !shown.ends_with('-')
        {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// A number of rows, which is not counted beyond a limit.
pub(super) fn count(rows: i64) -> String {
    match rows >= COUNT_LIMIT {
        true => format!("{}+", number(COUNT_LIMIT)),
        false => number(rows),
    }
}

/// A state of a row.
pub(super) fn state(state: RowState) -> Markup {
    let text = state.to_string();
    html! { span.state data-state=(text) { (text) } }
}

/// The page of a row.
pub(super) fn row_link(of: Rows, id: &str) -> String {
    match of {
        Rows::Messages => link("message", "id", id),
        Rows::Calls => link("call", "id", id),
    }
}

/// The name of the list of rows, which is its page too.
pub(super) fn list_name(of: Rows) -> &'static str {
    match of {
        Rows::Messages => "messages",
        Rows::Calls => "calls",
    }
}

/// Rows named by a page.
pub(super) fn rows_named(name: &str) -> Result<Rows, PageFailure> {
    match name {
        "messages" => Ok(Rows::Messages),
        "calls" => Ok(Rows::Calls),
        _ => Err(PageFailure::bad("`of` is messages or calls")),
    }
}

/// A name and its value in a list of definitions, if there is a value.
pub(super) fn field(name: &str, value: Option<Markup>) -> Markup {
    html! {
        @if let Some(value) = value {
            div { dt { (name) } dd { (value) } }
        }
    }
}

/// The token of a form, which each form needs.
pub(super) fn form_token(visit: &Visit) -> Markup {
    let token = visit.site.form_token(&visit.user);
    html! { input type="hidden" name=(TOKEN) value=(token); }
}

/// Fields of a form that are not shown.
pub(super) fn hidden(fields: &Parameters) -> Markup {
    html! {
        @for (name, value) in fields.pairs() {
            input type="hidden" name=(name) value=(value);
        }
    }
}

/// A field of a form for a text.
pub(super) fn text_field(name: &str, label: &str, value: Option<&str>, example: &str) -> Markup {
    html! {
        label {
            span { (label) }
            input type="text" name=(name) value=(value.unwrap_or_default()) placeholder=(&*terminal::escaped(example));
        }
    }
}

/// Rows as lines of a table, with a box to select each.
pub(super) fn row_table(of: Rows, now: DateTime<Utc>, rows: &[Row], is_selectable: bool) -> Markup {
    let target = match of {
        Rows::Messages => "Destination",
        Rows::Calls => "Function",
    };
    let has = |value: fn(&Row) -> bool| rows.iter().any(value);
    let (has_stream, has_key) = (
        has(|row| row.stream.is_some()),
        has(|row| row.key.is_some()),
    );
    let has_error = has(|row| row.error.is_some());
    html! {
        div.scroll {
            table.rows {
                thead {
                    tr {
                        @if is_selectable {
                            th.box { input.scripted type="checkbox" data-all aria-label="Select all on this page"; }
                        }
                        th { "State" }
                        th { (target) }
                        @if has_stream { th { "Stream" } }
                        @if has_key { th { "Key" } }
                        th { "Written" }
                        th.number { "Failed" }
                        @if has_error { th { "Error" } }
                        th { "Id" }
                    }
                }
                tbody {
                    @for row in rows {
                        tr {
                            @if is_selectable {
                                td.box { input type="checkbox" name="id" value=(row.id) aria-label={"Select " (outside(&row.id))}; }
                            }
                            td data-label="State" {
                                (state(row.state))
                                @if row.blocks_key { " " span.state data-state="blocks" title="Later rows of its key wait for this one" { "blocks its key" } }
                            }
                            td data-label=(target) { (outside(&row.destination)) }
                            @if has_stream { td data-label="Stream" { (outside(row.stream.as_deref().unwrap_or_default())) } }
                            @if has_key { td data-label="Key" { (outside(row.key.as_deref().unwrap_or_default())) } }
                            td data-label="Written" { (moment(now, row.added)) }
                            td.number data-label="Failed" { (row.attempts) }
                            @if has_error { td.error data-label="Error" { (beginning(row.error.as_deref().unwrap_or_default())) } }
                            td.id data-label="Id" { a href=(row_link(of, &row.id)) { (outside(&row.id)) } }
                        }
                    }
                }
            }
        }
    }
}

/// What of a row or a message is shown on request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) headers: bool,
    pub(super) body: bool,
}

impl Shown {
    pub(super) fn read(query: &Parameters) -> Self {
        let has = |part: &str| query.all("show").any(|shown| shown == part);
        Self {
            headers: has("headers"),
            body: has("body"),
        }
    }

    fn link(self, page: &str, address: &Parameters) -> String {
        let parts = [(self.headers, "headers"), (self.body, "body")];
        let parts = parts.into_iter().filter(|(is_shown, _)| *is_shown);
        let address = parts.fold(address.clone(), |all, (_, part)| all.with("show", part));
        address.link(page)
    }
}

/// The headers, whose values are shown on request. `page` and `address` are those of this page.
pub(super) fn headers<'a>(
    site: &Site,
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
    shown: Shown,
    (page, address): (&str, &Parameters),
) -> Markup {
    let other = Shown {
        headers: !shown.headers,
        ..shown
    };
    html! {
        section.card {
            h2 { "Headers" }
            p.hint {
                a href=(other.link(page, address)) { @if shown.headers { "Hide the values" } @else { "Show the values" } }
            }
            dl.fields {
                @for (name, value) in pairs {
                    div {
                        dt { (outside(name)) }
                        dd {
                            @if site.redaction.hides(name) { (HIDDEN) }
                            @else if shown.headers { (outside(value)) }
                            @else { span.hidden-value { (value.len()) " bytes" } }
                        }
                    }
                }
            }
        }
    }
}

/// The members of headers that are stored as JSON; one without a name if they are not.
pub(super) fn stored_headers(text: &str) -> Vec<(String, String)> {
    members(text).unwrap_or_else(|| vec![("(no JSON)".to_owned(), text.to_owned())])
}

/// The body, which is shown on request.
pub(super) fn body(
    site: &Site,
    title: &str,
    body: Option<&[u8]>,
    shown: Shown,
    (page, address): (&str, &Parameters),
) -> Markup {
    let other = Shown {
        body: !shown.body,
        ..shown
    };
    html! {
        section.card {
            h2 { (title) }
            @match body {
                None => p.hint { "It is not stored as JSON." },
                Some(body) => {
                    p.hint {
                        (number(body.len() as u64)) " bytes. "
                        @if body.len() > LONGEST_BODY { "It is too long for a page: " code { "outbox show --body" } " prints it." }
                        @else if shown.body { a href=(other.link(page, address)) { "Hide it" } }
                        @else { a href=(other.link(page, address)) { "Show it" } }
                    }
                    @if shown.body && body.len() <= LONGEST_BODY { (body_text(body, &site.redaction)) }
                }
            }
        }
    }
}

fn body_text(body: &[u8], redaction: &Redaction) -> Markup {
    let Ok(text) = std::str::from_utf8(body) else {
        return html! { p { "It is no text." } };
    };
    match indented(text, redaction) {
        Some(text) => html! { pre tabindex="0" { (&*terminal::escaped_lines(&text)) } },
        None => html! {
            p.hint { "It is no JSON, so that no fields are hidden." }
            pre tabindex="0" { (&*terminal::escaped_lines(text)) }
        },
    }
}

/// Sends the browser to another page.
pub(super) fn redirect(to: &str) -> Response {
    let location = HeaderValue::from_str(to);
    let location = location.unwrap_or(HeaderValue::from_static("./"));
    (StatusCode::SEE_OTHER, [(LOCATION, location)]).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_numbers_are_short() {
        for (seconds, expected) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 m"),
            (125, "2 m 5 s"),
            (7_265, "2 h 1 m"),
            (90_000, "1 d 1 h"),
            (864_000, "10 d"),
        ] {
            assert_eq!(short(Duration::from_secs(seconds)), expected);
        }
        for (given, expected) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (-1_234_567, "-1,234,567"),
        ] {
            assert_eq!(number(given), expected);
        }
        assert_eq!(count(99_999), "99,999");
        assert_eq!(count(100_000), "100,000+");
    }

    #[test]
    fn nothing_from_outside_is_markup() {
        let text = "<script>\u{1b}[2J\"&";
        let shown = outside(text).into_string();
        assert_eq!(shown, r#"&lt;script&gt;\u{1b}[2J&quot;&amp;"#);
        assert!(beginning(&"x".repeat(500)).into_string().chars().count() == LONGEST_ERROR + 1);
    }
}
