//! Generates the code of the derive.
//!
//! All names are full paths, and trait methods are called by path, so that nothing in the user's
//! module (another `RunQueryDsl`, a method with the same name) can interfere.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::{Generics, Ident, Path, Type};

use crate::backend::Backend;
use crate::message::{Body, Message, OrderingKey};
use crate::model::{Form, Item, Model};
use crate::row::{Field, Save};

/// The maximum number of columns in a tuple; wider rows use nested tuples. Diesel's limit depends
/// on its features and is at least 16.
const TUPLE: usize = 16;

/// Generates the impls for an item.
pub(crate) fn expand(item: &Item) -> TokenStream {
    let outbox = match &item.outbox {
        Some(path) => path.to_token_stream(),
        None => quote!(::diesel_outbox),
    };
    let target = Target {
        ident: &item.ident,
        generics: &item.generics,
        backends: &item.backends,
        diesel: quote!(#outbox::__private::diesel),
        outbox,
    };
    match &item.form {
        Form::Insertable { model, table, key } => target.save_insertable(model, table, key),
        Form::Model(model) => {
            let publish = target.publish(model);
            let save = model
                .save
                .as_ref()
                .map(|s| target.save_model(s, &model.key));
            quote!(#publish #save)
        }
    }
}

/// The type to implement for, and the paths used in every impl.
struct Target<'a> {
    ident: &'a Ident,
    generics: &'a Generics,
    backends: &'a [&'static Backend],
    outbox: TokenStream,
    diesel: TokenStream,
}

