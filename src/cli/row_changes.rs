//! `outbox retry`, `cancel`, `skip`, `resend` and `delete`: rows by their ids, or all that filters accept.

use clap::Args;
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

use super::admin_database::{change, not_an_id, read_at, run_on};
use super::json::Object;
use super::logging::BARS;
use super::output::Output;
use super::row_filter::RowFilter;
use super::row_table::{print_rows, row_object};
use super::run::Failure;
use crate::admin::pooled::ChangedRows;
use crate::admin::{self, Action, Changed, Filter, Matching, Rows, Unchanged, wording};
use crate::backend::{Backend, is_uuid};
use crate::db::Db;

/// How many rows are listed before a change.
const LISTED: usize = 20;

/// The rows to change.
#[derive(Args)]
pub(super) struct Selecting {
    /// Function calls, not messages
    #[arg(long)]
    calls: bool,
    /// Ids of the rows, in any spelling
    pub(super) ids: Vec<String>,
    /// All rows whose state allows it; with filters: all that they accept
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    #[command(flatten)]
    filter: RowFilter,
    /// Count the rows and list the first 20, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Selecting {
    /// Fails if no rows are selected, or by ids and filters.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let problem = match (self.all, self.ids.is_empty(), self.filter.is_empty()) {
            (true, _, _) | (false, false, true) => return Ok(()),
            (false, true, true) => "no rows are selected: give <IDS>..., or --all",
            (false, true, false) => "no rows are selected: with filters give --all too",
            (false, false, false) => {
                "ids and filters exclude each other: give ids, or --all with filters"
            }
        };
        Err(Failure::usage(problem))
    }
}

/// A change of rows.
pub(super) struct RowChange {
    pub(super) action: Action,
    pub(super) selecting: Selecting,
    /// With [`Action::Retry`]: the new destination.
    pub(super) destination: Option<String>,
}

impl RowChange {
    fn of(&self) -> Rows {
        Rows::of(self.selecting.calls)
    }

    /// What happened to the rows.
    fn done(&self) -> &'static str {
        wording::done(self.of(), self.action)
    }

    /// The rows that it changes, of which there is this number.
    fn what(&self, rows: u64) -> String {
        wording::changeable(self.of(), self.action, rows)
    }

    /// The filter of the rows: by their ids, or by what is given.
    fn filter(&self) -> Filter {
        let ids = self.selecting.ids.iter();
        ids.fold(self.selecting.filter.filter(), Filter::id)
    }
}

pub(super) async fn perform<C: Backend>(
    db: &Db<C>,
    row_change: RowChange,
    out: &mut Output,
) -> Result<(), Failure> {
    if row_change.selecting.all || row_change.selecting.dry_run {
        return change_matching(db, row_change, out).await;
    }
    change_named(db, row_change, out).await
}

/// Changes the rows with the given ids.
async fn change_named<C: Backend>(
    db: &Db<C>,
    row_change: RowChange,
    out: &mut Output,
) -> Result<(), Failure> {
    if row_change.action == Action::Delete && !out.is_json() {
        let matching = count(db, &row_change).await?;
        list(db, &row_change, &matching, out).await?;
    }
    let RowChange {
        action,
        ref destination,
        ..
    } = row_change;
    let (of, ids) = (row_change.of(), row_change.selecting.ids.clone());
    let destination = destination.clone();
    let changed = change(
        db,
        &ChangedRows::default(),
        move |conn| match &destination {
            Some(destination) => admin::redirect(conn, destination, ids),
            None => of.act(conn, action, ids),
        },
    )
    .await?;
    let unchanged = changed.unchanged.iter().map(|one| {
        Object::new()
            .with("id", &one.id)
            .with("state", one.state.map(|state| state.to_string()))
    });
    out.result(
        format_args!("{} {}", changed.rows, row_change.done()),
        || {
            Object::new()
                .with("changed", changed.rows)
                .with_objects("unchanged", unchanged)
        },
    );
    require_all(&changed, &row_change.what(2))
}

