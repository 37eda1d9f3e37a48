//! Detects poolers that lend a session of the server to one transaction after another.
//!
//! On PostgreSQL the programs keep state in their sessions: prepared statements, the result of a claim,
//! time limits, the locks of `migrate`. A pooler such as PgBouncer with `pool_mode = transaction` gives a
//! client another session for its next transaction, and gives its session to other clients: the prepared
//! statements of other clients would run instead of ours.

use diesel::connection::CacheSize;

use super::{Db, DbConnection, DbError};
use crate::backend::{Backend, Unsuitable};

/// How often to check. One check is enough if no other client uses the pooler; otherwise a connection
/// may get the same session again by chance.
const CHECKS: usize = 5;

impl<C: Backend> Db<C> {
    /// Fails if two connections share a session of the server, or if the session of one changes.
    pub(crate) async fn check_sessions(&self) -> Result<(), DbError> {
        if !C::HAS_POOLERS {
            return Ok(());
        }
        let db = self.clone();
        let has_pooler = self.on_thread(move || db.finds_pooler()).await??;
        if has_pooler {
            return Err(Unsuitable::TransactionPooler.into());
        }
        Ok(())
    }

    fn finds_pooler(&self) -> Result<bool, DbError> {
        // On connections without setup: other clients would find the settings of our sessions.
        let open = || -> Result<DbConnection<C>, DbError> {
            let mut conn = self.manager.open_bare()?;
            // The service's sessions keep their cache.
            conn.retire();
            conn.set_prepared_statement_cache_size(CacheSize::Disabled);
            Ok(conn)
        };
        let mut ours = open()?;
        // A user may be limited to one connection: then nothing can be compared.
        let Ok(mut other) = open() else {
            return Ok(false);
        };
        // In a transaction: a pooler may run the two halves of a prepared statement in different sessions.
        let session_of = |conn: &mut C| conn.transaction(C::session);
        for _ in 0..CHECKS {
            let session = session_of(&mut ours)?;
            other.batch_execute("begin")?;
            // The session is kept until the end of the transaction.
            let changes = other
                .session()
                .and_then(|held| Ok(held == session || session_of(&mut ours)? != session));
            other.batch_execute("rollback")?;
            if changes? || session_of(&mut ours)? != session {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
