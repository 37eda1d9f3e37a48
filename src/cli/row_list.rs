//! `outbox list`: rows of the outbox, of function calls, or of the inbox, in pages.

use clap::{Args, ValueEnum};

use super::admin_database::read_at;
use super::output::Output;
use super::row_filter::RowFilter;
use super::row_table::{print_received, print_rows, received_object, row_object};
use super::run::Failure;
use super::shell::CommandLine;
use crate::admin::{self, Cursor, InboxFilter, RowState, Rows};
use crate::backend::Backend;
use crate::db::Db;

#[derive(Args)]
pub(super) struct List {
    /// Function calls, not messages
    #[arg(long)]
    calls: bool,
    /// Messages of the inbox; only with --id (of the message), --consumer, --older-than and --newer-than
    #[arg(long, conflicts_with_all = ["calls", "state", "stream", "to", "key", "error"])]
    inbox: bool,
    /// Only rows in this state; may be given several times
    #[arg(long, value_enum)]
    state: Vec<State>,
    /// Only the row with this id; may be given several times
    #[arg(long, value_name = "ID")]
    id: Vec<String>,
    /// With --inbox: only messages that this consumer handled; '' is the whole service
    #[arg(long, value_name = "NAME", requires = "inbox")]
    consumer: Option<String>,
    #[command(flatten)]
    filter: RowFilter,
    /// Maximum number of rows
    #[arg(long, value_name = "COUNT", default_value_t = 50,
        value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Begin after this place, which the page before has printed
    #[arg(long, value_name = "CURSOR")]
    after: Option<Cursor>,
    /// Print texts unchanged; without it, a terminal gets their control characters escaped
    #[arg(long)]
    pub(super) raw: bool,
}

/// The states of a row, as words.
#[derive(ValueEnum, Clone, Copy)]
enum State {
    /// It waits, and is not leased
    Waiting,
    /// A relay or an executor has leased it
    Leased,
    /// It is not tried again by itself
    Parked,
    /// It was sent
    Sent,
    /// The call was executed
    Executed,
}

impl From<State> for RowState {
    fn from(state: State) -> Self {
        match state {
            State::Waiting => Self::Waiting,
            State::Leased => Self::Leased,
            State::Parked => Self::Parked,
            State::Sent => Self::Sent,
            State::Executed => Self::Executed,
        }
    }
}

pub(super) async fn perform<C: Backend>(
    db: &Db<C>,
    list: List,
    out: &mut Output,
) -> Result<(), Failure> {
    if list.inbox {
        return list_inbox(db, list, out).await;
    }
    let of = Rows::of(list.calls);
    let mut filter = list.filter.filter();
    for state in &list.state {
        filter = filter.state((*state).into());
    }
    for id in &list.id {
        filter = filter.id(id);
    }
    let (after, limit) = (list.after.clone(), list.limit as usize);
    let read = read_at(db, move |conn| {
        of.list(conn, &filter, after.as_ref(), limit)
    })
    .await?;
    let (now, page) = (read.now, read.found);
    if out.is_json() {
        for row in &page.rows {
            out.object(&row_object(of, row));
        }
        return Ok(());
    }
    print_rows(of, &page.rows, now, out);
    end(&list, page.rows.len(), page.next.as_ref(), out);
    Ok(())
}

async fn list_inbox<C: Backend>(db: &Db<C>, list: List, out: &mut Output) -> Result<(), Failure> {
    let mut filter = InboxFilter::new();
    for id in &list.id {
        filter = filter.message(id);
    }
    if let Some(consumer) = &list.consumer {
        filter = filter.consumer(consumer);
    }
    if let Some(age) = list.filter.older_than {
        filter = filter.older_than(age);
    }
    if let Some(age) = list.filter.newer_than {
        filter = filter.newer_than(age);
    }
    let (after, limit) = (list.after.clone(), list.limit as usize);
    let read = read_at(db, move |conn| {
        admin::list_inbox(conn, &filter, after.as_ref(), limit)
    })
    .await?;
    let (now, page) = (read.now, read.found);
    if out.is_json() {
        for row in &page.rows {
            out.object(&received_object(row));
        }
        return Ok(());
    }
    print_received(&page.rows, now, out);
    end(&list, page.rows.len(), page.next.as_ref(), out);
    Ok(())
}

/// Prints what comes after the rows: their number if there are none, or the command for the next page.
fn end(list: &List, rows: usize, next: Option<&Cursor>, out: &mut Output) {
    if rows == 0 {
        out.line("no rows");
    }
    let Some(next) = next else { return };
    let mut line = CommandLine::new("outbox").word("list");
    for (flag, is_set) in [("--calls", list.calls), ("--inbox", list.inbox)] {
        if is_set {
            line = line.word(flag);
        }
    }
    for state in &list.state {
        line = line.flag("--state", Some(RowState::from(*state).to_string()));
    }
    for id in &list.id {
        line = line.flag("--id", Some(id));
    }
    line = line.flag("--consumer", list.consumer.as_ref());
    line = list.filter.write_to(line);
    line = line.flag("--limit", Some(list.limit.to_string()));
    line = line.flag("--after", Some(next.to_string()));
    out.line(format_args!("more rows: {line}"));
}
