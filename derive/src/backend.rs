//! The databases for which `Save` can be derived.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::Ident;

/// A database, with Diesel's names for it.
pub(crate) struct Backend {
    /// Whether the database's feature is enabled.
    enabled: bool,
    /// The connection's type in Diesel's root module.
    connection: &'static str,
    /// The module of the backend's type.
    module: &'static str,
    /// Whether its statements can return the written rows (RETURNING).
    pub(crate) returning: bool,
    /// The backend's type, as named in `#[diesel(check_for_backend(...))]`.
    name: &'static str,
}

/// All databases; this crate's features enable them.
const ALL: &[Backend] = &[
    Backend {
        enabled: cfg!(feature = "postgres"),
        connection: "PgConnection",
        module: "pg",
        returning: true,
        name: "Pg",
    },
    Backend {
        enabled: cfg!(feature = "mysql"),
        connection: "MysqlConnection",
        module: "mysql",
        returning: false,
        name: "Mysql",
    },
    Backend {
        enabled: cfg!(feature = "sqlite"),
        connection: "SqliteConnection",
        module: "sqlite",
        returning: true,
        name: "Sqlite",
    },
];

impl Backend {
    /// The enabled databases; with `named`, only those.
    pub(crate) fn chosen(named: Option<&[String]>) -> Vec<&'static Self> {
        ALL.iter()
            .filter(|backend| backend.enabled)
            .filter(|backend| {
                named.is_none_or(|named| named.iter().any(|name| name == backend.name))
            })
            .collect()
    }

    /// The path of the connection's type under Diesel's path.
    pub(crate) fn connection(&self, diesel: &impl ToTokens) -> TokenStream {
        let connection = Ident::new(self.connection, Span::call_site());
        quote!(#diesel::#connection)
    }

    /// The path of the backend's type under Diesel's path.
    pub(crate) fn path(&self, diesel: &impl ToTokens) -> TokenStream {
        let module = Ident::new(self.module, Span::call_site());
        let name = Ident::new(self.name, Span::call_site());
        quote!(#diesel::#module::#name)
    }
}
