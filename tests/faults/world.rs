//! The environment of a run: a database, a queue, and the content of the outbox.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_outbox::admin::Rows;
use diesel_outbox::backend::Backend;
use diesel_outbox::migrations::Migrate;

use crate::sabotage;
use crate::support::{self, TestDatabase};

/// A connection that the suite runs on.
pub(crate) trait Subject: Backend + Migrate {
    fn open(url: &str) -> QueryResult<Self>;

    fn rows(&mut self, of: Rows) -> Vec<Row>;

    /// The effects of messages, in their order.
    fn effects(&mut self) -> Vec<Effect>;

    /// Writes this row's id in another spelling, if ids are text.
    fn respell(&mut self, id: &str) -> QueryResult<()>;

    /// Locks waiting rows, or the file, until this connection's transaction ends.
    fn lock_rows(&mut self, of: Rows) -> QueryResult<()>;

    /// Ends the idle sessions of the database.
    fn close_idle(&mut self) -> QueryResult<()>;

    /// Runs a statement that fails with an error that quotes this text.
    fn quote(&mut self, words: &str) -> QueryResult<()>;
}

/// What a callback has written.
#[derive(QueryableByName)]
pub(crate) struct Effect {
    #[diesel(sql_type = diesel::sql_types::Text)]
    pub(crate) msg_id: String,
    /// 1 if the broker had delivered the message before.
    #[diesel(sql_type = diesel::sql_types::Integer)]
    pub(crate) redelivered: i32,
}

/// A message or a call at the end.
#[derive(QueryableByName, Debug)]
pub(crate) struct Row {
    #[diesel(sql_type = diesel::sql_types::Text)]
    pub(crate) id: String,
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    pub(crate) seq: i64,
    #[diesel(sql_type = diesel::sql_types::Nullable<diesel::sql_types::Text>)]
    pub(crate) key: Option<String>,
    #[diesel(sql_type = diesel::sql_types::Integer)]
    pub(crate) status: i32,
    #[diesel(sql_type = diesel::sql_types::Integer)]
    pub(crate) retry: i32,
    #[diesel(sql_type = diesel::sql_types::Nullable<diesel::sql_types::Text>)]
    pub(crate) last_error: Option<String>,
}

macro_rules! subject {
    ($connection:ty, $id:literal, $key:literal, $sabotage:ident) => {
        impl Subject for $connection {
            fn open(url: &str) -> QueryResult<Self> {
                let lost = |error: ConnectionError| {
                    diesel::result::Error::QueryBuilderError(Box::new(error))
                };
                let mut conn = Self::establish(url).map_err(lost)?;
                if Self::NAME == "SQLite" {
                    conn.batch_execute("pragma busy_timeout = 20000")?;
                }
                Ok(conn)
            }

            fn rows(&mut self, of: Rows) -> Vec<Row> {
                let query = format!(
                    "select {} as id, seq, {}, status, retry, last_error from {} order by seq",
                    $id,
                    $key,
                    table(of)
                );
                let mut rows: Vec<Row> = diesel::sql_query(query).load(self).unwrap();
                for row in &mut rows {
                    row.id = row.id.parse::<uuid::Uuid>().unwrap().to_string();
                }
                rows
            }

            fn effects(&mut self) -> Vec<Effect> {
                let query = "select msg_id, redelivered from effects order by id";
                diesel::sql_query(query).load(self).unwrap()
            }

            fn respell(&mut self, id: &str) -> QueryResult<()> {
                sabotage::$sabotage::respell(self, id)
            }

            fn lock_rows(&mut self, of: Rows) -> QueryResult<()> {
                sabotage::$sabotage::lock_rows(self, table(of))
            }

            fn close_idle(&mut self) -> QueryResult<()> {
                sabotage::$sabotage::close_idle(self)
            }

            fn quote(&mut self, words: &str) -> QueryResult<()> {
                sabotage::$sabotage::quote(self, words)
            }
        }
    };
}

subject!(diesel::PgConnection, "id::text", "key", postgres);
subject!(diesel::MysqlConnection, "id", "`key`", mysql);
subject!(diesel::SqliteConnection, "id", "key", sqlite);

/// The table of messages or calls.
fn table(of: Rows) -> &'static str {
    match of {
        Rows::Calls => "outbox_calls",
        _ => "published",
    }
}

/// A database, and a broker if messages are sent; `None` if a server is not used.
pub(crate) struct World {
    pub(crate) database: TestDatabase,
    broker: Option<String>,
    /// What is written: messages or calls.
    pub(crate) kind: Rows,
    /// The queue of this run.
    pub(crate) queue: String,
}

impl World {
    pub(crate) fn new<C: Subject>(database: Option<TestDatabase>) -> Option<Self> {
        let broker = support::server("OUTBOX_TEST_RABBITMQ", "RabbitMQ")?;
        Some(Self::on::<C>(database?, Some(broker), Rows::Messages))
    }

    /// A world of calls, without a broker.
    pub(crate) fn of_calls<C: Subject>(database: Option<TestDatabase>) -> Option<Self> {
        Some(Self::on::<C>(database?, None, Rows::Calls))
    }

    fn on<C: Subject>(database: TestDatabase, broker: Option<String>, kind: Rows) -> Self {
        let world = Self {
            database,
            broker,
            kind,
            queue: format!("outbox-test-{}", uuid::Uuid::new_v4().simple()),
        };
        world.connect::<C>().migrate().unwrap();
        world
    }

    pub(crate) fn broker(&self) -> &str {
        self.broker.as_deref().expect("a world with a broker")
    }

    pub(crate) fn has_broker(&self) -> bool {
        self.broker.is_some()
    }

    pub(crate) fn rows<C: Subject>(&self) -> Vec<Row> {
        self.connect::<C>().rows(self.kind)
    }

    pub(crate) fn connect<C: Subject>(&self) -> C {
        C::open(&self.database.url).unwrap()
    }

    /// The queue itself, which the consumer has declared.
    pub(crate) fn destination(&self) -> String {
        format!("/amq/queue/{}", self.queue)
    }

    /// A topic, to which several queues can be bound.
    pub(crate) fn topic(&self) -> String {
        format!("/topic/{}", self.queue)
    }

    pub(crate) fn waiting<C: Subject>(&self) -> i64 {
        self.kind.count(&mut self.connect::<C>()).unwrap().waiting
    }

    pub(crate) fn sent<C: Subject>(&self) -> usize {
        let counts = self.kind.count(&mut self.connect::<C>()).unwrap();
        usize::try_from(counts.done).unwrap()
    }
}
