//! Parses Diesel's attributes of a struct and its fields.
//!
//! Only what `Publish` needs is parsed. Everything else is skipped: Diesel's own derives on the
//! struct report errors in it.

use proc_macro2::{Span, TokenTree};
use syn::ext::IdentExt;
use syn::parse::discouraged::Speculative;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, Ident, LitStr, Meta, Path, Token, Type};

use crate::errors::Errors;

/// Diesel's attributes of a struct.
#[derive(Default)]
pub(crate) struct StructAttrs {
    /// `table_name = path`; Diesel allows several if the struct is only inserted.
    pub(crate) tables: Vec<Path>,
    /// `primary_key(a, b)`: column names.
    pub(crate) primary_key: Option<Vec<Ident>>,
    /// `check_for_backend(diesel::pg::Pg)`: the last segments of the paths.
    pub(crate) backends: Option<Vec<String>>,
}

impl StructAttrs {
    /// Parses Diesel's attributes of a struct.
    pub(crate) fn read(attributes: &[Attribute], errors: &mut Errors) -> Self {
        let mut read = Self::default();
        for attribute in attributes {
            let result = entries(attribute, |key, input| read.entry(key, input))
                .and_then(|()| read.deprecated(attribute));
            if let Err(error) = result {
                errors.push(error);
            }
        }
        read
    }

    fn entry(&mut self, key: &Ident, input: ParseStream<'_>) -> syn::Result<()> {
        if key == "table_name" {
            self.tables.push(equals(input)?);
        } else if key == "primary_key" {
            self.primary_key = Some(list(input)?);
        } else if key == "check_for_backend" {
            self.backends = backends(input)?;
        }
        Ok(())
    }

    /// `#[table_name = "..."]` and `#[primary_key(...)]`, the syntax of Diesel 1.
    fn deprecated(&mut self, attribute: &Attribute) -> syn::Result<()> {
        if let Some(table) = deprecated_text(attribute, "table_name")? {
            self.tables.push(table.parse()?);
        } else if attribute.path().is_ident("primary_key") {
            let names =
                attribute.parse_args_with(Punctuated::<Ident, Token![,]>::parse_terminated)?;
            self.primary_key = Some(names.into_iter().collect());
        }
        Ok(())
    }
}

/// Diesel's attributes of a field.
#[derive(Default)]
pub(crate) struct FieldAttrs {
    /// `column_name = x`
    pub(crate) column: Option<Ident>,
    /// `embed`
    pub(crate) embed: Option<Ident>,
    /// `skip_insertion`
    pub(crate) skip_insertion: bool,
    /// `skip_update`
    pub(crate) skip_update: bool,
    /// `select_expression = ...`: the field is computed, not stored.
    pub(crate) computed: bool,
    /// `serialize_as = Type`
    pub(crate) serialize_as: Option<Type>,
}

impl FieldAttrs {
    /// Parses Diesel's attributes of a field.
    pub(crate) fn read(attributes: &[Attribute], errors: &mut Errors) -> Self {
        let mut read = Self::default();
        for attribute in attributes {
            let result = entries(attribute, |key, input| read.entry(key, input))
                .and_then(|()| read.deprecated(attribute));
            if let Err(error) = result {
                errors.push(error);
            }
        }
        read
    }

    fn entry(&mut self, key: &Ident, input: ParseStream<'_>) -> syn::Result<()> {
        if key == "embed" {
            self.embed = Some(key.clone());
        } else if key == "skip_insertion" {
            self.skip_insertion = true;
        } else if key == "skip_update" {
            self.skip_update = true;
        } else if key == "select_expression" {
            self.computed = true;
        } else if key == "serialize_as" {
            self.serialize_as = Some(equals(input)?);
        } else if key == "column_name" {
            self.column = Some(equals::<ColumnName>(input)?.0);
        }
        Ok(())
    }

    /// `#[column_name = "..."]`, the syntax of Diesel 1.
    fn deprecated(&mut self, attribute: &Attribute) -> syn::Result<()> {
        if let Some(name) = deprecated_text(attribute, "column_name")? {
            self.column = Some(column(&name.value(), name.span())?);
        }
        Ok(())
    }
}

/// A column's name: an identifier, or a string with one.
struct ColumnName(Ident);

impl Parse for ColumnName {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        if input.peek(LitStr) {
            let text: LitStr = input.parse()?;
            return column(&text.value(), text.span()).map(Self);
        }
        input.parse().map(Self)
    }
}

/// The identifier that `table!` uses for a column; raw if the name is a keyword.
fn column(name: &str, span: Span) -> syn::Result<Ident> {
    let mut ident = syn::parse_str::<Ident>(name)
        .or_else(|_| syn::parse_str::<Ident>(&format!("r#{name}")))
        .map_err(|_| {
            syn::Error::new(span, format!("`{name}` is not the identifier of a column"))
        })?;
    ident.set_span(span);
    Ok(ident)
}

/// Diesel's default table name: `OrderItem` is in `order_items`.
pub(crate) fn default_table(model: &Ident) -> Path {
    let mut name = String::new();
    for letter in model.unraw().to_string().chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
    }
    name.push('s');
    Ident::new(&name, model.span()).into()
}

