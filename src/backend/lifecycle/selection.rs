//! Changing all rows that a filter accepts, in batches.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::filter::literal;
use super::statements::Key;
use super::{Action, Cursor, Filter, LifecycleTable, Listing, PUBLISHED, RowDetails};
use crate::backend::claimed::RowKey;
use crate::backend::dialect::Dialect;
use crate::backend::outbox_write;
use crate::backend::qualify::RunQueryDsl;
use crate::headers::MSG_DESTINATION;

/// The rows that a filter accepts and whose state allows an action.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, QueryableByName)]
pub struct Selected {
    /// Their number.
    #[diesel(sql_type = BigInt)]
    pub n: i64,
    /// The `seq` of the last one; none if there are none.
    #[diesel(sql_type = Nullable<BigInt>)]
    pub last_seq: Option<i64>,
}

/// Changing selected rows; not for use by hand.
#[doc(hidden)]
pub trait Selection {
    /// Counts the rows that the filter accepts and whose state allows the action.
    fn count_selected(
        &mut self,
        table: LifecycleTable,
        filter: &Filter,
        action: Action,
    ) -> QueryResult<Selected>;

    /// The next of those rows, up to `limit`, after a row and up to the `seq` of `last`.
    fn next_selected(
        &mut self,
        table: LifecycleTable,
        filter: &Filter,
        action: Action,
        after: Option<&Cursor>,
        last: i64,
        limit: usize,
    ) -> QueryResult<Vec<RowKey>>;

    /// Changes those of the rows that the filter still accepts and whose state still allows the action.
    fn act_on(
        &mut self,
        table: LifecycleTable,
        filter: &Filter,
        action: Action,
        rows: &[RowKey],
    ) -> QueryResult<usize>;

    /// Locks those of the rows that the filter accepts and whose state allows the action until the transaction ends,
    /// and returns them.
    fn lock_selected(
        &mut self,
        table: LifecycleTable,
        filter: &Filter,
        action: Action,
        rows: &[RowKey],
    ) -> QueryResult<Vec<RowKey>>;

    /// Those of the rows that are signed.
    fn signed_among(
        &mut self,
        table: LifecycleTable,
        rows: &[RowKey],
    ) -> QueryResult<Vec<RowDetails>>;

    /// Gives rows of the outbox another destination, in the header `dop-msg-destination` too.
    fn redirect(&mut self, rows: &[RowKey], to: &str) -> QueryResult<()>;

    /// Sets the signature of a row of the outbox.
    fn set_signature(&mut self, row: RowKey, signature: &str) -> QueryResult<()>;
}

#[derive(QueryableByName)]
struct StoredId {
    #[diesel(sql_type = Text)]
    row_id: String,
}

/// The column `version` of a row that gets another destination: the version stays if the destination ends with it.
fn version_in<C: Dialect>(destination: &str) -> String {
    let dots = destination.match_indices('.');
    let versions: Vec<String> = dots
        .filter_map(|(at, _)| literal::<C>(&destination[at + 1..]))
        .collect();
    if versions.is_empty() {
        return "null".to_owned();
    }
    format!(
        "case when version in ({}) then version end",
        versions.join(", ")
    )
}

