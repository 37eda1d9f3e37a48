//! The schema of a pool's outbox, and the keys that sign what is written to it.

use std::sync::{Arc, OnceLock};

use crate::backend::{Backend, Found};
use crate::current_schema::{current, within};
use crate::signing::{self, Keys};

/// The schema that a pool's statements mean: the one in the settings, otherwise the one that is
/// found at the first connection. It does not change with the search path.
#[derive(Debug)]
pub(super) struct Schema {
    named: Option<Arc<str>>,
    found: OnceLock<Arc<str>>,
    /// The keys from the settings; `None`: those of the process.
    keys: Option<Keys>,
}

impl Schema {
    /// The settings take precedence over the process's schema.
    pub(super) fn new(named: Option<&str>, keys: Option<Keys>) -> Self {
        Self {
            named: named.map(Arc::from).or_else(current),
            found: OnceLock::new(),
            keys,
        }
    }

    /// The name from the settings or the process.
    pub(super) fn given(&self) -> Option<Arc<str>> {
        self.named.clone()
    }

    /// The schema's name, if it is known.
    pub(super) fn name(&self) -> Option<Arc<str>> {
        self.named.clone().or_else(|| self.found.get().cloned())
    }

    /// Runs work on a connection with statements that mean this schema, and rows that these keys sign.
    pub(super) fn within<C: Backend, T>(&self, conn: &mut C, work: impl FnOnce(&mut C) -> T) -> T {
        let name = self.name().or_else(|| {
            // If the server cannot be asked, the work's own statements return the error.
            let found = conn.find_schema(None).ok()?;
            let name = Arc::from(found.schema?);
            // Without tables the schema may be another one after `outbox migrate`.
            found
                .has_outbox
                .then(|| Arc::clone(self.found.get_or_init(|| Arc::clone(&name))))
                .or(Some(name))
        });
        self.within_name(name, || work(conn))
    }

    /// Runs work that uses no connection of ours with statements that mean this schema, if it is known.
    pub(super) fn within_known<T>(&self, work: impl FnOnce() -> T) -> T {
        self.within_name(self.name(), work)
    }

    fn within_name<T>(&self, name: Option<Arc<str>>, work: impl FnOnce() -> T) -> T {
        within(name, || signing::within(self.keys.as_ref(), work))
    }
}

/// The schema in which tables were searched for, and other schemas that have tables, as a part of a sentence.
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
