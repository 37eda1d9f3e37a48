//! The output of `outbox status`.

use std::time::Duration;

use super::json::Object;
use super::output::Output;
use crate::admin::{
    COUNT_LIMIT, LeaseHolder, NamedCount, Status, StreamStatus, Totals, UnclaimedCalls,
};

/// Lines of each list: reasons, names, holders and streams.
const LISTED: usize = 5;

/// Prints the numbers of messages, or of function calls.
pub(super) fn print(out: &mut Output, status: &Status, totals: &Totals, calls: bool) {
    if out.is_json() {
        return out.object(&object(status, totals, calls));
    }
    out.row("waiting", count(status.waiting));
    out.row("  not due", count(status.not_due));
    out.row("  due", count(status.due));
    out.row("  blocked", count(status.blocked));
    out.row("  delayed", count(status.delayed));
    out.row("  leased", count(status.leased));
    out.row("  retrying", count(status.retrying));
    for reason in status.reasons.iter().take(LISTED) {
        let line = format!("{} times: {}", count(reason.rows), out.text(&reason.name));
        out.row("    reason", line);
    }
    for target in status.failing.iter().take(LISTED) {
        let line = format!("{}: {}", out.text(&target.name), rows(target.rows));
        out.row("    failing", line);
    }
    out.row("parked", count(status.parked));
    out.row("  expired", count(status.expired));
    out.row("  cancelled", count(status.cancelled));
    if calls {
        out.row("executed", count(totals.executed));
    } else {
        out.row("sent", count(totals.sent));
        out.row("received", count(totals.received));
    }
    if let Some(oldest) = status.oldest_waiting {
        out.row("oldest", oldest.to_rfc3339());
    }
    if calls {
        for target in status.targets.iter().take(LISTED) {
            let NamedCount { name, rows, .. } = target;
            let line = format!("{}: {} waiting", out.text(name), count(*rows));
            out.row("function", line);
        }
    }
    for holder in status.holders.iter().take(LISTED) {
        out.row("leased by", lease(holder));
    }
    let streams = status.streams.iter();
    let late = streams.filter(|stream| stream.claimable > 0);
    for stream in late.take(LISTED) {
        let line = overdue(out, stream);
        out.row("overdue", line);
    }
    for calls in status.unclaimed.iter().take(LISTED) {
        let line = unclaimed(out, calls);
        out.row("unclaimed", line);
    }
    for stream in &status.paused_streams {
        let stream = out.text(stream).into_owned();
        out.row("paused", stream);
    }
}

/// The same numbers as JSON, with all items of the lists.
fn object(status: &Status, totals: &Totals, calls: bool) -> Object {
    let named = |count: &NamedCount| {
        Object::new()
            .with("name", &count.name)
            .with("rows", count.rows)
    };
    let holder = |holder: &LeaseHolder| {
        let object = Object::new()
            .with("name", &holder.name)
            .with("rows", holder.rows);
        object
            .with_time("since", holder.since)
            .with_time("until", Some(holder.until))
    };
    let waits = |calls: &UnclaimedCalls| {
        let object = Object::new().with("name", &calls.name);
        object
            .with("rows", calls.rows)
            .with("oldest_seconds", calls.oldest.as_secs_f64())
    };
    let stream = |stream: &StreamStatus| {
        let object = Object::new()
            .with("name", &stream.name)
            .with("paused", stream.is_paused);
        object
            .with("waiting", stream.waiting)
            .with("claimable", stream.claimable)
            .with(
                "oldest_claimable_seconds",
                stream.oldest_claimable.as_secs_f64(),
            )
    };
    let object = Object::new()
        .with("waiting", status.waiting)
        .with("not_due", status.not_due)
        .with("due", status.due)
        .with("blocked", status.blocked)
        .with("delayed", status.delayed)
        .with("leased", status.leased)
        .with("retrying", status.retrying)
        .with_objects("reasons", status.reasons.iter().map(named))
        .with_objects("failing", status.failing.iter().map(named))
        .with("parked", status.parked)
        .with("expired", status.expired)
        .with("cancelled", status.cancelled);
    let object = if calls {
        object
            .with("executed", totals.executed)
            .with_objects("unclaimed", status.unclaimed.iter().map(waits))
    } else {
        object
            .with("sent", totals.sent)
            .with("received", totals.received)
    };
    object
        .with_time("oldest_waiting", status.oldest_waiting)
        .with_objects(
            if calls { "names" } else { "destinations" },
            status.targets.iter().map(named),
        )
        .with_objects("leased_by", status.holders.iter().map(holder))
        .with_objects("streams", status.streams.iter().map(stream))
        .with("paused_streams", &status.paused_streams)
}

/// A number of rows with its noun.
fn rows(number: i64) -> String {
    let noun = if number == 1 { "row" } else { "rows" };
    format!("{} {noun}", count(number))
}

/// A count as people write it: `100,000+` if there may be more rows.
fn count(rows: i64) -> String {
    if rows >= COUNT_LIMIT {
        return "100,000+".to_owned();
    }
    rows.to_string()
}

fn lease(holder: &LeaseHolder) -> String {
    let name = holder.name.as_deref().unwrap_or("(unknown)");
    let since = holder
        .since
        .map(|since| format!(" since {},", since.to_rfc3339()))
        .unwrap_or_default();
    format!(
        "{name}: {},{since} until {}",
        rows(holder.rows),
        holder.until.to_rfc3339()
    )
}

/// The calls of a name that no executor claims.
fn unclaimed(out: &Output, calls: &UnclaimedCalls) -> String {
    format!(
        "{} calls of {}, the first for {}: no executor claims them",
        count(calls.rows),
        out.text(&calls.name),
        age(calls.oldest)
    )
}

/// An age in whole seconds.
fn age(time: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(time.as_secs()))
}

/// The rows of a stream that could be claimed now.
fn overdue(out: &Output, stream: &StreamStatus) -> String {
    let age = age(stream.oldest_claimable);
    let rows = rows(stream.claimable);
    match &stream.name {
        Some(name) => format!("{rows} of stream {}, the first for {age}", out.text(name)),
        None => format!("{rows}, the first for {age}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_shows_that_there_may_be_more() {
        assert_eq!(count(99_999), "99999");
        assert_eq!(count(COUNT_LIMIT), "100,000+");
        assert_eq!(count(COUNT_LIMIT + 1), "100,000+");
    }
}
