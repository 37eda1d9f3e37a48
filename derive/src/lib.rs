//! The macros of diesel-outbox, which re-exports them as `diesel_outbox::Publish` and `diesel_outbox::outboxed`.
#![deny(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod attr;
mod backend;
mod diesel;
mod errors;
mod expand;
mod literal;
mod message;
mod model;
mod outboxed;
mod row;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Derives `Publish` and `Save` for a struct of Diesel.
///
/// The struct has one of two forms. A *model* is the row itself: each
/// `#[publish(destination = "...")]` on it is one message. An *insertable* struct is only inserted
/// into the table: `#[publish(model = ...)]` names the model that is returned and published.
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
/// The keys of one `#[publish(...)]`, in any order. Several attributes are several messages,
/// written in the order of the attributes.
///
/// - `destination = "/topic/orders"`: required. At most 255 characters including the version, and
///   no U+0000: the limits of the column `destination`.
/// - `version = "v1"`: appends `.v1` to the destination and fills the column `version`. At most 100
///   characters.
/// - `fields(customer, total)`: the fields in the body. Default: all fields.
/// - `serializer = path::to::function`: the function's result for `&self` is the body, any
///   `impl serde::Serialize`. Cannot be combined with `fields`.
/// - `key = field`: the ordering key, from a field that is a string, an integer, a UUID, a bool, or
///   an `Option` of one. `None` means no ordering.
/// - `key = path::to::function`: the ordering key, from a function of `&self`. Its path contains
///   `::`, such as `Self::key` or `self::key`; a single name is a field.
/// - `headers = path::to::function`: additional headers, from a function of `&self` that returns
///   pairs of strings: an array, a `Vec` or a map.
/// - `stream = "billing"`: the stream, a named part of the outbox. At most 100 characters.
/// - `expires_in = "15m"`: how long after it is written the message may be sent; afterwards it is
///   parked.
/// - `on = insert | update | delete`: writes the message for these operations only. `save` of a struct
///   knows the operation; for your own statements, name it: `Operation::Delete.save(…)`,
///   `.publish(…)` or `.publish_all(…)`. If it is unknown (the functions `publish` and `save`,
///   `publish_all` of a statement), messages with `on` are not written.
/// - `operation_header = "operation"`: sets this header to the operation, `insert`, `update` or
///   `delete`, if it is known.
///
/// The body is that of django-outbox-pattern: `{"id": <primary key>, <fields>}`. The primary key
/// is under `id` whatever its name is (`#[diesel(primary_key(code))]`), and under its own name
/// only if `fields` names it. A key of several columns is an array, in the order of
/// `primary_key`. A field goes by its Rust name (`r#type` is `type`) and by its type's own
/// `Serialize`; serde's attributes on the field are ignored. JSON has no NaN and no infinity:
/// these are `null` in the body.
///
/// If several attributes have the same `version`, clippy's `duplicated_attributes` takes the second
/// for a mistake; put `#[allow(clippy::duplicated_attributes)]` on the struct.
///
/// # Saving a model
///
/// `save` writes every column with `UPDATE ... WHERE <primary key>`, `None` as NULL. If no row has
/// the key, it `INSERT`s the row with every column. It returns the struct unchanged, without values
/// that the database computes (a trigger, a generated column). It follows these attributes of
/// Diesel:
///
/// - on the struct: `table_name` (default: the name in snake case with an `s`), `primary_key`
///   (default: `id`) and `check_for_backend`;
/// - on a field: `column_name`, `skip_insertion`, `skip_update` and `serialize_as`, for which the
///   field must be `Clone`. A field with `select_expression` is not a column and is not written.
///   `embed` is refused.
///
/// With `skip_insertion` on the primary key, a missing row cannot be inserted under its key: `save`
/// then fails with `diesel::result::Error::NotFound`.
///
/// # Saving an insertable struct
///
/// `save` runs `INSERT ... RETURNING` and returns the model, which must be `Selectable` and
/// `Queryable`. Diesel supports no RETURNING on MySQL and MariaDB: there the row is selected by the
/// key that the struct contains (the field `id`, or the fields of `#[diesel(primary_key(...))]` on
/// it, which must be `Clone`), otherwise by `LAST_INSERT_ID()`.
///
/// # Keys for the whole struct
///
/// In a separate attribute or beside other keys:
///
/// - `save = false`: derives `Publish` only, for a model that cannot be written, such as one of a
///   view. It then needs no columns.
/// - `model = Order`: makes the struct insertable, as above. Can be combined with `crate` only.
/// - `crate = some::path::diesel_outbox`: the path of the library, if it is not `::diesel_outbox`.
///
/// `Save` is derived for each database whose feature is enabled in diesel-outbox. If a type of the
/// struct is not available on all of them, name the supported ones as for Diesel's own derives:
/// `#[diesel(check_for_backend(diesel::pg::Pg))]`, on the insertable struct too.
///
/// # Generics
///
/// Lifetimes and type parameters keep the bounds of the struct; the derive adds none. A type
/// parameter in a field of a body needs the bound `T: serde::Serialize`.
#[proc_macro_derive(Publish, attributes(publish, diesel))]
pub fn publish(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    match model::Item::read(&input) {
        Ok(item) => expand::expand(&item).into(),
        Err(error) => error.into_compile_error().into(),
    }
}

