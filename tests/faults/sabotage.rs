//! Interference with the outbox from another session, in the SQL of each database.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;

fn lock(table: &str) -> String {
    format!("select id from {table} where status = 1 order by seq limit 5 for update")
}

pub(crate) mod postgres {
    use super::*;

    /// A uuid has one spelling.
    pub(crate) fn respell(_: &mut PgConnection, _: &str) -> QueryResult<()> {
        Ok(())
    }

    pub(crate) fn lock_rows(conn: &mut PgConnection, table: &str) -> QueryResult<()> {
        conn.batch_execute(&format!("begin; {}", super::lock(table)))
    }

    pub(crate) fn close_idle(conn: &mut PgConnection) -> QueryResult<()> {
        conn.batch_execute(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where datname = current_database() and state = 'idle' and pid <> pg_backend_pid()",
        )
    }

    pub(crate) fn quote(conn: &mut PgConnection, words: &str) -> QueryResult<()> {
        diesel::sql_query(format!("select '{words}'::int"))
            .execute(conn)
            .map(drop)
    }
}

pub(crate) mod mysql {
    use super::*;

    #[derive(QueryableByName)]
    struct Session {
        #[diesel(sql_type = diesel::sql_types::Text)]
        id: String,
    }

    pub(crate) fn respell(conn: &mut MysqlConnection, id: &str) -> QueryResult<()> {
        let statement = "update published set id = replace(id, '-', '') where id = ?";
        diesel::sql_query(statement)
            .bind::<diesel::sql_types::Text, _>(id)
            .execute(conn)
            .map(drop)
    }

    pub(crate) fn lock_rows(conn: &mut MysqlConnection, table: &str) -> QueryResult<()> {
        conn.batch_execute("begin")?;
        diesel::sql_query(super::lock(table))
            .execute(conn)
            .map(drop)
    }

    pub(crate) fn close_idle(conn: &mut MysqlConnection) -> QueryResult<()> {
        let idle: Vec<Session> = diesel::sql_query(
            "select cast(id as char) as id from information_schema.processlist
             where db = database() and command = 'Sleep' and id <> connection_id()",
        )
        .load(conn)?;
        for session in idle {
            // The session may have ended by itself.
            let _ = conn.batch_execute(&format!("kill {}", session.id));
        }
        Ok(())
    }

    pub(crate) fn quote(conn: &mut MysqlConnection, words: &str) -> QueryResult<()> {
        let statement = format!("insert into effects (id, msg_id) values ('{words}', '')");
        diesel::sql_query(statement).execute(conn).map(drop)
    }
}

pub(crate) mod sqlite {
    use super::*;

    pub(crate) fn respell(conn: &mut SqliteConnection, id: &str) -> QueryResult<()> {
        let statement = "update published set id = upper(replace(id, '-', '')) where id = ?";
        diesel::sql_query(statement)
            .bind::<diesel::sql_types::Text, _>(id)
            .execute(conn)
            .map(drop)
    }

    /// SQLite locks the whole file.
    pub(crate) fn lock_rows(conn: &mut SqliteConnection, _: &str) -> QueryResult<()> {
        conn.batch_execute("begin immediate")
    }

    /// A file has no sessions.
    pub(crate) fn close_idle(_: &mut SqliteConnection) -> QueryResult<()> {
        Ok(())
    }

    pub(crate) fn quote(conn: &mut SqliteConnection, words: &str) -> QueryResult<()> {
        diesel::sql_query(format!("select 1 from \"{words}\""))
            .execute(conn)
            .map(drop)
    }
}
