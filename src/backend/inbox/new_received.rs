//! A row of the inbox, and what of it fits into its columns.

use std::io;

use diesel::QueryResult;
use serde_json::Value;
use uuid::Uuid;

use super::NewReceived;
use crate::backend::dialect::Dialect;
use crate::schema::{Document, Id};

impl NewReceived {
    pub(crate) fn new(
        msg_id: String,
        consumer: String,
        headers: Value,
        body: Option<Value>,
        retry: i32,
    ) -> Self {
        Self {
            id: Id(Uuid::now_v7()),
            msg_id,
            consumer,
            headers: Some(Document(headers)),
            body: body.map(Document),
            retry,
        }
    }

    /// The same without the documents that the columns may be unable to hold.
    pub(crate) fn bare(&self) -> Self {
        Self {
            headers: None,
            body: None,
            ..self.clone()
        }
    }

    /// The row's own id, which no other attempt has.
    pub(crate) fn id(&self) -> Uuid {
        self.id.0
    }

    /// Drops documents that this connection's columns cannot hold, or that it cannot carry.
    pub(crate) fn fitted<C: Dialect>(mut self, conn: &mut C) -> Self {
        if conn.refuses_nul() {
            let fits = |document: &Document| !crate::json::holds_nul(&document.0);
            self.headers = self.headers.filter(fits);
            self.body = self.body.filter(fits);
        }
        if conn.limits_statements() {
            self.shorten(|| conn.longest_statement());
        }
        self
    }

    /// Drops the body, and then the headers, if they are too long for one statement.
    fn shorten(&mut self, longest: impl FnOnce() -> QueryResult<usize>) {
        let size = |document: &Option<Document>| document.as_ref().map_or(0, size);
        let (headers, body) = (size(&self.headers), size(&self.body));
        if headers + body <= SMALL {
            return;
        }
        // If this fails, the statement itself returns the error.
        let Ok(longest) = longest() else { return };
        let room = longest.saturating_sub(OTHER_PARTS);
        if headers + body > room {
            tracing::debug!(
                id = self.msg_id,
                body,
                longest,
                "stored without its body: a statement has no room for it"
            );
            self.body = None;
        }
        if headers > room {
            self.headers = None;
        }
    }
}

/// The size of a document that every server accepts, so the server is not asked.
const SMALL: usize = 16 * 1024;
/// An upper bound for the size of a statement without the documents.
const OTHER_PARTS: usize = 4 * 1024;

/// The size of a document in bytes on its way to the database.
fn size(document: &Document) -> usize {
    struct Count(usize);

    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let mut count = Count(0);
    // If it cannot be written, the statement fails.
    let _ = serde_json::to_writer(&mut count, &document.0);
    count.0
}
