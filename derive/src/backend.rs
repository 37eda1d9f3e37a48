//! The databases that `Save` can be derived for.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::Ident;

/// One database of Diesel, by the names that Diesel has for it.
pub(crate) struct Backend {
    /// Whether the feature of this crate is on.
    enabled: bool,
    /// The connection at Diesel's root.
    connection: &'static str,
    /// The module of the backend's type.
    module: &'static str,
    /// Whether its statements can return the rows that they write.
    pub(crate) returning: bool,
    /// The backend's type, as `#[diesel(check_for_backend(...))]` names it.
    name: &'static str,
}

/// Every database; the features of this crate choose among them.
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
    /// The enabled databases, or those among them that the struct is checked for.
    pub(crate) fn chosen(named: Option<&[String]>) -> Vec<&'static Self> {
        ALL.iter()
            .filter(|backend| backend.enabled)
            .filter(|backend| {
                named.is_none_or(|named| named.iter().any(|name| name == backend.name))
            })
            .collect()
    }

    /// The connection's type, below Diesel's path.
    pub(crate) fn connection(&self, diesel: &impl ToTokens) -> TokenStream {
        let connection = Ident::new(self.connection, Span::call_site());
        quote!(#diesel::#connection)
    }

    /// The backend's type, below Diesel's path.
    pub(crate) fn path(&self, diesel: &impl ToTokens) -> TokenStream {
        let module = Ident::new(self.module, Span::call_site());
        let name = Ident::new(self.name, Span::call_site());
        quote!(#diesel::#module::#name)
    }
}
