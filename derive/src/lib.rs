//! The derive macro of diesel-outbox, which re-exports it as `diesel_outbox::Publish`.
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

/// Derives `Publish`, and with it `Save`, for a struct of Diesel.
///
/// The struct has one of two forms. A *model* is the row itself: each
/// `#[publish(destination = "...")]` on it is one message. An *insertable* struct only goes into
/// the table: `#[publish(model = ...)]` names the model that comes back and is published.
///
/// ```
/// use diesel::prelude::*;
/// use diesel_outbox::{Publish, Save};
///
/// diesel::table! {
///     orders {
///         id -> Integer,
///         customer -> Text,
///         total -> BigInt,
///     }
/// }
///
/// #[derive(Queryable, Selectable, Identifiable, Publish)]
/// #[diesel(table_name = orders)]
/// #[publish(destination = "/topic/orders", fields(customer, total), version = "v1")]
/// #[publish(destination = "/topic/orders.audit", serializer = Order::audit, key = id)]
/// struct Order {
///     id: i32,
///     customer: String,
///     total: i64,
/// }
///
/// impl Order {
///     fn audit(&self) -> (i32, &str) {
///         (self.id, &self.customer)
///     }
/// }
///
/// #[derive(Insertable, Publish)]
/// #[diesel(table_name = orders)]
/// #[publish(model = Order)]
/// struct NewOrder<'a> {
///     customer: &'a str,
///     total: i64,
/// }
///
/// fn order(conn: &mut SqliteConnection) -> Result<Order, diesel_outbox::Error> {
///     let mut order = NewOrder { customer: "ann", total: 12 }.save(conn)?; // INSERT
///     order.total = 13;
///     order.save(conn) // UPDATE
/// }
///
/// let order = Order { id: 1, customer: "ann".into(), total: 13 };
/// let messages = order.messages()?;
/// assert_eq!(messages.len(), 2); // to /topic/orders.v1 and to /topic/orders.audit
/// # Ok::<(), diesel_outbox::Error>(())
/// ```
///
/// # A message
///
/// In one `#[publish(...)]`, in any order; several attributes are several messages, written in the
/// order of the attributes.
///
/// - `destination = "/topic/orders"`: required. At most 255 characters, the version included,
///   and no U+0000, as the column `destination` holds them.
/// - `version = "v1"`: appends `.v1` to the destination and fills the column `version`. At most
///   100 characters.
/// - `fields(customer, total)`: the fields in the body; without it, all of them.
/// - `serializer = path::to::function`: the body is what the function returns for `&self`, any
///   `impl serde::Serialize`. Excludes `fields`.
/// - `key = field`: the ordering key, from a field that is a text, an integer, a uuid, a bool or
///   an `Option` of one. `None` promises no order.
/// - `key = path::to::function`: the same from a function of `&self`. Its path has a `::`, such as
///   `Self::key` or `self::key`; a single name is a field.
/// - `headers = path::to::function`: headers of the message's own, from a function of `&self` that
///   gives pairs of texts: an array, a `Vec`, a map.
/// - `stream = "billing"`: the part of the outbox. At most 100 characters.
/// - `expires_in = "15m"`: so long after it is written the message is parked instead of sent.
/// - `on = insert | update | delete`: writes the message for these operations only. `save` knows
///   what it does; `save_as`, `publish_as` and `publish_all_as` are told. Where nobody knows
///   (`publish`, `publish_all`, the function `save`), messages with `on` are left out.
/// - `operation_header = "operation"`: names the operation in this header, as `insert`, `update`
///   or `delete`, where it is known.
///
/// The body is that of django-outbox-pattern: `{"id": <primary key>, <fields>}`. The primary key
/// is under `id` whatever its name is (`#[diesel(primary_key(code))]`), and under its own name
/// only where `fields` names it. A key of several columns is an array, in the order of
/// `primary_key`. A field goes by its Rust name (`r#type` is `type`) and by its type's own
/// `Serialize`; attributes of serde on the field are not seen.
///
/// Where several attributes give the same `version`, clippy's `duplicated_attributes` takes the
/// second for a slip; `#[allow(clippy::duplicated_attributes)]` on the struct says that it is none.
///
/// # Saving a model
///
/// `save` writes every column by `UPDATE ... WHERE <primary key>`, `None` as NULL, and where no
/// row has the key, `INSERT`s it, every column again. It gives the struct back as it was, so what
/// the database computes by itself (a trigger, a generated column) is not in it. Of Diesel's
/// attributes it follows:
///
/// - on the struct `table_name` (else the name in snake case with an `s`), `primary_key` (else
///   `id`) and `check_for_backend`;
/// - on a field `column_name`, `skip_insertion`, `skip_update` and `serialize_as`, for which the
///   field must be `Clone`. A field with `select_expression` is no column and not written.
///   `embed` is refused.
///
/// With `skip_insertion` on the primary key a row that is not there cannot be inserted under its
/// key: `save` then fails with `diesel::result::Error::NotFound`.
///
/// # Saving an insertable struct
///
/// `INSERT ... RETURNING` the model, which must be `Selectable` and `Queryable`. On MySQL and
/// MariaDB, which Diesel knows no RETURNING for, the row is selected again: by the key that the
/// struct carries (the field `id`, or those that `#[diesel(primary_key(...))]` on it names, which
/// must be `Clone`), else by `LAST_INSERT_ID()`.
///
/// # The whole struct
///
/// In an attribute of their own or beside other keys:
///
/// - `save = false`: derives `Publish` only, for a model that cannot be written back, such as one
///   of a view. It needs no columns then.
/// - `model = Order`: makes the struct insertable, as above. Goes with `crate` only.
/// - `crate = some::path::diesel_outbox`: where the library is, when not at `::diesel_outbox`.
///
/// `Save` is derived for each database whose feature is on in diesel-outbox. Where a type of the
/// struct is not to be had on all of them, name those that hold it, as for Diesel's own derives:
/// `#[diesel(check_for_backend(diesel::pg::Pg))]`, on the insertable struct too.
///
/// # Generics
///
/// Lifetimes and type parameters are carried over with the bounds that the struct itself has;
/// the derive adds none. A type parameter among the fields of a body needs `T: serde::Serialize`
/// there.
#[proc_macro_derive(Publish, attributes(publish, diesel))]
pub fn publish(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    match model::Item::read(&input) {
        Ok(item) => expand::expand(&item).into(),
        Err(error) => error.into_compile_error().into(),
    }
}
