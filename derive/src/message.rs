//! Parses the messages of a model.

use std::time::Duration;

use syn::ext::IdentExt;
use syn::{ExprPath, Ident, LitStr};

use crate::attr::{Keyed, PublishAttr};
use crate::errors::{Errors, suggestion};
use crate::literal::{check_text, duration, refuse_nul};
use crate::row::{Field, Row};

/// The maximum length of the column `destination`, in characters.
const DESTINATION: usize = 255;
/// The maximum length of the column `version`, in characters.
const VERSION: usize = 100;

/// The maximum length of the column `stream`, in characters.
const STREAM: usize = 100;
/// The maximum length of a header's name, in characters.
const HEADER: usize = 255;

/// One message of a model.
pub(crate) struct Message {
    /// The destination, without the version.
    pub(crate) destination: LitStr,
    /// The version.
    pub(crate) version: Option<LitStr>,
    /// The body.
    pub(crate) body: Body,
    /// The ordering key.
    pub(crate) key: Option<OrderingKey>,
    /// A function of the model that returns headers.
    pub(crate) headers: Option<ExprPath>,
    /// The stream of the outbox.
    pub(crate) stream: Option<LitStr>,
    /// How long after it is written it may be sent.
    pub(crate) expires_in: Option<Duration>,
    /// The operations that write it; empty means any, known or unknown.
    pub(crate) on: Vec<Ident>,
    /// The header that contains the operation.
    pub(crate) operation_header: Option<LitStr>,
}

/// The body of a message.
pub(crate) enum Body {
    /// `id` and these fields.
    Fields(Vec<Field>),
    /// The result of this function.
    Serializer(ExprPath),
}

/// The source of the ordering key.
pub(crate) enum OrderingKey {
    /// A field.
    Field(Ident),
    /// A function of the model.
    Function(ExprPath),
}

impl Message {
    /// Reads one attribute of the struct `model`.
    pub(crate) fn read(
        attribute: &PublishAttr,
        model: &Ident,
        rows: &[Row],
        primary_key: &[Field],
        errors: &mut Errors,
    ) -> Option<Self> {
        if let (Some(_), Some(serializer)) = (&attribute.fields, &attribute.serializer) {
            errors.at(
                serializer.key.span(),
                "`fields` and `serializer` cannot be combined: a serializer returns the whole body",
            );
        }
        let body = match &attribute.serializer {
            Some(serializer) => Body::Serializer(serializer.value.clone()),
            None => body(attribute, model, rows, primary_key, errors),
        };
        let key = attribute.key.as_ref();
        let key = key.and_then(|key| OrderingKey::read(key, model, rows, errors));
        let version = attribute.version.as_ref().map(|version| &version.value);
        if let Some(version) = version {
            check_version(version, errors);
        }
        let stream = attribute.stream.as_ref().map(|stream| &stream.value);
        if let Some(stream) = stream {
            check_text(stream, "stream", STREAM, errors);
        }
        let operation_header = attribute.operation_header.as_ref();
        let operation_header = operation_header.map(|header| &header.value);
        if let Some(header) = operation_header {
            check_text(header, "header", HEADER, errors);
        }
        let expires_in = attribute.expires_in.as_ref();
        let expires_in = expires_in.and_then(|time| {
            let none = "a message that expires at once is never sent";
            duration(&time.value, none, errors)
        });
        let on = attribute.on.as_ref();
        let on = on.map_or_else(Vec::new, |on| operations(&on.value, errors));
        let Some(destination) = &attribute.destination else {
            Self::refuse_without_destination(attribute, errors);
            return None;
        };
        check_destination(&destination.value, version, errors);
        Some(Self {
            destination: destination.value.clone(),
            version: version.cloned(),
            body,
            key,
            headers: attribute
                .headers
                .as_ref()
                .map(|headers| headers.value.clone()),
            stream: stream.cloned(),
            expires_in,
            on,
            operation_header: operation_header.cloned(),
        })
    }

    /// Reports that `attribute` has no destination, unless an error in it was reported already.
    pub(crate) fn refuse_without_destination(attribute: &PublishAttr, errors: &mut Errors) {
        if !attribute.broken {
            errors.on(
                &attribute.attribute,
                "no destination: add `destination = \"/topic/...\"`",
            );
        }
    }
}

