//! Rows on standard output: as a table that fits the terminal, or as JSON.

use std::io::{self, IsTerminal};
use std::time::Duration;

use chrono::{DateTime, Utc};
use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};

use super::json::Object;
use super::output::Output;
use crate::admin::{ReceivedRow, Row, Rows};

/// A table without lines, as wide as the terminal. The first column is not wrapped: it can be copied.
pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    if io::stdout().is_terminal()
        && let Some((_, columns)) = console::Term::stdout().size_checked()
    {
        table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(columns);
        if let Some(first) = table.column_mut(0) {
            first.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table
}

/// The first 100 characters of a text, on one line.
pub(super) fn one_line(text: &str) -> String {
    const LONGEST: usize = 100;
    text.chars()
        .take(LONGEST)
        .map(|character| match character {
            '\n' | '\r' | '\t' => ' ',
            other => other,
        })
        .collect()
}

/// The time from then until now, with its greatest unit: `3d`.
pub(super) fn age(now: DateTime<Utc>, since: DateTime<Utc>) -> String {
    let age = (now - since).to_std().unwrap_or(Duration::ZERO);
    let seconds = age.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Prints rows as a table. Columns that are empty in all rows are left out.
pub(super) fn print_rows(of: Rows, rows: &[Row], now: DateTime<Utc>, out: &mut Output) {
    let target = if of == Rows::Calls {
        "name"
    } else {
        "destination"
    };
    let text = |text: &Option<String>| {
        let text = text.as_deref().unwrap_or_default();
        out.text(&one_line(text)).into_owned()
    };
    type Column<'a> = (&'a str, Vec<String>);
    let column = |name: &'static str, cell: &dyn Fn(&Row) -> String| -> Column<'static> {
        (name, rows.iter().map(cell).collect())
    };
    let mut columns = vec![
        column("id", &|row| out.text(&row.id).into_owned()),
        column("state", &|row| row.state.to_string()),
        column("failed", &|row| row.attempts.to_string()),
        column("age", &|row| age(now, row.added)),
        column(target, &|row| out.text(&row.destination).into_owned()),
    ];
    let optional = [
        column("stream", &|row| text(&row.stream)),
        column("key", &|row| text(&row.key)),
        column("error", &|row| text(&row.error)),
    ];
    columns.extend(optional.into_iter().filter(|(_, cells)| {
        let mut cells = cells.iter();
        cells.any(|cell| !cell.is_empty())
    }));
    let header: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let mut table = table(&header);
    for at in 0..rows.len() {
        table.add_row(columns.iter().map(|(_, cells)| &cells[at]));
    }
    if !rows.is_empty() {
        out.line(table.trim_fmt());
    }
}

/// Prints rows of the inbox as a table.
pub(super) fn print_received(rows: &[ReceivedRow], now: DateTime<Utc>, out: &mut Output) {
    let mut table = table(&["message", "consumer", "failed", "age"]);
    for row in rows {
        table.add_row([
            out.text(row.message_id.as_deref().unwrap_or("-"))
                .into_owned(),
            out.text(&row.consumer).into_owned(),
            row.failed_attempts.to_string(),
            age(now, row.handled_at),
        ]);
    }
    if !rows.is_empty() {
        out.line(table.trim_fmt());
    }
}

/// A row as JSON.
pub(super) fn row_object(of: Rows, row: &Row) -> Object {
    let (target, done) = if of == Rows::Calls {
        ("name", "executed")
    } else {
        ("destination", "sent")
    };
    Object::new()
        .with("id", &row.id)
        .with("seq", row.seq)
        .with("state", row.state.to_string())
        .with(target, &row.destination)
        .with("stream", &row.stream)
        .with("key", &row.key)
        .with("failed_attempts", row.attempts)
        .with_time("written", Some(row.added))
        .with_time("due", row.due_at)
        .with_time("expires", row.expires_at)
        .with_time(done, row.sent_at)
        .with("error", &row.error)
        .with("blocks_key", row.blocks_key)
        .with("cursor", row.cursor().to_string())
}

/// A row of the inbox as JSON.
pub(super) fn received_object(row: &ReceivedRow) -> Object {
    Object::new()
        .with("id", &row.id)
        .with("message_id", &row.message_id)
        .with("consumer", &row.consumer)
        .with("failed_attempts", row.failed_attempts)
        .with_time("handled", Some(row.handled_at))
        .with("cursor", row.cursor().to_string())
}