/// Makes calls of a function go through the outbox: they are written in the caller's transaction, and executed
/// after the commit by an executor that knows the function.
///
/// The function stays as it is. Beside it there is a struct of the same name, whose fields are the arguments;
/// types and values have separate namespaces:
///
/// ```
/// use diesel_outbox::prelude::*;
///
/// #[outboxed(key = order)]
/// fn charge(conn: &mut SqliteConnection, order: i64, email: &str) -> Result<(), BoxError> {
///     // ...
///     Ok(())
/// }
///
/// charge(conn, 7, "ann@example.org")?; // calls the function
/// charge::later(conn, 7, "ann@example.org")?; // writes a call
/// let call = charge { order: 7, email: "ann@example.org".into() };
/// call.delay(Duration::from_secs(60)).write(conn)?; // writes a call with options
/// ```
///
/// # Kinds of functions
///
/// | function | runs | effect |
/// | --- | --- | --- |
/// | `fn f(conn: &mut PgConnection, …)` | in the transaction that also records the call as done | exactly once in this database |
/// | `fn f(…)` | on a thread for blocking work | at least once |
/// | `async fn f(…)` | as a task | at least once |
///
/// A connection is the first parameter: `&mut` of `PgConnection`, `MysqlConnection` or `SqliteConnection`, or of an
/// alias of one. Two kinds of parameters are not arguments, at any place: `&CallInfo` (the id, the attempt, the
/// deadline), and `State<T>`, state of the application that the registry of the executor has. They are recognised
/// by the names of the types, `CallInfo` and `State`.
///
/// The function returns `()` or `Result<T, E>`, where `E: Into<BoxError>`. After an error there is another attempt;
/// a `Permanent` error parks the call.
///
/// # Arguments
///
/// Every other parameter is an argument. Its type implements serde's `Serialize` and `Deserialize`, and is `Send`. It
/// is stored under the parameter's name. Of borrowed parameters the field is owned: a `String` for `&str`, a `Vec<T>`
/// for `&[T]`, a `T` for another `&T`. Serde's attributes on a parameter, such as `#[serde(default)]`, apply to the
/// field, and so does its documentation.
///
/// Rows may wait while the function changes. An `Option` parameter that is new is `None` in an older row, and so is
/// the default of one with `#[serde(default)]`; a parameter that was removed is ignored. If another parameter is new,
/// renamed or has a new type, older rows may not be readable: they are parked with the reason.
///
/// # Keys
///
/// - `name = "shop.charge"`: the name in the table, at most 255 characters. Default: the function's name, without its
///   module. Services that share a table need different names.
/// - `alias = "shop.bill"`: a former name, under which rows may still wait; can be repeated. To rename a function,
///   add its former name as an alias, and remove it if no such row waits. Without it the rows wait until an executor
///   knows their name.
/// - `stream = "billing"`: the stream, a named part of the table; at most 100 characters.
/// - `key = order`: the ordering key, an expression over the parameters, which are references in it, such as
///   `key = format!("{customer}/{order}")`. Its type is a text, an integer, a UUID, a bool, or an `Option` of one.
///   Calls with the same key are executed one after another, in the order of writing.
/// - `ordered`: calls without a key share one, that of the stream, or of the function if there is no stream.
/// - `retry(attempts = 5, first_delay = "1s", factor = 2, maximum_delay = "1h", jitter = 0.2, when_exhausted = "park")`:
///   when failed calls are executed again, with one or more of these. They are named as the settings `retry_attempts`,
///   `retry_first_delay`, … and `when_exhausted` of the executor, have the same limits, and replace them. Default of
///   `maximum_delay`: the setting, or `first_delay` if that is longer.
/// - `timeout = "30s"`: the time limit of an execution. Default: the executor's setting.
/// - `encoding = "msgpack"`: MessagePack instead of JSON (feature `msgpack`), or the path of a type that implements
///   `Codec`.
/// - `crate = some::path::diesel_outbox`: the path of the library, if it is not `::diesel_outbox`.
///
/// A function with type parameters, a method, and a `const`, `unsafe` or `extern` function cannot be outboxed.
#[proc_macro_attribute]
pub fn outboxed(arguments: TokenStream, item: TokenStream) -> TokenStream {
    outboxed::outboxed(arguments.into(), item.into()).into()
}
