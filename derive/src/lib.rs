//! The derive macro of diesel-outbox.

use proc_macro::TokenStream;

/// Derives `Publish` and `Save`.
#[proc_macro_derive(Publish, attributes(publish, diesel))]
pub fn publish(_input: TokenStream) -> TokenStream {
    TokenStream::new()
}
