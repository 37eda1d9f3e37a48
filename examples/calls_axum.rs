//! A web service that writes an order and outboxes its mail in one transaction, with an executor in the same
//! process, whose errors go to an error tracker.
//!
//! `cargo run --example calls_axum` sends itself one request and ends. A real service may run executors in
//! processes of their own (`cli::calls`), or several replicas of this one, which share the work.
#![allow(clippy::print_stdout)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::extract::State as Extract;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, CustomizeConnection, Pool};
use diesel_outbox::calls::{CallEvent, Calls, Executor, State, Waker};
use diesel_outbox::config::Config;
use diesel_outbox::migrations::Migrate;
use diesel_outbox::prelude::*;
use diesel_outbox::{BoxError, Shutdown};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

diesel::table! {
    orders (id) {
        id -> Integer,
        email -> Text,
        total -> BigInt,
    }
}

#[derive(Queryable, Selectable, Serialize)]
#[diesel(table_name = orders)]
struct Order {
    id: i32,
    email: String,
    total: i64,
}

#[derive(Deserialize, Insertable)]
#[diesel(table_name = orders)]
struct NewOrder {
    email: String,
    total: i64,
}

/// A client of a mail server, which does not answer the first time.
#[derive(Default)]
struct Mailer {
    requests: AtomicU32,
}

impl Mailer {
    async fn send(&self, to: &str, text: &str) -> Result<(), BoxError> {
        // A real client awaits the server here.
        tokio::task::yield_now().await;
        if self.requests.fetch_add(1, Ordering::Relaxed) == 0 {
            return Err("the mail server does not answer".into());
        }
        println!("to {to}: {text}");
        Ok(())
    }
}

/// Runs as a task, at least once: the mail server should ignore a second mail with the same id.
#[outboxed(
    name = "shop.send_mail",
    timeout = "10s",
    retry(attempts = 10, first_delay = "50ms", maximum_delay = "1h")
)]
async fn send_mail(order: i32, email: &str, mailer: State<Mailer>) -> Result<(), BoxError> {
    mailer
        .send(email, &format!("thank you for order {order}"))
        .await
}

/// Where errors are collected: a stand-in for the client of an error tracker.
trait ErrorTracker: Send + Sync {
    fn capture(&self, call: &CallEvent);
}

/// Prints. With the crate `sentry` it would be
/// `sentry::with_scope(|scope| scope.set_tag("call", &call.name), || sentry::capture_message(…, Level::Error))`.
struct PrintingTracker;

impl ErrorTracker for PrintingTracker {
    fn capture(&self, call: &CallEvent) {
        let error = call.error.as_deref().unwrap_or_default();
        println!("tracked: {}, attempt {}: {error}", call.name, call.attempt);
    }
}

#[derive(Clone)]
struct Shop {
    pool: Pool<ConnectionManager<SqliteConnection>>,
    waker: Waker,
}

/// Writes the order and the call in one transaction: there is no mail without an order, and no order without its
/// mail.
fn save(shop: &Shop, new: &NewOrder) -> Result<Order, BoxError> {
    let conn = &mut shop.pool.get()?;
    let order = conn.transaction::<_, BoxError, _>(|conn| {
        let order: Order = diesel::insert_into(orders::table)
            .values(new)
            .returning(Order::as_returning())
            .get_result(conn)?;
        send_mail::later(conn, order.id, &order.email)?;
        Ok(order)
    })?;
    // The executor need not wait for its next poll.
    shop.waker.wake();
    Ok(order)
}

async fn create(
    Extract(shop): Extract<Shop>,
    Json(new): Json<NewOrder>,
) -> Result<Json<Order>, (StatusCode, String)> {
    // Diesel blocks, so it runs on a thread for blocking work.
    let saved = tokio::task::spawn_blocking(move || save(&shop, &new)).await;
    let failed = |error: BoxError| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    match saved {
        Ok(order) => order.map(Json).map_err(failed),
        Err(error) => Err(failed(error.into())),
    }
}

#[derive(Debug)]
struct BusyTimeout;

impl CustomizeConnection<SqliteConnection, diesel::r2d2::Error> for BusyTimeout {
    fn on_acquire(&self, conn: &mut SqliteConnection) -> Result<(), diesel::r2d2::Error> {
        diesel::sql_query("pragma busy_timeout = 5000")
            .execute(conn)
            .map(drop)
            .map_err(diesel::r2d2::Error::QueryError)
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let folder = tempfile::tempdir()?;
    let url = folder.path().join("shop.db").display().to_string();
    let mut conn = SqliteConnection::establish(&url)?;
    conn.migrate()?;
    diesel::sql_query(
        "create table orders (id integer primary key, email text not null, total bigint not null)",
    )
    .execute(&mut conn)?;

    let config = Config::builder().set("database_url", url.clone()).build()?;
    let calls = Calls::<SqliteConnection>::new()
        .add::<send_mail>()
        .state(Arc::new(Mailer::default()));
    let tracker: Arc<dyn ErrorTracker> = Arc::new(PrintingTracker);
    // Hooks run on a thread of their own. One that blocks or panics harms no call.
    let executor = Executor::new(&config, calls)?.on_error(move |call| tracker.capture(call));
    let (monitor, waker) = (executor.monitor(), executor.waker());
    let shutdown = Shutdown::new();
    let signal = shutdown.clone();
    let executor = tokio::spawn(async move { executor.run(&signal).await });

    let pool = Pool::builder()
        .max_size(4)
        .connection_customizer(Box::new(BusyTimeout))
        .build(ConnectionManager::new(url))?;
    let app = Router::new()
        .route("/orders", post(create))
        .with_state(Shop { pool, waker });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let signal = shutdown.clone();
    let server =
        axum::serve(listener, app).with_graceful_shutdown(async move { signal.requested().await });
    let server = tokio::spawn(async move { server.await });

    let answer = ask(address, r#"{"email":"ann@example.org","total":12}"#).await?;
    println!("{answer}");
    while monitor.stats().executed < 1 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    // Calls that run may finish. Those that wait are executed after the next start.
    shutdown.stop();
    server.await??;
    let stats = executor.await??;
    println!(
        "executed {}, failed attempts {}",
        stats.executed, stats.failed
    );
    Ok(())
}

/// Sends one request over a plain socket, so that the example needs no HTTP client.
async fn ask(address: std::net::SocketAddr, body: &str) -> Result<String, BoxError> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!(
        "POST /orders HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let status = answer.lines().next().unwrap_or_default();
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
    Ok(format!("{status} {body}"))
}