/// The fields of the body beside the primary key.
fn body(
    attribute: &PublishAttr,
    model: &Ident,
    rows: &[Row],
    primary_key: &[Field],
    errors: &mut Errors,
) -> Body {
    let in_key = |field: &Field| primary_key.iter().any(|key| key.ident == field.ident);
    let mut chosen: Vec<Field> = Vec::new();
    match &attribute.fields {
        None => chosen.extend(
            rows.iter()
                .map(|row| row.field.clone())
                .filter(|f| !in_key(f)),
        ),
        Some(named) => {
            if named.value.is_empty() {
                errors.at(
                    named.key.span(),
                    "`fields()` names no field: leave it out to publish all fields",
                );
            }
            for name in &named.value {
                if let Some(field) = find(name, model, rows, errors) {
                    if chosen.iter().any(|other| other.ident == field.ident) {
                        errors.at(name.span(), format!("`{name}` is named twice in `fields`"));
                    }
                    chosen.push(field.clone());
                }
            }
        }
    }
    if primary_key.is_empty() {
        return Body::Fields(chosen);
    }
    // The name `id` is for the primary key. A single key field named `id` is not written twice.
    let alone = primary_key.len() == 1;
    chosen.retain(|field| {
        let is_id = field.name() == "id";
        if is_id && !(alone && in_key(field)) {
            errors.at(
                field.ident.span(),
                "this field would replace the primary key, which is `id` in the body: list the \
                 other fields in `fields(...)`, or return the body from `serializer = path`",
            );
        }
        !is_id
    });
    Body::Fields(chosen)
}

impl OrderingKey {
    fn read(
        key: &Keyed<ExprPath>,
        model: &Ident,
        rows: &[Row],
        errors: &mut Errors,
    ) -> Option<Self> {
        let Some(name) = key
            .value
            .path
            .get_ident()
            .filter(|_| key.value.qself.is_none())
        else {
            return Some(Self::Function(key.value.clone()));
        };
        match rows
            .iter()
            .find(|row| row.field.ident.unraw() == name.unraw())
        {
            Some(row) => Some(Self::Field(row.field.ident.clone())),
            None => {
                let fields = suggest(name, rows);
                errors.at(
                    name.span(),
                    format!(
                        "`{model}` has no field `{name}`; {fields}; a function needs a path with \
                         `::`, such as `self::{name}`"
                    ),
                );
                None
            }
        }
    }
}

fn find<'a>(
    name: &Ident,
    model: &Ident,
    rows: &'a [Row],
    errors: &mut Errors,
) -> Option<&'a Field> {
    let found = rows
        .iter()
        .map(|row| &row.field)
        .find(|field| field.ident.unraw() == name.unraw());
    if found.is_none() {
        let fields = suggest(name, rows);
        errors.at(
            name.span(),
            format!("`{model}` has no field `{name}`; {fields}"),
        );
    }
    found
}

fn suggest(name: &Ident, rows: &[Row]) -> String {
    let names: Vec<String> = rows.iter().map(|row| row.field.name()).collect();
    suggestion(
        &name.unraw().to_string(),
        "the fields are",
        names.iter().map(String::as_str),
    )
}

/// The variants of `Operation` for these words.
fn operations(words: &[Ident], errors: &mut Errors) -> Vec<Ident> {
    let mut operations: Vec<Ident> = Vec::new();
    for word in words {
        let variant = match word.to_string().as_str() {
            "insert" => "Insert",
            "update" => "Update",
            "delete" => "Delete",
            other => {
                errors.at(
                    word.span(),
                    format!("`{other}` is not an operation; the operations are: `insert`, `update`, `delete`"),
                );
                continue;
            }
        };
        if operations.iter().any(|known| known == variant) {
            errors.at(word.span(), format!("`{word}` is named twice in `on`"));
        }
        operations.push(Ident::new(variant, word.span()));
    }
    operations
}

fn check_version(version: &LitStr, errors: &mut Errors) {
    let text = version.value();
    let length = text.chars().count();
    if text.is_empty() {
        errors.at(
            version.span(),
            "the version is empty: leave it out, or name one, such as `v1`",
        );
    } else if length > VERSION {
        errors.at(
            version.span(),
            format!("the version has {length} characters; its column holds {VERSION}"),
        );
    }
    refuse_nul(version, "version", errors);
}

fn check_destination(destination: &LitStr, version: Option<&LitStr>, errors: &mut Errors) {
    let text = destination.value();
    let length = text.chars().count();
    // `.v1` is appended, with its dot.
    let appended = version.map_or(0, |version| 1 + version.value().chars().count());
    if text.is_empty() {
        errors.at(
            destination.span(),
            "the destination is empty: name one, such as `/topic/orders`",
        );
    } else if length > DESTINATION {
        errors.at(
            destination.span(),
            format!("the destination has {length} characters; its column holds {DESTINATION}"),
        );
    } else if length + appended > DESTINATION {
        let length = length + appended;
        errors.at(
            destination.span(),
            format!(
                "the destination has {length} characters with the version appended; its column \
                 holds {DESTINATION}"
            ),
        );
    }
    refuse_nul(destination, "destination", errors);
}