/// Changes the rows that the filters accept.
async fn change_matching<C: Backend>(
    db: &Db<C>,
    row_change: RowChange,
    out: &mut Output,
) -> Result<(), Failure> {
    let matching = count(db, &row_change).await?;
    let is_dry = row_change.selecting.dry_run;
    if !out.is_json() {
        let rows = matching.rows();
        let verb = if rows == 1 { "matches" } else { "match" };
        out.line(format_args!("{rows} {} {verb}", row_change.what(rows)));
    }
    let mut object = Object::new().with("matching", matching.rows());
    if is_dry || row_change.action == Action::Delete {
        let rows = list(db, &row_change, &matching, out).await?;
        object = object.with_objects("rows", rows.into_iter());
    }
    if is_dry {
        out.result("dry run: nothing was changed", || {
            object.with("changed", 0).with("dry_run", true)
        });
        return Ok(());
    }
    let (bar, changed) = (bar(matching.rows()), ChangedRows::default());
    let (moved, counted) = (bar.clone(), changed.clone());
    let outcome = change(db, &changed, move |conn| {
        matching.apply(conn, |rows| {
            moved.set_position(rows);
            counted.set(rows);
        })
    })
    .await;
    bar.finish_and_clear();
    let rows = outcome?;
    out.result(format_args!("{rows} {}", row_change.done()), || {
        object.with("changed", rows).with("dry_run", false)
    });
    Ok(())
}

async fn count<C: Backend>(db: &Db<C>, row_change: &RowChange) -> Result<Matching, Failure> {
    let (of, action) = (row_change.of(), row_change.action);
    let (filter, destination) = (row_change.filter(), row_change.destination.clone());
    run_on(db, move |conn| {
        let matching = of.matching(conn, action, &filter)?;
        match destination {
            Some(destination) => matching.redirected_to(destination),
            None => Ok(matching),
        }
    })
    .await
}

/// Lists the first rows, unless the output is JSON: then it returns them.
async fn list<C: Backend>(
    db: &Db<C>,
    row_change: &RowChange,
    matching: &Matching,
    out: &mut Output,
) -> Result<Vec<Object>, Failure> {
    let (of, first) = (row_change.of(), matching.clone());
    let read = read_at(db, move |conn| first.first(conn, LISTED)).await?;
    let (now, rows) = (read.now, read.found);
    if out.is_json() {
        return Ok(rows.iter().map(|row| row_object(of, row)).collect());
    }
    print_rows(of, &rows, now, out);
    let listed = rows.len() as u64;
    if matching.rows() > listed {
        out.line(format_args!("and {} more", matching.rows() - listed));
    }
    Ok(Vec::new())
}

/// A progress bar, hidden if standard error is not a terminal.
fn bar(rows: u64) -> ProgressBar {
    let bar = BARS.add(ProgressBar::new(rows).with_finish(ProgressFinish::AndClear));
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} rows, {eta} left") {
        bar.set_style(style);
    }
    bar
}

/// Fails if some ids' rows were not changed. `what` are the rows that can be changed.
fn require_all(changed: &Changed, what: &str) -> Result<(), Failure> {
    const MOST: usize = 20;
    match changed.unchanged.as_slice() {
        [] => return Ok(()),
        [only] if changed.rows == 0 && only.state.is_none() && !is_uuid(&only.id) => {
            return Err(not_an_id(&only.id));
        }
        _ => {}
    }
    let others = &changed.unchanged;
    let mut list: Vec<String> = others.iter().take(MOST).map(Unchanged::to_string).collect();
    if others.len() > MOST {
        list.push(format!("and {} more", others.len() - MOST));
    }
    Err(Failure::runtime(format!(
        "{} of the ids are not those of {what}: {}",
        others.len(),
        list.join(", ")
    )))
}
