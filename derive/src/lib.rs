//! The derive macro of diesel-outbox.
#![deny(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod attr;
mod backend;
mod diesel;
mod errors;
mod expand;
mod message;
mod model;
mod row;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Derives `Publish` and `Save`.
#[proc_macro_derive(Publish, attributes(publish, diesel))]
pub fn publish(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    match model::Item::read(&input) {
        Ok(item) => expand::expand(&item).into(),
        Err(error) => error.into_compile_error().into(),
    }
}
