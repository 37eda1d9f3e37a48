//! The fields of a model as columns.

use syn::ext::IdentExt;
use syn::{Ident, Path, Type};

use crate::diesel::{FieldAttrs, StructAttrs};
use crate::errors::Errors;

/// What the statements that write a row need.
pub(crate) struct Save {
    /// The table: the module made by `table!`.
    pub(crate) table: Path,
    /// The columns that an UPDATE sets.
    pub(crate) update: Vec<Field>,
    /// The columns of an INSERT; `None` if the database assigns the key, so that no INSERT can
    /// write this row.
    pub(crate) insert: Option<Vec<Field>>,
}

/// A field of a model.
#[derive(Clone)]
pub(crate) struct Field {
    /// The field's name.
    pub(crate) ident: Ident,
    /// Its column.
    pub(crate) column: Ident,
    /// The type that is written in its place (`serialize_as`).
    pub(crate) serialize_as: Option<Type>,
    /// Whether its type is an `Option`.
    pub(crate) optional: bool,
}

impl Field {
    /// The name in bodies and in errors.
    pub(crate) fn name(&self) -> String {
        self.ident.unraw().to_string()
    }
}

/// A field with Diesel's attributes.
pub(crate) struct Row {
    /// The field.
    pub(crate) field: Field,
    attrs: FieldAttrs,
}

impl Row {
    /// Reads a named field.
    pub(crate) fn read(field: &syn::Field, errors: &mut Errors) -> Option<Self> {
        let ident = field.ident.clone()?;
        let attrs = FieldAttrs::read(&field.attrs, errors);
        let column = attrs.column.clone().unwrap_or_else(|| ident.clone());
        let field = Field {
            ident,
            column,
            serialize_as: attrs.serialize_as.clone(),
            optional: is_option(&field.ty),
        };
        Some(Self { field, attrs })
    }
}

fn is_option(ty: &Type) -> bool {
    let Type::Path(path) = ty else { return false };
    let last = path.path.segments.last();
    last.is_some_and(|segment| segment.ident == "Option")
}

/// The columns of the primary key, by Diesel's rule: those of `primary_key(...)`, by default `id`.
fn key_columns(diesel: &StructAttrs) -> Vec<String> {
    match &diesel.primary_key {
        Some(columns) => columns.iter().map(|c| c.unraw().to_string()).collect(),
        None => vec!["id".to_owned()],
    }
}

/// The fields of the primary key in a struct to be inserted; empty if it does not contain the whole
/// key.
pub(crate) fn carried_key(rows: &[Row], diesel: &StructAttrs) -> Vec<Field> {
    let field = |name: &String| {
        let inserted = |row: &&Row| !row.attrs.skip_insertion && row.attrs.embed.is_none();
        rows.iter()
            .filter(inserted)
            .find(|row| row.field.column.unraw() == name)
            .map(|row| row.field.clone())
    };
    let fields: Option<Vec<_>> = key_columns(diesel).iter().map(field).collect();
    fields.unwrap_or_default()
}

/// The fields of the primary key.
pub(crate) fn primary_key(
    model: &Ident,
    rows: &[Row],
    diesel: &StructAttrs,
    errors: &mut Errors,
) -> Option<Vec<Field>> {
    let names = key_columns(diesel);
    let mut key = Vec::with_capacity(names.len());
    for name in &names {
        match rows.iter().find(|row| row.field.column.unraw() == name) {
            Some(row) => key.push(row.field.clone()),
            None => errors.at(
                model.span(),
                format!(
                    "`{model}` has no field for its primary key `{name}`: if it is only inserted, write \
                     `#[publish(model = {})]` on it and the destination on that model; else add the \
                     field, or name the key with `#[diesel(primary_key(...))]`",
                    inserted_model(model)
                ),
            ),
        }
    }
    (!key.is_empty() && key.len() == names.len()).then_some(key)
}

/// The name that the model of an insertable struct most likely has: `Order` of `NewOrder`.
fn inserted_model(insertable: &Ident) -> String {
    let name = insertable.unraw().to_string();
    let stripped = ["New", "Insert", "Create"].iter().find_map(|start| {
        let rest = name.strip_prefix(start)?;
        rest.starts_with(char::is_uppercase)
            .then(|| rest.to_owned())
    });
    stripped.unwrap_or_else(|| "...".to_owned())
}

impl Save {
    /// Chooses the columns of the statements.
    pub(crate) fn read(table: Path, rows: &[Row], key: &[Field], errors: &mut Errors) -> Self {
        for embed in rows.iter().filter_map(|row| row.attrs.embed.as_ref()) {
            errors.at(
                embed.span(),
                "`save` cannot write an embedded struct, because it does not see its columns: write \
                 them as fields, or turn saving off with `#[publish(save = false)]`",
            );
        }
        // A field with `select_expression` is not a column.
        let stored = || rows.iter().filter(|row| !row.attrs.computed);
        let in_key = |row: &Row| key.iter().any(|key| key.ident == row.field.ident);
        let given_key = !stored().any(|row| in_key(row) && row.attrs.skip_insertion);
        Self {
            table,
            update: stored()
                .filter(|row| !in_key(row) && !row.attrs.skip_update)
                .map(|row| row.field.clone())
                .collect(),
            insert: given_key.then(|| {
                stored()
                    .filter(|row| !row.attrs.skip_insertion)
                    .map(|row| row.field.clone())
                    .collect()
            }),
        }
    }
}