/// Calls `read` for each entry of `#[diesel(...)]` and skips what it leaves.
fn entries(
    attribute: &Attribute,
    mut read: impl FnMut(&Ident, ParseStream<'_>) -> syn::Result<()>,
) -> syn::Result<()> {
    if !attribute.path().is_ident("diesel") {
        return Ok(());
    }
    attribute.parse_args_with(|input: ParseStream<'_>| {
        while !input.is_empty() {
            let key = input.call(Ident::parse_any)?;
            read(&key, input)?;
            skip_value(input)?;
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(())
    })
}

/// Skips to the comma after a value, or to the end. A type may contain commas.
fn skip_value(input: ParseStream<'_>) -> syn::Result<()> {
    if input.peek(Token![=]) {
        input.parse::<Token![=]>()?;
        skip_as::<Type>(input);
        skip_as::<Expr>(input);
    }
    while !input.is_empty() && !input.peek(Token![,]) {
        input.parse::<TokenTree>()?;
    }
    Ok(())
}

/// Skips a `T` if it is the whole value.
fn skip_as<T: Parse>(input: ParseStream<'_>) {
    let ahead = input.fork();
    if ahead.parse::<T>().is_ok() && (ahead.is_empty() || ahead.peek(Token![,])) {
        input.advance_to(&ahead);
    }
}

/// Parses `= value`.
fn equals<T: Parse>(input: ParseStream<'_>) -> syn::Result<T> {
    input.parse::<Token![=]>()?;
    input.parse()
}

/// Parses `(a, b)`.
fn list<T: Parse>(input: ParseStream<'_>) -> syn::Result<Vec<T>> {
    let content;
    syn::parenthesized!(content in input);
    let items = Punctuated::<T, Token![,]>::parse_terminated_with(&content, T::parse)?;
    Ok(items.into_iter().collect())
}

/// The names in `(diesel::pg::Pg, diesel::sqlite::Sqlite)`; `None` for `(disable = true)`.
fn backends(input: ParseStream<'_>) -> syn::Result<Option<Vec<String>>> {
    let content;
    syn::parenthesized!(content in input);
    if content.peek(Ident) && content.peek2(Token![=]) {
        skip_value(&content)?;
        while !content.is_empty() {
            content.parse::<TokenTree>()?;
        }
        return Ok(None);
    }
    let paths = Punctuated::<Path, Token![,]>::parse_terminated(&content)?;
    let names = paths
        .iter()
        .filter_map(|path| path.segments.last())
        .map(|segment| segment.ident.to_string());
    Ok(Some(names.collect()))
}

/// The text of `#[name = "..."]`.
fn deprecated_text(attribute: &Attribute, name: &str) -> syn::Result<Option<LitStr>> {
    match &attribute.meta {
        Meta::NameValue(meta) if meta.path.is_ident(name) => {
            syn::parse2(quote::ToTokens::to_token_stream(&meta.value)).map(Some)
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::{FieldAttrs, StructAttrs, default_table};
    use crate::errors::Errors;
    use quote::{ToTokens, quote};
    use syn::parse_quote;

    fn read(attribute: syn::Attribute) -> StructAttrs {
        let mut errors = Errors::default();
        let read = StructAttrs::read(&[attribute], &mut errors);
        assert!(errors.finish(Some(())).is_ok());
        read
    }

    #[test]
    fn default_table_is_that_of_diesel() {
        for (model, table) in [
            ("Order", "orders"),
            ("OrderItem", "order_items"),
            ("HTTPCall", "h_t_t_p_calls"),
            ("With_Line", "with__lines"),
        ] {
            let model = proc_macro2::Ident::new(model, proc_macro2::Span::call_site());
            assert!(default_table(&model).is_ident(table), "{model}");
        }
    }

    #[test]
    fn other_keys_are_skipped() {
        let read = read(parse_quote!(#[diesel(
            base_query_type = dsl::OrderBy<a::table, a::id>,
            base_query = a::table.order_by(a::id),
            belongs_to(Customer, foreign_key = buyer),
            treat_none_as_null = true,
            aggregate,
            table_name = crate::schema::orders,
            primary_key(a, b),
            check_for_backend(diesel::pg::Pg, diesel::sqlite::Sqlite),
        )]));
        let tables: Vec<_> = read.tables.iter().map(|t| quote!(#t).to_string()).collect();
        assert_eq!(tables, [quote!(crate::schema::orders).to_string()]);
        assert_eq!(read.primary_key.map(|key| key.len()), Some(2));
        assert_eq!(
            read.backends,
            Some(vec!["Pg".to_owned(), "Sqlite".to_owned()])
        );
    }

    #[test]
    fn a_disabled_check_names_no_backend() {
        let read = read(parse_quote!(#[diesel(check_for_backend(disable = true), table_name = x)]));
        assert_eq!(read.backends, None);
        assert_eq!(read.tables.len(), 1);
    }

    #[test]
    fn the_syntax_of_diesel_1_is_read() {
        let table = read(parse_quote!(#[table_name = "shop::orders"]));
        let path = table
            .tables
            .first()
            .map(|t| t.to_token_stream().to_string());
        assert_eq!(path, Some(quote!(shop::orders).to_string()));
        let key = read(parse_quote!(#[primary_key(code)])).primary_key;
        assert!(key.is_some_and(|key| key.iter().any(|name| name == "code")));

        let mut errors = Errors::default();
        let attributes = [parse_quote!(#[column_name = "type"])];
        let field = FieldAttrs::read(&attributes, &mut errors);
        assert!(field.column.is_some_and(|column| column == "r#type"));
        assert!(errors.finish(Some(())).is_ok());
    }
}
