//! A web service that saves through the outbox, with a relay and a subscriber in the same process.
//!
//! `cargo run --example axum_service` sends itself one request and ends. A real service runs the relay and
//! the subscriber in processes of their own, or several replicas of all three, which share the work.
#![allow(clippy::print_stdout)]

mod support;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, CustomizeConnection, Pool};
use diesel_outbox::prelude::{BoxError, Outcome, Payload, Publish, Registry, Save};
use diesel_outbox::relay::Relay;
use diesel_outbox::{Shutdown, correlation};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use support::{Fallible, World};

diesel::table! {
    orders (id) {
        id -> Integer,
        customer -> Text,
        total -> BigInt,
    }
}

#[derive(Queryable, Selectable, Serialize, Publish)]
#[diesel(table_name = orders)]
#[publish(destination = "/topic/orders", version = "v1", key = id)]
struct Order {
    id: i32,
    customer: String,
    total: i64,
}

#[derive(Deserialize, Insertable, Publish)]
#[diesel(table_name = orders)]
#[publish(model = Order)]
struct NewOrder {
    customer: String,
    total: i64,
}

type Connections = Pool<ConnectionManager<SqliteConnection>>;

/// Saves an order. The request's id is the correlation id of its message, and of what callbacks publish.
async fn create(
    State(pool): State<Connections>,
    headers: HeaderMap,
    Json(new): Json<NewOrder>,
) -> Result<Json<Order>, (StatusCode, String)> {
    let request = headers.get("x-request-id").and_then(|id| id.to_str().ok());
    let request = request.unwrap_or("none").to_owned();
    // Diesel blocks, so it runs on a thread for blocking work.
    let saved = tokio::task::spawn_blocking(move || -> Result<Order, BoxError> {
        let conn = &mut pool.get()?;
        Ok(correlation::scope(request, || new.save(conn))?)
    });
    let failed = |error: BoxError| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    match saved.await {
        Ok(order) => order.map(Json).map_err(failed),
        Err(error) => Err(failed(error.into())),
    }
}

fn bill(conn: &mut SqliteConnection, payload: &Payload) -> Result<Outcome, BoxError> {
    println!(
        "billed {} for {}",
        payload.body()["customer"],
        payload.correlation_id()
    );
    diesel::sql_query("insert into bills (note) values ('x')").execute(conn)?;
    Ok(Outcome::Done)
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
async fn main() -> Fallible<()> {
    let world = World::new(
        "create table orders (id integer primary key, customer text not null, total bigint not null);
         create table bills (note text not null)",
    )?;
    let registry = Registry::<SqliteConnection>::new().on("bill", bill);
    let billing = world
        .subscribe(&registry, "bill", "/topic/orders.v1", "billing")
        .await?;

    let url = world.config.require_database_url()?.expose();
    let pool = Pool::builder()
        // 4 for requests, 4 for the relay.
        .max_size(8)
        .connection_customizer(Box::new(BusyTimeout))
        .build(ConnectionManager::new(url))?;

    let shutdown = Shutdown::new();
    let relay = Relay::with_pool(pool.clone(), &world.config)?;
    let signal = shutdown.clone();
    let relay = tokio::spawn(async move { relay.run(&signal).await });

    let app = Router::new()
        .route("/orders", post(create))
        .with_state(pool);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let signal = shutdown.clone();
    let server =
        axum::serve(listener, app).with_graceful_shutdown(async move { signal.requested().await });
    let server = tokio::spawn(async move { server.await });

    println!(
        "{}",
        ask(address, r#"{"customer":"ann","total":12}"#).await?
    );
    world.received(1).await?;

    // In this order: accept no new requests, send what they wrote, handle what was received.
    shutdown.stop();
    server.await??;
    let sent = relay.await??;
    let handled = billing.stop().await?;
    println!("sent {}, handled {}", sent.sent, handled.done);
    Ok(())
}

/// Sends one request over a plain socket, so that the example needs no HTTP client.
async fn ask(address: std::net::SocketAddr, body: &str) -> Fallible<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!(
        "POST /orders HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx-request-id: request-7\r\n\
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
