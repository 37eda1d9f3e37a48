//! What the lifecycle of function calls has beside that of messages: leases that are renewed, rows that are
//! settled in the transaction of their function, and executions that end their process.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text};
use uuid::Uuid;

use super::statements::ROWS_IN_ONE_STATEMENT;
use super::{LifecycleTable, PARKED, WAITING};
use crate::backend::claimed::{CallColumns, Claimed, LeasedCall, RowKey, Wait};
use crate::backend::dialect::{Changes, Dialect};
use crate::backend::moments::after;
use crate::backend::names;
use crate::backend::qualify::RunQueryDsl;

/// How long a row is left alone that was recorded as succeeded too early.
const UNSETTLED: Duration = Duration::from_secs(60);

/// The statements of an executor beside those of [`Lifecycle`](super::Lifecycle); not for use by hand.
#[doc(hidden)]
pub trait Execution {
    /// Reads those of the calls with these ids that are under the token, in the order of `seq`. A call whose
    /// transaction was rolled back, and one whose lease has passed to another holder, is not among them.
    fn read_leased(
        &mut self,
        table: LifecycleTable,
        token: Uuid,
        ids: &[Uuid],
    ) -> QueryResult<Vec<LeasedCall>>;

    /// Moves the end of a lease to `lease` from now. Returns how many of the rows were still under the token
    /// and not locked by another session.
    fn renew(
        &mut self,
        table: LifecycleTable,
        token: Uuid,
        rows: &[RowKey],
        lease: Duration,
    ) -> QueryResult<usize>;

    /// Records in the caller's transaction that a row succeeds. Waits for the row's lock, and keeps it until
    /// the transaction ends: nobody else can claim the row. The token stays, for
    /// [`unsettle`](Self::unsettle). Returns whether the row was under the token.
    fn settle_within(
        &mut self,
        table: LifecycleTable,
        token: Uuid,
        row: RowKey,
    ) -> QueryResult<bool>;

    /// Whether a row is recorded as succeeded.
    fn is_settled(&mut self, table: LifecycleTable, row: RowKey) -> QueryResult<bool>;

    /// Makes a row wait again that [`settle_within`](Self::settle_within) has recorded under this token, and
    /// that was committed too early. Returns whether there was one.
    fn unsettle(&mut self, table: LifecycleTable, token: Uuid, row: RowKey) -> QueryResult<bool>;

    /// Counts an execution before it starts. Returns whether the row was under the token.
    fn count_crash(&mut self, table: LifecycleTable, token: Uuid, row: RowKey)
    -> QueryResult<bool>;

    /// Sets the number of counted executions of a row: one has ended, and its process lives. Returns whether the
    /// row was under the token.
    fn set_crashes(
        &mut self,
        table: LifecycleTable,
        token: Uuid,
        row: RowKey,
        crashes: i32,
    ) -> QueryResult<bool>;
}

/// A call that was written under a lease.
#[derive(QueryableByName)]
struct Stored {
    #[diesel(sql_type = BigInt)]
    seq: i64,
    #[diesel(sql_type = Text)]
    row_id: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Nullable<Text>)]
    args_text: Option<String>,
    #[diesel(sql_type = Text)]
    headers_text: String,
    #[diesel(sql_type = Nullable<Text>)]
    stream: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    row_key: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    signature: Option<String>,
    #[diesel(sql_type = Integer)]
    retry: i32,
    #[diesel(sql_type = Bool)]
    is_expired: bool,
    #[diesel(sql_type = Bool)]
    is_blocked: bool,
    #[diesel(embed)]
    columns: CallColumns,
}

impl Stored {
    fn call(self) -> LeasedCall {
        let uuid = names::uuid(&self.row_id);
        LeasedCall {
            claimed: Claimed {
                seq: self.seq,
                id: uuid.unwrap_or_default(),
                bad_id: uuid.is_none().then_some(self.row_id),
                destination: self.name,
                body: self.args_text.unwrap_or_default(),
                headers: self.headers_text,
                key: self.row_key,
                stream: self.stream,
                signature: self.signature,
                retry: self.retry,
                expired: self.is_expired,
                too_large: None,
                call: Some(self.columns),
                wait: Wait::default(),
            },
            is_blocked: self.is_blocked,
        }
    }
}

