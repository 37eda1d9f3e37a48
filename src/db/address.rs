//! Which database a URL speaks of.

use crate::config::Secret;

/// The address of a database of a kind that this build knows.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Address {
    /// `postgres://…` or `postgresql://…`.
    Postgres(Secret),
    /// `mysql://…` or `mariadb://…`.
    Mysql(Secret),
    /// `sqlite:PATH`, `sqlite://PATH`, `file:PATH` or a plain path.
    Sqlite(Secret),
}

/// Why an address serves no database of this build.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Nobody knows this scheme.
    #[error(
        "database_url has the unknown scheme `{0}`: use postgres://user:password@host:port/database, mysql://user:password@host:port/database or sqlite:PATH"
    )]
    UnknownScheme(String),
    /// This build lacks the database's feature.
    #[error(
        "database_url names {database}, and this program was built without the feature `{feature}`: build it with --features {feature}"
    )]
    NotBuilt {
        /// The database's name.
        database: &'static str,
        /// The feature of this crate.
        feature: &'static str,
    },
    /// The program's callbacks work on another kind of database.
    #[error("database_url names {found}, and this program works on {expected}")]
    Other {
        /// What the address names.
        found: &'static str,
        /// What the program is made for.
        expected: &'static str,
    },
    /// An SQLite database that each connection would have for itself.
    #[error(
        "database_url names an SQLite database in memory, which only one connection can see: name a file"
    )]
    InMemory,
}

impl Address {
    /// Reads the scheme of a database's URL.
    ///
    /// # Errors
    ///
    /// When the scheme is unknown, or this build lacks its feature.
    pub fn parse(url: &Secret) -> Result<Self, AddressError> {
        let text = url.expose().trim();
        let Some((scheme, rest)) = text.split_once(':') else {
            return Self::sqlite(text);
        };
        match scheme.to_ascii_lowercase().as_str() {
            "postgres" | "postgresql" if cfg!(feature = "postgres") => {
                Ok(Self::Postgres(Secret::new(text)))
            }
            "postgres" | "postgresql" => Err(AddressError::NotBuilt {
                database: "PostgreSQL",
                feature: "postgres",
            }),
            // Diesel knows the first of the two schemes only.
            "mysql" | "mariadb" if cfg!(feature = "mysql") => {
                Ok(Self::Mysql(Secret::new(format!("mysql:{rest}"))))
            }
            "mysql" | "mariadb" => Err(AddressError::NotBuilt {
                database: "MySQL/MariaDB",
                feature: "mysql",
            }),
            "sqlite" => Self::sqlite(rest.strip_prefix("//").unwrap_or(rest)),
            "file" | "" => Self::sqlite(text),
            // A path, such as `./a:b`, and not a scheme.
            other if other.contains(['/', '.', '\\']) => Self::sqlite(text),
            other => Err(AddressError::UnknownScheme(other.to_owned())),
        }
    }

    fn sqlite(path: &str) -> Result<Self, AddressError> {
        if !cfg!(feature = "sqlite") {
            return Err(AddressError::NotBuilt {
                database: "SQLite",
                feature: "sqlite",
            });
        }
        if path.is_empty() || path == ":memory:" || path.contains("mode=memory") {
            return Err(AddressError::InMemory);
        }
        Ok(Self::Sqlite(Secret::new(path)))
    }

    /// The database's name.
    #[must_use]
    pub fn database(&self) -> &'static str {
        match self {
            Self::Postgres(_) => "PostgreSQL",
            Self::Mysql(_) => "MySQL/MariaDB",
            Self::Sqlite(_) => "SQLite",
        }
    }

    /// What Diesel's `establish` takes: a URL, or the path of SQLite.
    #[must_use]
    pub fn connection_string(&self) -> &Secret {
        match self {
            Self::Postgres(url) | Self::Mysql(url) | Self::Sqlite(url) => url,
        }
    }

    /// Whether it is of the kind that `C` connects to.
    pub(crate) fn for_backend<C: crate::backend::Backend>(self) -> Result<Self, AddressError> {
        if self.database() == C::NAME {
            return Ok(self);
        }
        Err(AddressError::Other {
            found: self.database(),
            expected: C::NAME,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scheme_finds_its_database() {
        let parse = |url: &str| Address::parse(&Secret::new(url)).map(|a| a.database());
        #[cfg(feature = "sqlite")]
        for path in [
            "a.db",
            "sqlite:a.db",
            "sqlite:///tmp/a.db",
            "file:a.db?mode=ro",
            "./a:b",
        ] {
            assert_eq!(parse(path), Ok("SQLite"), "{path}");
        }
        #[cfg(feature = "sqlite")]
        for memory in [
            ":memory:",
            "sqlite:",
            "sqlite::memory:",
            "file::memory:?mode=memory",
        ] {
            assert_eq!(parse(memory), Err(AddressError::InMemory), "{memory}");
        }
        #[cfg(feature = "postgres")]
        assert_eq!(parse("postgresql://h/d"), Ok("PostgreSQL"));
        assert_eq!(
            parse("oracle://h/d"),
            Err(AddressError::UnknownScheme("oracle".to_owned()))
        );
        #[cfg(feature = "mysql")]
        assert_eq!(parse("mariadb://h/d"), Ok("MySQL/MariaDB"));
        #[cfg(not(feature = "mysql"))]
        assert!(matches!(
            parse("mysql://h/d"),
            Err(AddressError::NotBuilt {
                feature: "mysql",
                ..
            })
        ));
    }
}