impl Target<'_> {
    fn publish(&self, model: &Model) -> TokenStream {
        let outbox = &self.outbox;
        let messages = model.messages.iter().map(|m| self.message(m, &model.key));
        self.implement(
            &quote!(Publish),
            &quote! {
                fn messages_of(
                    &self,
                    __operation: ::core::option::Option<#outbox::Operation>,
                ) -> ::core::result::Result<
                    ::std::vec::Vec<#outbox::Message>,
                    #outbox::Error,
                > {
                    let mut __messages = ::std::vec::Vec::new();
                    #(#messages)*
                    ::core::result::Result::Ok(__messages)
                }
            },
        )
    }

    fn message(&self, message: &Message, primary_key: &[Field]) -> TokenStream {
        let outbox = &self.outbox;
        let destination = &message.destination;
        let body = match &message.body {
            Body::Serializer(function) => quote!(#function(self)),
            Body::Fields(fields) => self.body(fields, primary_key),
        };
        let version = message.version.iter();
        let key = message.key.iter().map(|key| match key {
            OrderingKey::Field(field) => {
                let span = inside(field.span());
                quote_spanned!(span=> #outbox::__private::IntoKey::into_key(&self.#field))
            }
            OrderingKey::Function(function) => {
                quote!(#outbox::__private::IntoKey::into_key(#function(self)))
            }
        });
        let headers = message.headers.iter();
        let stream = message.stream.iter();
        let expires_in = message.expires_in.iter().map(|time| {
            let (seconds, nanoseconds) = (time.as_secs(), time.subsec_nanos());
            quote!(::core::time::Duration::new(#seconds, #nanoseconds))
        });
        let named = message.operation_header.iter().map(|header| {
            quote! {
                if let ::core::option::Option::Some(__operation) = __operation {
                    __message = __message.header(#header, #outbox::Operation::as_str(__operation));
                }
            }
        });
        let mutable = message.operation_header.iter().map(|_| quote!(mut));
        let write = quote! {
            let #(#mutable)* __message = #outbox::Message::new(#destination, #body)
                #(.version(#version))*
                #(.key(#key))*
                #(.headers(#headers(self)))*
                #(.stream(#stream))*
                #(.expires_in(#expires_in))*;
            #(#named)*
            __messages.push(__message);
        };
        if message.on.is_empty() {
            return write;
        }
        let on = &message.on;
        quote! {
            if ::core::matches!(
                __operation,
                #(::core::option::Option::Some(#outbox::Operation::#on))|*
            ) {
                #write
            }
        }
    }

    fn body(&self, fields: &[Field], primary_key: &[Field]) -> TokenStream {
        let json = self.json();
        let id = match primary_key {
            [field] => self.value(field),
            fields => {
                let values = fields.iter().map(|field| self.value(field));
                quote!(#json::Value::Array(::std::vec![#(#values),*]))
            }
        };
        let names = fields.iter().map(Field::name);
        let values = fields.iter().map(|field| self.value(field));
        quote! {{
            let mut __body = #json::Map::new();
            __body.insert(::std::string::String::from("id"), #id);
            #(__body.insert(::std::string::String::from(#names), #values);)*
            #json::Value::Object(__body)
        }}
    }

    /// Generates a field's JSON value.
    fn value(&self, field: &Field) -> TokenStream {
        let outbox = &self.outbox;
        let (ident, name) = (&field.ident, field.name());
        let span = inside(ident.span());
        quote_spanned! {span=>
            #outbox::__private::to_value(&self.#ident).map_err(|source| {
                #outbox::MessageError::Field { field: #name, source }
            })?
        }
    }

    fn save_insertable(&self, model: &Type, table: &Path, key: &[Field]) -> TokenStream {
        let (outbox, diesel) = (&self.outbox, &self.diesel);
        let operation = quote!(#outbox::Operation::Insert);
        self.save(&model, |backend| {
            let path = backend.path(diesel);
            let insert = if backend.returning {
                quote! {
                    #diesel::RunQueryDsl::get_result(
                        #diesel::insert_into(#table::table)
                            .values(self)
                            .returning(
                                <#model as #diesel::SelectableHelper<#path>>::as_returning()
                            ),
                        __conn,
                    )
                }
            } else {
                self.insert_then_select(model, table, key, &path)
            };
            quote! {
                let __saved: #diesel::QueryResult<<Self as #outbox::Save>::Saved> = { #insert };
                ::core::result::Result::Ok((__saved?, #operation))
            }
        })
    }

    /// For a database without RETURNING: the row is found again by the key that the struct
    /// carries, or by the one that AUTO_INCREMENT gave. If neither is the row's key, it is an error.
    fn insert_then_select(
        &self,
        model: &Type,
        table: &Path,
        key: &[Field],
        backend: &TokenStream,
    ) -> TokenStream {
        let (outbox, diesel) = (&self.outbox, &self.diesel);
        let select = |row: &TokenStream| {
            quote! {
                #outbox::__private::found_again(#diesel::RunQueryDsl::get_result(
                    #diesel::QueryDsl::select(
                        #row,
                        <#model as #diesel::SelectableHelper<#backend>>::as_select(),
                    ),
                    __conn,
                ))
            }
        };
        let forget = quote!(#outbox::__private::forget_insert_id(__conn)?;);
        let insert = quote! {
            #diesel::RunQueryDsl::execute(
                #diesel::insert_into(#table::table).values(self),
                __conn,
            )?;
        };
        let given = select(&quote! {
            #diesel::QueryDsl::filter(
                #table::table,
                #diesel::ExpressionMethods::eq(
                    #diesel::Table::primary_key(&#table::table),
                    #outbox::__private::last_insert_id::<#table::table>(),
                ),
            )
        });
        let check = match key {
            [field] => {
                let column = &field.column;
                quote! {
                    #outbox::__private::is_primary_key::<#table::table, #table::#column>();
                }
            }
            _ => TokenStream::new(),
        };
        match key {
            [] => quote!(#forget #insert #given),
            [field] if field.optional => {
                let value = self.written(field);
                let column = &field.column;
                let carried = select(&quote! {
                    #diesel::QueryDsl::filter(
                        #table::table,
                        #diesel::ExpressionMethods::eq(#table::#column, __key),
                    )
                });
                quote! {
                    #check
                    let __key = #value;
                    if ::core::option::Option::is_none(&__key) {
                        #forget
                    }
                    #insert
                    match __key {
                        ::core::option::Option::Some(__key) => #carried,
                        ::core::option::Option::None => #given,
                    }
                }
            }
            fields => {
                let values = fields.iter().map(|field| self.written(field));
                let columns = fields.iter().map(|field| &field.column);
                let numbers = (0..fields.len()).map(syn::Index::from);
                let row = columns
                    .zip(numbers)
                    .fold(quote!(#table::table), |row, (column, n)| {
                        quote! {
                            #diesel::QueryDsl::filter(
                                #row,
                                #diesel::ExpressionMethods::eq(#table::#column, __key.#n),
                            )
                        }
                    });
                let carried = select(&row);
                quote! {
                    #check
                    let __key = (#(#values,)*);
                    #insert
                    #carried
                }
            }
        }
    }

    /// Generates the value that is written for a field; it is owned.
    fn written(&self, field: &Field) -> TokenStream {
        let ident = &field.ident;
        let span = inside(ident.span());
        let value = quote_spanned!(span=> ::core::clone::Clone::clone(&self.#ident));
        match &field.serialize_as {
            Some(written) => quote_spanned!(span=> ::core::convert::Into::<#written>::into(#value)),
            None => value,
        }
    }

    fn save_model(&self, save: &Save, key: &[Field]) -> TokenStream {
        let (outbox, diesel) = (&self.outbox, &self.diesel);
        let table = &save.table;
        let row = key.iter().fold(quote!(#table::table), |row, field| {
            let same = self.column(table, field);
            quote!(#diesel::QueryDsl::filter(#row, #same))
        });
        let found = if save.update.is_empty() {
            // Without other columns, no UPDATE can show whether the row exists.
            quote! {
                #diesel::RunQueryDsl::get_result::<bool>(
                    #diesel::select(#diesel::dsl::exists(#row)),
                    __conn,
                )?
            }
        } else {
            let columns = self.columns(table, &save.update);
            quote! {
                #diesel::RunQueryDsl::execute(
                    #diesel::update(#row).set(#columns),
                    __conn,
                )? != 0
            }
        };
        let insert = |backend: &Backend| match &save.insert {
            Some(fields) => {
                let columns = self.columns(table, fields);
                // AUTO_INCREMENT replaces a 0.
                let check = (!backend.returning).then(|| {
                    quote! {
                        #outbox::__private::same_key(#diesel::RunQueryDsl::get_result(
                            #diesel::select(#diesel::dsl::exists(#row)),
                            __conn,
                        )?)?;
                    }
                });
                quote! {
                    #diesel::RunQueryDsl::execute(
                        #diesel::insert_into(#table::table).values(#columns),
                        __conn,
                    )?;
                    #check
                    ::core::result::Result::Ok((self, #outbox::Operation::Insert))
                }
            }
            None => quote! {
                ::core::result::Result::Err(#diesel::result::Error::NotFound)
            },
        };
        self.save(&quote!(Self), |backend| {
            let insert = insert(backend);
            quote! {
                let __found: bool = #found;
                if __found {
                    return ::core::result::Result::Ok((self, #outbox::Operation::Update));
                }
                #insert
            }
        })
    }

    /// Generates `Save`, and `SaveOn` for each database.
    fn save(&self, saved: &impl ToTokens, write: impl Fn(&Backend) -> TokenStream) -> TokenStream {
        let (outbox, diesel) = (&self.outbox, &self.diesel);
        let save = self.implement(&quote!(Save), &quote!(type Saved = #saved;));
        let on = self.backends.iter().map(|backend| {
            let connection = backend.connection(diesel);
            let body = write(backend);
            self.implement(
                &quote!(SaveOn<#connection>),
                &quote! {
                    fn write(
                        self,
                        __conn: &mut #connection,
                    ) -> #diesel::QueryResult<(
                        <Self as #outbox::Save>::Saved,
                        #outbox::Operation,
                    )> {
                        #body
                    }
                },
            )
        });
        quote!(#save #(#on)*)
    }

    fn implement(&self, name: &TokenStream, body: &TokenStream) -> TokenStream {
        let (outbox, ident) = (&self.outbox, self.ident);
        let (generics, arguments, bounds) = self.generics.split_for_impl();
        quote! {
            #[automatically_derived]
            impl #generics #outbox::#name for #ident #arguments #bounds {
                #body
            }
        }
    }

    /// Generates `column = value` for each field; nested if there are more than a tuple can hold.
    fn columns(&self, table: &Path, fields: &[Field]) -> TokenStream {
        nest(
            fields
                .iter()
                .map(|field| self.column(table, field))
                .collect(),
        )
    }

    /// Generates `column = value`. Not with `AsChangeset`, which leaves out `None`.
    fn column(&self, table: &Path, field: &Field) -> TokenStream {
        let diesel = &self.diesel;
        let Field { ident, column, .. } = field;
        let span = inside(ident.span());
        let value = match &field.serialize_as {
            // Diesel converts by value, and the model is returned to the caller.
            Some(_) => self.written(field),
            None => quote_spanned!(span=> &self.#ident),
        };
        quote_spanned!(span=> #diesel::ExpressionMethods::eq(#table::#column, #value))
    }

    fn json(&self) -> TokenStream {
        let outbox = &self.outbox;
        quote!(#outbox::__private::serde_json)
    }
}

fn nest(items: Vec<TokenStream>) -> TokenStream {
    if items.len() <= TUPLE {
        return quote!((#(#items,)*));
    }
    nest(
        items
            .chunks(TUPLE)
            .map(|chunk| quote!((#(#chunk,)*)))
            .collect(),
    )
}

/// The position of `span` with the derive's hygiene: `self` must be the one of the generated
/// method, even if a user's macro wrote the field.
fn inside(span: Span) -> Span {
    Span::call_site().located_at(span)
}
