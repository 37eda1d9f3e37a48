//! Retry policies that make no sense.

use diesel_outbox::outboxed;

#[outboxed(attempts = 5)]
fn outside(_order: i64) {}

#[outboxed(retry)]
fn alone(_order: i64) {}

#[outboxed(retry())]
fn empty(_order: i64) {}

#[outboxed(retry = 5)]
fn valued(_order: i64) {}

#[outboxed(retry(attemts = 5, tries = 5, retry_factor = 2))]
fn unknown(_order: i64) {}

#[outboxed(retry(attempts = 5, attempts = 6), retry(factor = 2))]
fn twice(_order: i64) {}

#[outboxed(retry(attempts, jitter = ))]
fn no_value(_order: i64) {}

#[outboxed(retry(attempts = 0, first_delay = "0s", factor = 0.5, maximum_delay = "366days", jitter = 1.5))]
fn out_of_range(_order: i64) {}

#[outboxed(retry(attempts = "ten", first_delay = "soon", factor = "two", jitter = -1, when_exhausted = "drop"))]
fn words(_order: i64) {}

#[outboxed(retry(maximum_delay = "1s", first_delay = "1m"))]
fn contradiction(_order: i64) {}

fn main() {}
