//! Statements that mean the tables of one schema: plain table names are qualified on their way to the server.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::sync::Arc;

use diesel::QueryResult;
use diesel::pg::{Pg, PgQueryBuilder};
use diesel::query_builder::{AstPass, Query, QueryBuilder, QueryFragment, QueryId};
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::Integer;

use crate::backend::qualify::Statements;
use crate::current_schema::current;

impl Statements for diesel::PgConnection {
    type Statement<Q> = Qualified<Q>;

    fn statement<Q>(query: Q) -> Qualified<Q> {
        Qualified {
            query,
            schema: current(),
            text: OnceCell::new(),
        }
    }
}

/// A statement whose tables are those of a schema.
pub(in crate::backend) struct Qualified<Q> {
    query: Q,
    schema: Option<Arc<str>>,
    text: OnceCell<Text>,
}

/// A statement's text, split at its first value.
struct Text {
    head: String,
    /// `None` if the statement has no values.
    tail: Option<String>,
    /// Whether the server may keep the statement prepared.
    keeps: bool,
}

impl Text {
    fn new(sql: &str, keeps: bool) -> Self {
        let Some((head, tail)) = split_at_first_value(sql) else {
            return Self {
                head: sql.to_owned(),
                tail: None,
                keeps,
            };
        };
        Self {
            head: head.to_owned(),
            tail: Some(tail.to_owned()),
            keeps,
        }
    }
}

/// Splits the text at `$1`.
fn split_at_first_value(sql: &str) -> Option<(&str, &str)> {
    sql.match_indices("$1").find_map(|(at, found)| {
        let tail = &sql[at + found.len()..];
        (!tail.starts_with(|next: char| next.is_ascii_digit())).then(|| (&sql[..at], tail))
    })
}

/// Stands for the first value of a statement, and fails if the value is requested.
#[derive(Debug)]
struct FirstValue;

static FIRST_VALUE: FirstValue = FirstValue;

impl ToSql<Integer, Pg> for FirstValue {
    fn to_sql<'b>(&'b self, _: &mut Output<'b, '_, Pg>) -> serialize::Result {
        Err("the values are being collected".into())
    }
}

impl<Q: QueryFragment<Pg>> Qualified<Q> {
    fn text(&self, schema: &str) -> QueryResult<&Text> {
        if let Some(text) = self.text.get() {
            return Ok(text);
        }
        let mut builder = PgQueryBuilder::default();
        self.query.to_sql(&mut builder, &Pg)?;
        let sql = qualified(&builder.finish(), schema);
        let keeps = self.query.is_safe_to_cache_prepared(&Pg)?;
        Ok(self.text.get_or_init(|| Text::new(&sql, keeps)))
    }
}

impl<Q: QueryFragment<Pg>> QueryFragment<Pg> for Qualified<Q> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let Some(schema) = &self.schema else {
            return self.query.walk_ast(out);
        };
        let text = self.text(schema)?;
        if !text.keeps {
            out.unsafe_to_cache_prepared();
        }
        out.push_sql(&text.head);
        let Some(tail) = &text.tail else {
            return Ok(());
        };
        // Diesel does not expose which pass this is. The pass that builds the text writes `$1`
        // here; the pass that collects the values fails, and has collected nothing.
        if out
            .push_bind_param::<Integer, FirstValue>(&FIRST_VALUE)
            .is_err()
        {
            return self.query.walk_ast(out);
        }
        out.push_sql(tail);
        Ok(())
    }
}

// The text depends on the schema, so the type does not identify a statement.
impl<Q> QueryId for Qualified<Q> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Q: Query> Query for Qualified<Q> {
    type SqlType = Q::SqlType;
}

impl<Q, C> diesel::RunQueryDsl<C> for Qualified<Q> {}

/// Our tables.
const TABLES: [&str; 8] = [
    "published",
    "received",
    "outbox_jobs",
    "outbox_streams",
    "outbox_deliveries",
    "outbox_calls",
    "outbox_trail",
    "outbox_migrations",
];
/// The function of our trigger, which has the same name.
const FUNCTION: &str = "outbox_wake";

/// SQL on our tables that means the named schema, for texts that are not sent as Diesel
/// statements, such as several statements at once.
pub(crate) fn here(sql: &str) -> Cow<'_, str> {
    match current() {
        Some(schema) => Cow::Owned(qualified(sql, &schema)),
        None => Cow::Borrowed(sql),
    }
}

