//! Parses `#[publish(...)]`.

use proc_macro2::{TokenStream, TokenTree};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Attribute, ExprPath, Ident, LitBool, LitStr, Meta, Path, Token, Type};

use crate::errors::{Errors, suggestion};

/// The keys of the attribute, each with an example of its form.
const KEYS: &[(&str, &str)] = &[
    ("destination", "destination = \"/topic/orders\""),
    ("fields", "fields(customer, total)"),
    ("serializer", "serializer = Order::body"),
    ("version", "version = \"v1\""),
    ("key", "key = customer"),
    ("headers", "headers = Order::headers"),
    ("stream", "stream = \"billing\""),
    ("expires_in", "expires_in = \"15m\""),
    ("on", "on = insert | update"),
    ("operation_header", "operation_header = \"operation\""),
    ("model", "model = Order"),
    ("save", "save = false"),
    ("crate", "crate = some::path::diesel_outbox"),
];

/// A value and its key.
pub(crate) struct Keyed<T> {
    /// The key, with its position.
    pub(crate) key: Ident,
    /// The value.
    pub(crate) value: T,
}

/// One `#[publish(...)]`.
pub(crate) struct PublishAttr {
    /// The attribute itself, for errors about the whole of it.
    pub(crate) attribute: Attribute,
    /// Whether a part could not be parsed, which may be why something is missing.
    pub(crate) broken: bool,
    /// `destination = "..."`
    pub(crate) destination: Option<Keyed<LitStr>>,
    /// `fields(...)`
    pub(crate) fields: Option<Keyed<Vec<Ident>>>,
    /// `serializer = path`
    pub(crate) serializer: Option<Keyed<ExprPath>>,
    /// `version = "..."`
    pub(crate) version: Option<Keyed<LitStr>>,
    /// `key = path`
    pub(crate) key: Option<Keyed<ExprPath>>,
    /// `headers = path`
    pub(crate) headers: Option<Keyed<ExprPath>>,
    /// `stream = "..."`
    pub(crate) stream: Option<Keyed<LitStr>>,
    /// `expires_in = "..."`
    pub(crate) expires_in: Option<Keyed<LitStr>>,
    /// `on = insert | update | delete`
    pub(crate) on: Option<Keyed<Vec<Ident>>>,
    /// `operation_header = "..."`
    pub(crate) operation_header: Option<Keyed<LitStr>>,
    /// `model = Type`
    pub(crate) model: Option<Keyed<Type>>,
    /// `save = false`
    pub(crate) save: Option<Keyed<LitBool>>,
    /// `crate = path`
    pub(crate) outbox: Option<Keyed<Path>>,
}

impl PublishAttr {
    /// Parses every `#[publish(...)]`; reports what cannot be parsed and skips it.
    pub(crate) fn read_all(attributes: &[Attribute], errors: &mut Errors) -> Vec<Self> {
        attributes
            .iter()
            .filter(|attribute| attribute.path().is_ident("publish"))
            .filter_map(|attribute| Self::read(attribute, errors))
            .collect()
    }

