//! Functions whose calls cannot be stored.

use diesel_outbox::outboxed;

struct Shop;

impl Shop {
    #[outboxed]
    fn method(&self, order: i64) {}
}

#[outboxed]
fn generic<T: ToString>(order: T) {}

#[outboxed]
fn lifetimes<'a>(email: &'a str) {}

#[outboxed]
fn bounds()
where
    String: Clone,
{
}

#[outboxed]
const fn constant(order: i64) {}

#[outboxed]
unsafe fn dangerous(order: i64) {}

#[outboxed]
extern "C" fn foreign(order: i64) {}

#[outboxed]
fn unnamed(order: impl ToString) {}

#[outboxed]
fn inside(emails: Option<&str>) {}

#[outboxed]
fn never_ends(email: &'static str) {}

#[outboxed]
fn borrowed(name: std::borrow::Cow<'_, str>) {}

#[outboxed]
fn pattern((order, email): (i64, String)) {}

#[outboxed]
fn ignored(_: i64) {}

#[outboxed]
fn second(order: i64, conn: &mut diesel::SqliteConnection) {}

#[outboxed]
fn sometimes(#[cfg(test)] order: i64) {}

#[outboxed]
fn returns() -> impl std::future::Future<Output = ()> {
    async {}
}

#[outboxed]
async fn held(conn: &mut diesel::SqliteConnection, order: i64) {}

fn main() {}
