//! Generates the struct of an outboxed function.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Ident, LitStr};

use super::function::Function;
use super::options::{Encoding, Options};
use super::parameter::{Argument, Parameter, Stored};

/// Generates the struct, and its implementations of `Call` and `Execute`.
pub(super) fn expand(function: &Function, options: &Options) -> TokenStream {
    let outbox = match &options.outbox {
        Some(path) => path.to_token_stream(),
        None => quote!(::diesel_outbox),
    };
    let expansion = Expansion {
        function,
        options,
        private: quote!(#outbox::__private),
        calls: quote!(#outbox::calls),
        outbox,
    };
    let items = [
        Some(expansion.structure()),
        Some(expansion.later()),
        Some(expansion.call()),
        Some(expansion.execute()),
        expansion.check_connection(),
        expansion.check_codec(),
    ];
    let conditions = &function.conditions;
    let conditions = quote!(#(#conditions)*);
    items
        .into_iter()
        .flatten()
        .flat_map(|item| quote!(#conditions #item))
        .collect()
}

struct Expansion<'a> {
    function: &'a Function,
    options: &'a Options,
    outbox: TokenStream,
    private: TokenStream,
    calls: TokenStream,
}

impl Expansion<'_> {
    fn structure(&self) -> TokenStream {
        let Self { private, .. } = self;
        let Function {
            visibility, name, ..
        } = self.function;
        let serde = quote!(#private::serde);
        let path = LitStr::new(&path_text(&serde), Span::call_site());
        let doc = format!(
            "A call of the function [`{0}`](fn@{0}); its fields are the arguments.",
            name.unraw()
        );
        let fields = self.function.arguments().map(|argument| {
            let Argument {
                name, attributes, ..
            } = argument;
            let ty = stored_type(argument);
            let has_doc = attributes.iter().any(|it| it.path().is_ident("doc"));
            let doc = format!("The argument `{}`.", name.unraw());
            // serde's errors are at the first token of the field.
            let span = Span::call_site().located_at(argument.given.span());
            let doc = (!has_doc).then(|| quote_spanned!(span=> #[doc = #doc]));
            quote!(#doc #(#attributes)* #visibility #name: #ty)
        });
        quote! {
            #[doc = #doc]
            #[allow(non_camel_case_types, dead_code, missing_debug_implementations)]
            #[derive(#serde::Serialize, #serde::Deserialize)]
            #[serde(crate = #path)]
            #visibility struct #name {
                #(#fields,)*
            }
        }
    }

    fn later(&self) -> TokenStream {
        let Self {
            outbox,
            private,
            calls,
            ..
        } = self;
        let Function {
            visibility, name, ..
        } = self.function;
        let names: Vec<&Ident> = self.function.arguments().map(|it| &it.name).collect();
        let types = self.function.arguments().map(|it| &it.given);
        let values = self.function.arguments().map(|argument| {
            let name = &argument.name;
            match argument.stored {
                Stored::AsGiven => quote!(#name),
                _ => quote!(::std::borrow::ToOwned::to_owned(#name)),
            }
        });
        let conn = Ident::new("conn", Span::mixed_site());
        quote! {
            impl #name {
                /// Writes a call with these arguments, in the caller's transaction if one is open. Returns its id.
                ///
                /// # Errors
                ///
                /// If the arguments cannot be stored, or the database fails.
                #[allow(dead_code, clippy::too_many_arguments)]
                #visibility fn later<__C: #outbox::backend::AsBackend>(
                    #conn: &mut __C,
                    #(#names: #types),*
                ) -> ::core::result::Result<#private::uuid::Uuid, #outbox::Error> {
                    #calls::Call::write(Self { #(#names: #values),* }, #conn)
                }
            }
        }
    }

    fn call(&self) -> TokenStream {
        let Self {
            calls,
            private,
            options,
            ..
        } = self;
        let ident = &self.function.name;
        let name = match &options.name {
            Some(name) => name.clone(),
            None => LitStr::new(&ident.unraw().to_string(), ident.span()),
        };
        let aliases = &options.aliases;
        let stream = options.stream.iter().map(|stream| {
            quote! {
                const STREAM: ::core::option::Option<&'static str> =
                    ::core::option::Option::Some(#stream);
            }
        });
        let ordered = options.ordered.then(|| {
            quote!(
                const ORDERED: bool = true;
            )
        });
        let retry = options.retry.iter().map(|retry| {
            let policy = retry.policy(calls);
            quote!(const RETRY: #calls::RetryPolicy = #policy;)
        });
        let timeout = options.timeout.iter().map(|timeout| {
            let (seconds, nanoseconds) = (timeout.as_secs(), timeout.subsec_nanos());
            quote! {
                const TIMEOUT: ::core::option::Option<::core::time::Duration> =
                    ::core::option::Option::Some(::core::time::Duration::new(#seconds, #nanoseconds));
            }
        });
        let encoding = options.encoding.iter().map(|encoding| {
            let codec = match encoding {
                Encoding::MessagePack => quote!(#calls::MessagePack),
                Encoding::Codec(path) => path.to_token_stream(),
            };
            quote!(const ENCODING: #calls::Encoding<Self> = #calls::Encoding::of::<#codec>();)
        });
        let persist = options.persist_failures.as_ref().map(|_| {
            quote! {
                const PERSIST: #calls::Persist = #calls::Persist::Failures;
            }
        });
        let key = options.key.iter().map(|key| {
            let names: Vec<&Ident> = self.function.arguments().map(|it| &it.name).collect();
            let span = Span::call_site().located_at(key.span());
            let value = quote_spanned!(span=> #private::IntoKey::into_key(#key));
            quote! {
                #[allow(unused_variables)]
                fn ordering_key(&self) -> ::core::option::Option<::std::string::String> {
                    #(let #names = &self.#names;)*
                    #value
                }
            }
        });
        quote! {
            #[automatically_derived]
            impl #calls::Call for #ident {
                const NAME: &'static str = #name;
                const ALIASES: &'static [&'static str] = &[#(#aliases),*];
                #(#stream)*
                #ordered
                #(#retry)*
                #(#timeout)*
                #persist
                #(#encoding)*
                #(#key)*
            }
        }
    }

    fn execute(&self) -> TokenStream {
        let Self { outbox, calls, .. } = self;
        let name = &self.function.name;
        let states = self.function.parameters.iter().filter_map(|it| match it {
            Parameter::State { of, .. } => Some(quote!(#calls::StateKey::of::<#of>())),
            _ => None,
        });
        let states = quote!(const STATES: &'static [#calls::StateKey] = &[#(#states),*];);
        let connection = self.function.connection();
        let (call, conn, context) = names_of_function();
        let result = self.result();
        let (generics, on, kind) = match connection {
            Some(connection) => (
                quote!(),
                connection.to_token_stream(),
                quote!(Transactional(|#call, #conn, #context| #result)),
            ),
            None if self.function.is_async => (
                quote!(<__C: #outbox::backend::Backend>),
                quote!(__C),
                quote!(Async(|#call, #context| {
                    ::std::boxed::Box::pin(async move { #result })
                })),
            ),
            None => (
                quote!(<__C: #outbox::backend::Backend>),
                quote!(__C),
                quote!(Blocking(|#call, #context| #result)),
            ),
        };
        quote! {
            #[automatically_derived]
            #[allow(deprecated, clippy::unit_arg)]
            impl #generics #calls::Execute<#on> for #name {
                const FUNCTION: #calls::Function<Self, #on> = #calls::Function::#kind;
                #states
            }
        }
    }

    /// A check whose error is at the connection's type.
    fn check_connection(&self) -> Option<TokenStream> {
        let outbox = &self.outbox;
        let connection = self.function.connection()?;
        let span = connection.span();
        Some(quote_spanned! {span=>
            const _: () = {
                const fn is_connection<__C: #outbox::backend::Backend>() {}
                is_connection::<#connection>();
            };
        })
    }

    /// A constant whose value is the encoding: the compiler checks the codec's name where the function is, and not only
    /// where a call is written.
    fn check_codec(&self) -> Option<TokenStream> {
        let Some(Encoding::Codec(path)) = &self.options.encoding else {
            return None;
        };
        let (calls, name) = (&self.calls, &self.function.name);
        let span = Span::call_site().located_at(path.span());
        Some(quote_spanned! {span=>
            const _: #calls::Encoding<#name> = <#name as #calls::Call>::ENCODING;
        })
    }

    /// Calls the function, and converts its result.
    fn result(&self) -> TokenStream {
        let calls = &self.calls;
        let name = &self.function.name;
        let (call, conn, context) = names_of_function();
        let values = self.function.parameters.iter().map(|it| match it {
            Parameter::Connection(_) => quote!(#conn),
            Parameter::Argument(argument) => {
                let name = &argument.name;
                match argument.stored {
                    Stored::AsGiven => quote!(#call.#name),
                    _ => quote!(&#call.#name),
                }
            }
            Parameter::CallInfo { by_reference: true } => quote!(#context.info()),
            Parameter::CallInfo { .. } => quote!(::core::clone::Clone::clone(#context.info())),
            Parameter::State { of, by_reference } => {
                let reference = by_reference.then(|| quote!(&));
                let span = Span::call_site().located_at(of.span());
                quote_spanned!(span=> #reference #context.state()?)
            }
        });
        let mut value = quote!(#name(#(#values),*));
        if self.function.is_async {
            value = quote!(#value.await);
        }
        // The path names the type, so that an error is at the type and not at the call.
        let output = match &self.function.output {
            Some(output) => output.to_token_stream(),
            None => quote!(()),
        };
        quote!(<#output as #calls::IntoCallResult>::into_call_result(#value))
    }
}

/// The parameters of the generated function: the call, the connection, the context.
fn names_of_function() -> (Ident, Ident, Ident) {
    let ident = |name: &str| Ident::new(name, Span::mixed_site());
    (ident("call"), ident("conn"), ident("context"))
}

fn stored_type(argument: &Argument) -> TokenStream {
    match &argument.stored {
        Stored::AsGiven => argument.given.to_token_stream(),
        Stored::String => quote!(::std::string::String),
        Stored::Vec(item) => quote!(::std::vec::Vec<#item>),
        Stored::Owned(ty) => quote!(<#ty as ::std::borrow::ToOwned>::Owned),
    }
}

/// A path as text, as serde parses it.
fn path_text(path: &TokenStream) -> String {
    path.to_string().replace(' ', "")
}