/// A statement that reads the calls with these ids that are under a token. The earlier rows of a key are in three
/// ranges of the index: rows that wait and have not failed, other rows that wait, and parked ones.
fn leased<C: Dialect>(table: LifecycleTable, token: Uuid, ids: &[Uuid], now: &str) -> String {
    let ids: Vec<String> = ids.iter().map(|id| format!("'{id}'")).collect();
    let (key, epoch) = (C::KEY, C::EPOCH);
    let earlier = |condition: &str| {
        format!(
            "exists (select 1 from {{table}} e {}
                where e.{key} = p.{key} and e.seq < p.seq and e.status <> 2 and {condition}
                    and (e.lease_token is null or e.lease_token <> '{token}'))",
            C::BY_HELD
        )
    };
    table.fill(&format!(
        "select p.seq, {} as row_id, p.name, {} as args_text, {} as headers_text, p.stream,
            p.{key} as row_key, p.signature, p.retry, p.encoding, p.payload, p.crashes,
            p.expires_at <= {now} as is_expired,
            p.{key} is not null and ({} or {} or {}) as is_blocked
        from {{table}} p
        where p.id in ({}) and p.lease_token = '{token}' and p.status > 0 and p.status <> 2
        order by p.seq",
        C::as_text("p.id"),
        C::as_text("p.args"),
        C::as_text("p.headers"),
        earlier(&format!("e.status = {WAITING} and e.due_at = {epoch}")),
        earlier(&format!("e.status = {WAITING} and e.due_at > {epoch}")),
        earlier(&format!("e.status = {PARKED} and e.due_at > {now}")),
        ids.join(", ")
    ))
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

/// Changes a row that meets a condition, and waits for its lock. Evaluates to whether it was changed.
macro_rules! change_row {
    ($conn:expr, $table:expr, $row:expr, $changes:expr, $condition:expr) => {{
        let statement = format!(
            "update {} set {} where {} and {}",
            $table.name,
            $changes,
            Self::among(&[$row]),
            $condition
        );
        let changed = diesel::sql_query(statement).execute($conn)?;
        Ok(changed > 0)
    }};
}

macro_rules! execution {
    ($module:ident: $connection:ty) => {
        impl Execution for $connection {
            fn read_leased(
                &mut self,
                table: LifecycleTable,
                token: Uuid,
                ids: &[Uuid],
            ) -> QueryResult<Vec<LeasedCall>> {
                if ids.is_empty() {
                    return Ok(Vec::new());
                }
                let now = Self::time_literal(self.now()?);
                let calls: Vec<Stored> =
                    diesel::sql_query(leased::<Self>(table, token, ids, &now)).load(self)?;
                Ok(calls.into_iter().map(Stored::call).collect())
            }

            fn renew(
                &mut self,
                table: LifecycleTable,
                token: Uuid,
                rows: &[RowKey],
                lease: Duration,
            ) -> QueryResult<usize> {
                let mut renewed = 0;
                for rows in rows.chunks(ROWS_IN_ONE_STATEMENT) {
                    let until = Self::time_literal(after(self.now()?, lease));
                    let changes = Changes {
                        sql: format!("due_at = {until}"),
                        is_frequent: false,
                    };
                    renewed += self.change_leased(table, token, rows, changes)?;
                }
                Ok(renewed)
            }

            fn settle_within(
                &mut self,
                table: LifecycleTable,
                token: Uuid,
                row: RowKey,
            ) -> QueryResult<bool> {
                let changes = table.fill(&format!(
                    "status = 2, {{settled_at}} = {}, last_error = null, due_at = {}",
                    Self::NOW,
                    Self::EPOCH
                ));
                let condition = format!("lease_token = '{token}' and status <> 2");
                change_row!(self, table, row, changes, condition)
            }

            fn is_settled(&mut self, table: LifecycleTable, row: RowKey) -> QueryResult<bool> {
                let found: Number = diesel::sql_query(format!(
                    "select count(*) as n from {} where {} and status = 2",
                    table.name,
                    Self::among(&[row])
                ))
                .get_result(self)?;
                Ok(found.n > 0)
            }

            fn unsettle(
                &mut self,
                table: LifecycleTable,
                token: Uuid,
                row: RowKey,
            ) -> QueryResult<bool> {
                // Nobody else claims it before it is settled.
                let until = Self::time_literal(after(self.now()?, UNSETTLED));
                let changes = table.fill(&format!(
                    "status = {WAITING}, {{settled_at}} = null, due_at = {until}"
                ));
                let condition = format!("lease_token = '{token}' and status = 2");
                change_row!(self, table, row, changes, condition)
            }

            fn count_crash(
                &mut self,
                table: LifecycleTable,
                token: Uuid,
                row: RowKey,
            ) -> QueryResult<bool> {
                let condition = format!("lease_token = '{token}'");
                change_row!(self, table, row, "crashes = crashes + 1", condition)
            }

            fn set_crashes(
                &mut self,
                table: LifecycleTable,
                token: Uuid,
                row: RowKey,
                crashes: i32,
            ) -> QueryResult<bool> {
                let changes = format!("crashes = {crashes}");
                let condition = format!("lease_token = '{token}'");
                change_row!(self, table, row, changes, condition)
            }
        }
    };
}

crate::backend::databases!(execution);
