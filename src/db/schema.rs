//! The schema of a pool's outbox.

use std::sync::{Arc, OnceLock};

use crate::backend::{Backend, Found};
use crate::current_schema::{current, within};

/// The schema that a pool's statements mean: the one that the settings name, else the one that is
/// found at the first connection. It stays the same, whatever the search path becomes.
#[derive(Debug)]
pub(super) struct Schema {
    named: Option<Arc<str>>,
    found: OnceLock<Arc<str>>,
}

impl Schema {
    /// The settings come before what the process has named.
    pub(super) fn new(named: Option<&str>) -> Self {
        Self {
            named: named.map(Arc::from).or_else(current),
            found: OnceLock::new(),
        }
    }

    /// The name that was given.
    pub(super) fn given(&self) -> Option<Arc<str>> {
        self.named.clone()
    }

    /// Its name, if it is known.
    pub(super) fn name(&self) -> Option<Arc<str>> {
        self.named.clone().or_else(|| self.found.get().cloned())
    }

    /// Runs work on a connection, in which our statements mean this schema.
    pub(super) fn within<C: Backend, T>(&self, conn: &mut C, work: impl FnOnce(&mut C) -> T) -> T {
        let name = self.name().or_else(|| {
            // If it cannot be asked, the work's own statements will tell why.
            let found = conn.find_schema(None).ok()?;
            let name = Arc::from(found.schema?);
            // Without tables it may be another one after `outbox migrate`.
            found
                .has_outbox
                .then(|| Arc::clone(self.found.get_or_init(|| Arc::clone(&name))))
                .or(Some(name))
        });
        within(name, || work(conn))
    }
}

/// Where tables were looked for, and where else some are, as a part of a sentence.
pub(super) fn place(found: &Found) -> String {
    let mut place = match &found.schema {
        Some(schema) => format!(" in the schema `{schema}`"),
        None => return String::new(),
    };
    if let Some(other) = found.others.first() {
        place.push_str(&format!(
            " (the schema `{other}` of the search path has an outbox; if it is this service's, set \
             database_schema = \"{other}\")"
        ));
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_names_the_schema_and_the_other_outbox() {
        assert_eq!(place(&Found::default()), "");
        let found = Found {
            schema: Some("tenant".to_owned()),
            others: vec!["public".to_owned()],
            ..Found::default()
        };
        assert_eq!(
            place(&found),
            " in the schema `tenant` (the schema `public` of the search path has an outbox; if it is \
             this service's, set database_schema = \"public\")"
        );
    }
}