/// Puts `"schema".` before each of our tables and functions in an SQL text. Literals, comments and
/// columns of a table (`published.id`) are not changed.
pub(super) fn qualified(sql: &str, schema: &str) -> String {
    let prefix = format!("{}.", quoted(schema, '"'));
    let bytes = sql.as_bytes();
    let mut made = String::with_capacity(sql.len() + 4 * prefix.len());
    // Only ASCII characters start or end a token, so the text can be split at each of these places.
    let (mut copied, mut at) = (0, 0);
    while at < bytes.len() {
        let rest = &bytes[at..];
        let (length, is_name) = match rest[0] {
            b'\'' => (quote_length(rest, b"'"), false),
            b'"' => (quote_length(rest, b"\""), true),
            b'$' if rest.starts_with(b"$$") => (quote_length(rest, b"$$"), false),
            b'-' if rest.starts_with(b"--") => (length_until(rest, |c| c == b'\n'), false),
            c if is_of_word(c) => (length_until(rest, |c| !is_of_word(c)), true),
            _ => (1, false),
        };
        let end = at + length;
        let is_part = at > 0 && bytes[at - 1] == b'.';
        if is_name && !is_part && is_ours(&sql[at..end], &sql[end..]) {
            made.push_str(&sql[copied..at]);
            made.push_str(&prefix);
            copied = at;
        }
        at = end;
    }
    made.push_str(&sql[copied..]);
    made
}

/// Whether a name is one of our tables or functions, and no column follows it.
fn is_ours(name: &str, behind: &str) -> bool {
    let name = name.trim_matches('"');
    let next = || behind.trim_start().chars().next();
    TABLES.contains(&name) && next() != Some('.') || name == FUNCTION && next() == Some('(')
}

fn is_of_word(c: u8) -> bool {
    c.is_ascii_alphanumeric() || c == b'_'
}

fn length_until(sql: &[u8], is_end: impl Fn(u8) -> bool) -> usize {
    sql.iter().position(|c| is_end(*c)).unwrap_or(sql.len())
}

/// The length of the text at the start of `sql` from one quote to the next.
fn quote_length(sql: &[u8], quote: &[u8]) -> usize {
    let inside = &sql[quote.len()..];
    let end = inside.windows(quote.len()).position(|c| c == quote);
    end.map_or(sql.len(), |end| end + 2 * quote.len())
}

/// Quotes a name or a text.
pub(crate) fn quoted(text: &str, quote: char) -> String {
    let doubled = text.replace(quote, &format!("{quote}{quote}"));
    format!("{quote}{doubled}{quote}")
}

/// An SQL expression for the key of an advisory lock of our outbox alone. Advisory locks belong to
/// the whole database.
pub(crate) fn lock_key(lock: i64) -> String {
    format!("hashtextextended({}, {lock})", schema_name())
}

/// An SQL expression for the name of the schema of our outbox, as a text; empty if there are no tables.
pub(super) fn schema_name() -> String {
    let schema = match current() {
        // Digits have the same meaning with either value of `standard_conforming_strings`.
        Some(schema) => format!("convert_from(decode('{}', 'hex'), 'UTF8')", hex(&schema)),
        None => "(select n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace
                  where c.oid = to_regclass('published'))"
            .to_owned(),
    };
    format!("coalesce({schema}::text, '')")
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use diesel::debug_query;
    use diesel::prelude::*;
    use diesel::sql_types::{BigInt, Text as SqlText};

    use super::*;
    use crate::current_schema::in_schema;
    use crate::schema::published;

    #[test]
    fn tables_are_qualified_and_nothing_else() {
        let sql = "insert into published (seq) select e.seq from \"received\" as e, outbox_jobs
            where \"published\".\"id\" = 'published' -- published
            and published . key = 1 on conflict do update set begun = outbox_deliveries.begun";
        let made = "insert into \"a\"\"b\".published (seq) select e.seq from \"a\"\"b\".\"received\" as e, \"a\"\"b\".outbox_jobs
            where \"published\".\"id\" = 'published' -- published
            and published . key = 1 on conflict do update set begun = outbox_deliveries.begun";
        assert_eq!(qualified(sql, "a\"b"), made);
        let trigger = "create trigger outbox_wake after insert on published
            for each statement execute function outbox_wake(); as $$ outbox_wake() $$";
        let made = "create trigger outbox_wake after insert on \"t\".published
            for each statement execute function \"t\".outbox_wake(); as $$ outbox_wake() $$";
        assert_eq!(qualified(trigger, "t"), made);
        for odd in [
            "'published",
            "\"published",
            "$$published",
            "é published é",
            "",
        ] {
            assert_eq!(qualified(odd, "t").replace("\"t\".", ""), odd);
        }
    }

    #[test]
    fn a_statement_keeps_its_values() {
        let update = in_schema("tenant", || {
            PgConnection::statement(
                diesel::update(published::table.filter(published::seq.eq(7)))
                    .set(published::destination.eq("$1")),
            )
        });
        let sql = debug_query::<Pg, _>(&update).to_string();
        let expected = "UPDATE \"tenant\".\"published\" SET \"destination\" = $1 \
                        WHERE (\"published\".\"seq\" = $2)";
        assert!(sql.starts_with(expected), "{sql}");

        let late = in_schema("tenant", || {
            let query = diesel::sql_query("select $12, $1 from published")
                .bind::<BigInt, _>(1)
                .bind::<SqlText, _>("x");
            PgConnection::statement(query)
        });
        let sql = debug_query::<Pg, _>(&late).to_string();
        assert!(
            sql.starts_with("select $12, $1 from \"tenant\".published"),
            "{sql}"
        );
    }
}
