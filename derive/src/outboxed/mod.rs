//! The attribute macro `outboxed`.

mod expand;
mod function;
mod options;
mod parameter;
mod retry;

use proc_macro2::TokenStream;
use quote::quote;
use syn::ItemFn;

use crate::errors::Errors;
use function::Function;
use options::Options;

/// The function with its struct, or without it and with the errors.
pub(crate) fn outboxed(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let mut item: ItemFn = match syn::parse2(item.clone()) {
        Ok(function) => function,
        Err(error) => {
            let error = syn::Error::new(
                error.span(),
                format!("`outboxed` is for functions with a body: {error}"),
            );
            let error = error.into_compile_error();
            return quote!(#error #item);
        }
    };
    let mut errors = Errors::default();
    let options = Options::read(arguments, &item.sig.ident, &mut errors);
    // Takes the attributes of the fields from the parameters.
    let function = Function::read(&mut item, &mut errors);
    match errors.finish(function) {
        Ok(function) => {
            let call = expand::expand(&function, &options);
            quote!(#item #call)
        }
        Err(error) => {
            let error = error.into_compile_error();
            quote!(#item #error)
        }
    }
}