macro_rules! selection {
    ($module:ident: $connection:ty) => {
        impl Selection for $connection {
            fn count_selected(
                &mut self,
                table: LifecycleTable,
                filter: &Filter,
                action: Action,
            ) -> QueryResult<Selected> {
                let now = self.now()?;
                let Some(condition) = filter.condition::<Self>(now) else {
                    return Ok(Selected {
                        n: 0,
                        last_seq: None,
                    });
                };
                let action = action.condition(&Self::time_literal(now));
                diesel::sql_query(table.fill(&format!(
                    "select count(*) as n, max(seq) as last_seq from {{table}}
                    where {action} and {condition}"
                )))
                .get_result(self)
            }

            fn next_selected(
                &mut self,
                table: LifecycleTable,
                filter: &Filter,
                action: Action,
                after: Option<&Cursor>,
                last: i64,
                limit: usize,
            ) -> QueryResult<Vec<RowKey>> {
                let now = self.now()?;
                let Some(condition) = filter.condition::<Self>(now) else {
                    return Ok(Vec::new());
                };
                let action = action.condition(&Self::time_literal(now));
                let after = after.map_or_else(|| "1 = 1".to_owned(), Cursor::condition::<Self>);
                let rows: Vec<Key> = diesel::sql_query(table.fill(&format!(
                    "select {} from {{table}} where {action} and {condition} and {after}
                        and seq <= {last} order by seq, {{table}}.id limit {limit}",
                    Self::ROW_KEY
                )))
                .load(self)?;
                Ok(rows.into_iter().map(Key::row).collect())
            }

            fn act_on(
                &mut self,
                table: LifecycleTable,
                filter: &Filter,
                action: Action,
                rows: &[RowKey],
            ) -> QueryResult<usize> {
                let now = self.now()?;
                let Some(condition) = filter.condition::<Self>(now) else {
                    return Ok(0);
                };
                let rows = format!(
                    "{} and {} and {condition}",
                    Self::among(rows),
                    action.condition(&Self::time_literal(now))
                );
                let statement = action.statement::<Self>(table, &rows, true);
                outbox_write::write(|| diesel::sql_query(statement).execute(self))
            }

            fn lock_selected(
                &mut self,
                table: LifecycleTable,
                filter: &Filter,
                action: Action,
                rows: &[RowKey],
            ) -> QueryResult<Vec<RowKey>> {
                let now = self.now()?;
                let Some(condition) = filter.condition::<Self>(now) else {
                    return Ok(Vec::new());
                };
                let rows: Vec<Key> = diesel::sql_query(table.fill(&format!(
                    "select {} from {{table}} {} where {} and {} and {condition}{}",
                    Self::ROW_KEY,
                    Self::BY_SEQ,
                    Self::among(rows),
                    action.condition(&Self::time_literal(now)),
                    Self::FOR_UPDATE
                )))
                .load(self)?;
                Ok(rows.into_iter().map(Key::row).collect())
            }

            fn signed_among(
                &mut self,
                table: LifecycleTable,
                rows: &[RowKey],
            ) -> QueryResult<Vec<RowDetails>> {
                let signed: Vec<StoredId> = diesel::sql_query(table.fill(&format!(
                    "select {} as row_id from {{table}} {} where {} and signature is not null
                    order by seq",
                    Self::as_text("id"),
                    Self::BY_SEQ,
                    Self::among(rows)
                )))
                .load(self)?;
                let mut found = Vec::new();
                for row in signed {
                    found.extend(self.find(table, &row.row_id)?);
                }
                Ok(found)
            }

            fn redirect(&mut self, rows: &[RowKey], to: &str) -> QueryResult<()> {
                let Some(destination) = literal::<Self>(to) else {
                    return Ok(());
                };
                let member = format!("'{MSG_DESTINATION}'");
                diesel::sql_query(PUBLISHED.fill(&format!(
                    "update {{table}} {} set destination = {destination}, version = {},
                        headers = {} where {}",
                    Self::BY_SEQ,
                    version_in::<Self>(to),
                    Self::json_with("headers", &member, &destination),
                    Self::among(rows)
                )))
                .execute(self)
                .map(drop)
            }

            fn set_signature(&mut self, row: RowKey, signature: &str) -> QueryResult<()> {
                let Some(signature) = literal::<Self>(signature) else {
                    return Ok(());
                };
                diesel::sql_query(PUBLISHED.fill(&format!(
                    "update {{table}} {} set signature = {signature} where {}",
                    Self::BY_SEQ,
                    Self::among(&[row])
                )))
                .execute(self)
                .map(drop)
            }
        }
    };
}

crate::backend::databases!(selection);
