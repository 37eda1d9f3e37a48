//! Checks the input and describes what to derive.

use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Fields, Generics, Ident, Path, Type};

use crate::attr::{Keyed, PublishAttr};
use crate::backend::Backend;
use crate::diesel::{StructAttrs, default_table};
use crate::errors::Errors;
use crate::message::Message;
use crate::row::{Field, Row, Save, carried_key, primary_key};

/// A struct for which `Publish` can be derived.
pub(crate) struct Item {
    /// Its name.
    pub(crate) ident: Ident,
    /// Its generics.
    pub(crate) generics: Generics,
    /// The path of diesel-outbox, if it is not its own name.
    pub(crate) outbox: Option<Path>,
    /// The databases for which `Save` is derived.
    pub(crate) backends: Vec<&'static Backend>,
    /// The form of the struct.
    pub(crate) form: Form,
}

/// The two forms of the derive.
pub(crate) enum Form {
    /// `#[publish(destination = "...")]`: the struct is the row.
    Model(Model),
    /// `#[publish(model = Order)]`: the struct is inserted and returns the row.
    Insertable {
        /// The model.
        model: Type,
        /// The table: the module made by `table!`.
        table: Path,
        /// The fields of the primary key, if the struct contains it.
        key: Vec<Field>,
    },
}

/// A struct that is a row.
pub(crate) struct Model {
    /// The fields of the primary key, in order.
    pub(crate) key: Vec<Field>,
    /// The messages.
    pub(crate) messages: Vec<Message>,
    /// How it is saved; `None` with `save = false`.
    pub(crate) save: Option<Save>,
}

impl Item {
    /// Checks the input, reports all errors, and otherwise returns what to expand.
    pub(crate) fn read(input: &DeriveInput) -> syn::Result<Self> {
        let mut errors = Errors::default();
        let attributes = PublishAttr::read_all(&input.attrs, &mut errors);
        let diesel = StructAttrs::read(&input.attrs, &mut errors);
        let outbox = only(&attributes, "crate", |a| &a.outbox, &mut errors);
        let form = Form::read(input, &attributes, &diesel, &mut errors);
        Ok(Self {
            ident: input.ident.clone(),
            generics: input.generics.clone(),
            outbox: outbox.map(|outbox| outbox.value.clone()),
            backends: Backend::chosen(diesel.backends.as_deref()),
            form: errors.finish(form)?,
        })
    }
}

impl Form {
    fn read(
        input: &DeriveInput,
        attributes: &[PublishAttr],
        diesel: &StructAttrs,
        errors: &mut Errors,
    ) -> Option<Self> {
        let (keyword, what) = match &input.data {
            Data::Struct(data) => {
                return Self::of_struct(input, &data.fields, attributes, diesel, errors);
            }
            Data::Enum(data) => (data.enum_token.span, "an enum"),
            Data::Union(data) => (data.union_token.span, "a union"),
        };
        errors.at(
            keyword,
            format!("`Publish` can be derived only for structs, whose fields are columns; this is {what}"),
        );
        None
    }

    fn of_struct(
        input: &DeriveInput,
        fields: &Fields,
        attributes: &[PublishAttr],
        diesel: &StructAttrs,
        errors: &mut Errors,
    ) -> Option<Self> {
        let name = &input.ident;
        if attributes.is_empty() {
            if !input.attrs.iter().any(|a| a.path().is_ident("publish")) {
                errors.at(
                    name.span(),
                    format!(
                        "`{name}` does not say what to publish: add \
                         `#[publish(destination = \"/topic/...\")]`, or \
                         `#[publish(model = ...)]` to a struct that is only inserted"
                    ),
                );
            }
            return None;
        }
        if let Some(model) = only(attributes, "model", |a| &a.model, errors) {
            refuse_beside_model(attributes, errors);
            let model = model.value.clone();
            let table = table(input, diesel, errors)?;
            let rows: Vec<_> = match fields {
                Fields::Named(named) => {
                    let rows = named.named.iter();
                    rows.filter_map(|f| Row::read(f, errors)).collect()
                }
                Fields::Unnamed(_) | Fields::Unit => Vec::new(),
            };
            let key = carried_key(&rows, diesel);
            return Some(Self::Insertable { model, table, key });
        }
        match fields {
            Fields::Named(named) => {
                let rows = named.named.iter();
                let rows: Vec<_> = rows.filter_map(|f| Row::read(f, errors)).collect();
                Model::read(input, &rows, attributes, diesel, errors).map(Self::Model)
            }
            Fields::Unnamed(unnamed) => {
                errors.at(
                    unnamed.span(),
                    "`Publish` requires named fields, because the message uses their names",
                );
                None
            }
            Fields::Unit => {
                errors.at(name.span(), format!("`{name}` has no fields to publish"));
                None
            }
        }
    }
}

impl Model {
    fn read(
        input: &DeriveInput,
        rows: &[Row],
        attributes: &[PublishAttr],
        diesel: &StructAttrs,
        errors: &mut Errors,
    ) -> Option<Self> {
        let saved = only(attributes, "save", |a| &a.save, errors).is_none_or(|s| s.value.value);
        let described: Vec<_> = attributes
            .iter()
            .filter(|a| a.describes_message())
            .collect();
        if described.is_empty()
            && let Some(setting) = attributes.first()
        {
            Message::refuse_without_destination(setting, errors);
        }

        let needs_key = saved || described.iter().any(|a| a.serializer.is_none());
        let key = if needs_key {
            primary_key(&input.ident, rows, diesel, errors)
        } else {
            Some(Vec::new())
        };
        let known = key.as_deref().unwrap_or_default();
        let messages = described
            .into_iter()
            .filter_map(|a| Message::read(a, &input.ident, rows, known, errors))
            .collect();
        let save = if saved {
            Some(Save::read(
                table(input, diesel, errors)?,
                rows,
                known,
                errors,
            ))
        } else {
            None
        };
        Some(Self {
            key: key?,
            messages,
            save,
        })
    }
}

/// Finds a key that applies to the struct and may be given once, in any of the attributes.
fn only<'a, T>(
    attributes: &'a [PublishAttr],
    name: &str,
    slot: impl Fn(&'a PublishAttr) -> &'a Option<Keyed<T>>,
    errors: &mut Errors,
) -> Option<&'a Keyed<T>> {
    let mut found = attributes.iter().filter_map(|a| slot(a).as_ref());
    let first = found.next();
    for again in found {
        errors.at(
            again.key.span(),
            format!("`{name}` is given twice; it applies to the whole struct"),
        );
    }
    first
}

/// Refuses keys beside `model`: the struct publishes what that model describes, and nothing else.
fn refuse_beside_model(attributes: &[PublishAttr], errors: &mut Errors) {
    for key in attributes.iter().flat_map(PublishAttr::keys_of_a_model) {
        errors.at(
            key.span(),
            format!("`{key}` cannot be combined with `model`: write it on the model itself"),
        );
    }
}

/// The table of a struct; more than one is refused.
fn table(input: &DeriveInput, diesel: &StructAttrs, errors: &mut Errors) -> Option<Path> {
    match diesel.tables.as_slice() {
        [] => Some(default_table(&input.ident)),
        [table] => Some(table.clone()),
        [_, others @ ..] => {
            for other in others {
                errors.on(
                    other,
                    "`Publish` saves to one table: write a struct for each, or `#[publish(save = false)]` on a model",
                );
            }
            None
        }
    }
}