    fn read(attribute: &Attribute, errors: &mut Errors) -> Option<Self> {
        let Meta::List(list) = &attribute.meta else {
            errors.on(
                attribute,
                "`publish` takes its keys in parentheses: `#[publish(destination = \"/topic/orders\")]`",
            );
            return None;
        };
        let mut read = Self {
            attribute: attribute.clone(),
            broken: false,
            destination: None,
            fields: None,
            serializer: None,
            version: None,
            key: None,
            headers: None,
            stream: None,
            expires_in: None,
            on: None,
            operation_header: None,
            model: None,
            save: None,
            outbox: None,
        };
        let parsed = list.parse_args_with(|input: ParseStream<'_>| {
            read.broken = entries(input, errors, |input| read.entry(input));
            Ok(())
        });
        if let Err(error) = parsed {
            errors.push(error);
        }
        Some(read)
    }

    /// Whether the attribute describes a message or is empty, rather than having only `save`,
    /// `crate` or `model`.
    pub(crate) fn describes_message(&self) -> bool {
        self.message_keys().next().is_some()
            || (self.model.is_none() && self.save.is_none() && self.outbox.is_none())
    }

    /// The given keys that only a model may have.
    pub(crate) fn keys_of_a_model(&self) -> impl Iterator<Item = &Ident> {
        self.message_keys().chain(key(&self.save))
    }

    fn message_keys(&self) -> impl Iterator<Item = &Ident> {
        key(&self.destination)
            .chain(key(&self.fields))
            .chain(key(&self.serializer))
            .chain(key(&self.version))
            .chain(key(&self.key))
            .chain(key(&self.headers))
            .chain(key(&self.stream))
            .chain(key(&self.expires_in))
            .chain(key(&self.on))
            .chain(key(&self.operation_header))
    }

    fn entry(&mut self, input: ParseStream<'_>) -> syn::Result<()> {
        let key = input.call(Ident::parse_any)?;
        let name = key.to_string();
        let Some((_, form)) = KEYS.iter().find(|(known, _)| *known == name) else {
            let known = KEYS.iter().map(|(known, _)| *known);
            return Err(syn::Error::new(
                key.span(),
                format!(
                    "unknown key `{name}`; {}",
                    suggestion(&name, "the keys are", known)
                ),
            ));
        };
        self.value(key, &name, input).map_err(|error| match error {
            Refused::Twice(error) => error,
            Refused::Value(error) => {
                syn::Error::new(error.span(), format!("{error}; write `{form}`"))
            }
        })
    }

    fn value(&mut self, key: Ident, name: &str, input: ParseStream<'_>) -> Result<(), Refused> {
        match name {
            "fields" => {
                let value = names(input)?;
                put(&mut self.fields, key, value)
            }
            "destination" => put(&mut self.destination, key, equals(input)?),
            "version" => put(&mut self.version, key, equals(input)?),
            "serializer" => put(&mut self.serializer, key, equals(input)?),
            "key" => put(&mut self.key, key, equals(input)?),
            "headers" => put(&mut self.headers, key, equals(input)?),
            "stream" => put(&mut self.stream, key, equals(input)?),
            "expires_in" => put(&mut self.expires_in, key, equals(input)?),
            "operation_header" => put(&mut self.operation_header, key, equals(input)?),
            "on" => {
                let value = alternatives(input)?;
                put(&mut self.on, key, value)
            }
            "model" => put(&mut self.model, key, equals(input)?),
            "save" => put(&mut self.save, key, equals(input)?),
            _ => put(&mut self.outbox, key, equals(input)?),
        }
    }
}

/// Parses entries up to the end: `key`, `key = value` and `key(values)`. After an error continues at the next
/// comma, and returns true at the end.
pub(crate) fn entries(
    input: ParseStream<'_>,
    errors: &mut Errors,
    mut entry: impl FnMut(ParseStream<'_>) -> syn::Result<()>,
) -> bool {
    let mut broken = false;
    while !input.is_empty() {
        if let Err(error) = entry(input) {
            broken = true;
            errors.push(error);
        } else if !input.is_empty() && !input.peek(Token![,]) {
            broken = true;
            errors.push(input.error("expected `,` and the next key"));
        }
        while !input.is_empty() && !input.peek(Token![,]) {
            if let Err(error) = input.parse::<TokenTree>() {
                errors.push(error);
                return true;
            }
        }
        if !input.is_empty()
            && let Err(error) = input.parse::<Token![,]>()
        {
            errors.push(error);
            return true;
        }
    }
    broken
}

/// The key of an entry, if it is given.
fn key<T>(entry: &Option<Keyed<T>>) -> impl Iterator<Item = &Ident> {
    entry.iter().map(|entry| &entry.key)
}

/// Why an entry was refused.
enum Refused {
    /// The key was given before.
    Twice(syn::Error),
    /// The value does not have the key's form.
    Value(syn::Error),
}

impl From<syn::Error> for Refused {
    fn from(error: syn::Error) -> Self {
        Self::Value(error)
    }
}

/// Parses `= value`.
pub(crate) fn equals<T: syn::parse::Parse>(input: ParseStream<'_>) -> syn::Result<T> {
    input.parse::<Token![=]>()?;
    input.parse()
}

/// Parses `(a, b)`.
fn names(input: ParseStream<'_>) -> syn::Result<Vec<Ident>> {
    let content;
    syn::parenthesized!(content in input);
    // The whole group is taken, because syn would report what an error leaves behind as a second
    // error.
    let content: TokenStream = content.parse()?;
    let names = Punctuated::<Ident, Token![,]>::parse_terminated.parse2(content)?;
    Ok(names.into_iter().collect())
}

/// Parses `= a | b`.
fn alternatives(input: ParseStream<'_>) -> syn::Result<Vec<Ident>> {
    input.parse::<Token![=]>()?;
    let names = Punctuated::<Ident, Token![|]>::parse_separated_nonempty(input)?;
    Ok(names.into_iter().collect())
}

fn put<T>(slot: &mut Option<Keyed<T>>, key: Ident, value: T) -> Result<(), Refused> {
    if slot.is_some() {
        return Err(Refused::Twice(syn::Error::new(
            key.span(),
            format!(
                "`{key}` is given twice in one attribute; for another message write another `#[publish(...)]`"
            ),
        )));
    }
    *slot = Some(Keyed { key, value });
    Ok(())
}
