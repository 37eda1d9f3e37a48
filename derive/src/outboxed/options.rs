//! Parses the arguments of `#[outboxed(...)]`.

use std::time::Duration;

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Expr, ExprLit, Ident, Lit, LitStr, Path, Token};

use super::retry::{self, Retry};
use crate::attr::{entries, equals};
use crate::errors::{Errors, suggestion};
use crate::literal::{check_text, duration};

/// The keys, each with an example of its form.
const KEYS: &[(&str, &str)] = &[
    ("name", "name = \"shop.charge\""),
    ("alias", "alias = \"shop.bill\""),
    ("stream", "stream = \"billing\""),
    ("ordered", "ordered"),
    ("key", "key = order"),
    ("retry", "retry(attempts = 5, first_delay = \"1s\")"),
    ("timeout", "timeout = \"30s\""),
    ("encoding", "encoding = \"msgpack\""),
    ("crate", "crate = some::path::diesel_outbox"),
];

/// The maximum length of the column `name`, in characters.
const NAME: usize = 255;
/// The maximum length of the column `stream`, in characters.
const STREAM: usize = 100;

/// The arguments of the attribute.
#[derive(Default)]
pub(super) struct Options {
    /// The name in the table, if it is not the function's.
    pub(super) name: Option<LitStr>,
    pub(super) aliases: Vec<LitStr>,
    pub(super) stream: Option<LitStr>,
    pub(super) ordered: bool,
    /// The ordering key, an expression over the parameters.
    pub(super) key: Option<Expr>,
    pub(super) retry: Option<Retry>,
    pub(super) timeout: Option<Duration>,
    pub(super) encoding: Option<Encoding>,
    /// The path of the library.
    pub(super) outbox: Option<Path>,
}

/// An encoding other than JSON.
pub(super) enum Encoding {
    MessagePack,
    /// A codec of the user's.
    Codec(Path),
}

impl Options {
    pub(super) fn read(arguments: TokenStream, function: &Ident, errors: &mut Errors) -> Self {
        let mut options = Self::default();
        let mut given: Vec<String> = Vec::new();
        // Errors of single values, which do not end an entry.
        let mut of_values = Errors::default();
        let parsed = |input: ParseStream<'_>| {
            entries(input, errors, |input| {
                options.entry(input, &mut given, &mut of_values)
            });
            Ok(())
        };
        if let Err(error) = parsed.parse2(arguments) {
            errors.push(error);
        }
        if let Err(error) = of_values.finish(Some(())) {
            errors.push(error);
        }
        options.check_names(function, errors);
        options
    }

    fn entry(
        &mut self,
        input: ParseStream<'_>,
        given: &mut Vec<String>,
        errors: &mut Errors,
    ) -> syn::Result<()> {
        let key = input.call(Ident::parse_any)?;
        let name = key.to_string();
        let Some((_, form)) = KEYS.iter().find(|(known, _)| *known == name) else {
            let known = KEYS.iter().map(|(known, _)| *known);
            let known = suggestion(&name, "the keys are", known);
            let of_retry = retry::OPTIONS.iter().find(|(option, _)| *option == name);
            let error = match of_retry {
                Some((_, form)) => {
                    format!("`{name}` is an option of `retry`; write `retry({form})`")
                }
                None => format!("unknown key `{name}`; {known}"),
            };
            return Err(syn::Error::new(key.span(), error));
        };
        if name != "alias" && given.contains(&name) {
            let error = format!("`{name}` is given twice");
            return Err(syn::Error::new(key.span(), error));
        }
        given.push(name);
        self.value(&key, input, errors)
            .map_err(|error| syn::Error::new(error.span(), format!("{error}; write `{form}`")))
    }

    fn value(
        &mut self,
        key: &Ident,
        input: ParseStream<'_>,
        errors: &mut Errors,
    ) -> syn::Result<()> {
        match key.to_string().as_str() {
            "name" => self.name = Some(text(input, "name", NAME, errors)?),
            "alias" => self.aliases.push(text(input, "alias", NAME, errors)?),
            "stream" => self.stream = Some(text(input, "stream", STREAM, errors)?),
            "ordered" => {
                if input.peek(Token![=]) {
                    return Err(input.error("`ordered` has no value"));
                }
                self.ordered = true;
            }
            "key" => {
                let value: Expr = equals(input)?;
                if let Expr::Lit(ExprLit { lit, .. }) = &value {
                    errors.on(
                        lit,
                        "this key is the same for all calls: name a parameter, as in `key = order`; \
                         `ordered` gives all calls of the stream one key",
                    );
                }
                self.key = Some(value);
            }
            "retry" => {
                let content;
                syn::parenthesized!(content in input);
                // The whole group is taken, because syn would report what an error leaves behind as a second
                // error.
                let content: TokenStream = content.parse()?;
                self.retry = Some(Retry::read(content, key.span(), errors));
            }
            "timeout" => {
                let value: LitStr = equals(input)?;
                self.timeout = duration(
                    &value,
                    "no execution ends within a time limit of zero",
                    errors,
                );
            }
            "encoding" => self.encoding = encoding(&equals(input)?, errors),
            _ => self.outbox = Some(equals(input)?),
        }
        Ok(())
    }

    /// A name is written once, whether it is the current one or a former one.
    fn check_names(&self, function: &Ident, errors: &mut Errors) {
        let name = match &self.name {
            Some(name) => name.value(),
            None => function.unraw().to_string(),
        };
        let mut names = vec![name];
        for alias in &self.aliases {
            let value = alias.value();
            if names.contains(&value) {
                errors.on(
                    alias,
                    format!("`{value}` is a name of this function already"),
                );
            }
            names.push(value);
        }
    }
}

fn text(
    input: ParseStream<'_>,
    what: &str,
    limit: usize,
    errors: &mut Errors,
) -> syn::Result<LitStr> {
    let value: LitStr = equals(input)?;
    check_text(&value, what, limit, errors);
    Ok(value)
}

/// Reads an encoding; none means JSON.
fn encoding(value: &Expr, errors: &mut Errors) -> Option<Encoding> {
    let known =
        "the encodings are \"json\", \"msgpack\", and the path of a type that implements `Codec`";
    match value {
        Expr::Lit(ExprLit {
            lit: Lit::Str(name),
            ..
        }) => match name.value().as_str() {
            "json" => None,
            "msgpack" => Some(Encoding::MessagePack),
            other => {
                errors.on(name, format!("unknown encoding `{other}`; {known}"));
                None
            }
        },
        Expr::Path(path) => Some(Encoding::Codec(path.path.clone())),
        other => {
            errors.on(other.to_token_stream(), known);
            None
        }
    }
}
