//! Collects errors, so that one compilation shows all of them.

use proc_macro2::Span;
use quote::ToTokens;
use strsim::levenshtein;

/// The errors found so far.
#[derive(Default)]
pub(crate) struct Errors(Option<syn::Error>);

impl Errors {
    /// Adds an error at `span`.
    pub(crate) fn at(&mut self, span: Span, message: impl std::fmt::Display) {
        self.push(syn::Error::new(span, message));
    }

    /// Adds an error that spans `tokens`.
    pub(crate) fn on(&mut self, tokens: impl ToTokens, message: impl std::fmt::Display) {
        self.push(syn::Error::new_spanned(tokens, message));
    }

    /// Adds an error of the parser.
    pub(crate) fn push(&mut self, error: syn::Error) {
        match &mut self.0 {
            Some(all) => all.combine(error),
            None => self.0 = Some(error),
        }
    }

    /// Returns `value` if there are no errors, and otherwise all errors.
    ///
    /// A missing value without an error is reported at the macro itself, rather than expanded to
    /// nothing.
    pub(crate) fn finish<T>(self, value: Option<T>) -> syn::Result<T> {
        match (self.0, value) {
            (Some(error), _) => Err(error),
            (None, Some(value)) => Ok(value),
            (None, None) => Err(syn::Error::new(
                Span::call_site(),
                "this macro cannot be used here",
            )),
        }
    }
}

/// Lists the allowed names, after the one that is nearest to `wanted`.
pub(crate) fn suggestion<'a>(
    wanted: &str,
    what: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let nearest = names
        .iter()
        .map(|name| (levenshtein(wanted, name), *name))
        .min_by_key(|(distance, _)| *distance)
        // If at most a third of the characters is wrong, it is a typo; otherwise another word.
        .filter(|(distance, name)| *distance * 3 <= name.chars().count().max(3));
    let list = names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ");
    match nearest {
        Some((_, name)) => format!("did you mean `{name}`? {what}: {list}"),
        None => format!("{what}: {list}"),
    }
}

#[cfg(test)]
mod tests {
    use super::suggestion;

    #[test]
    fn only_a_similar_name_is_suggested() {
        let near = suggestion("custmer", "the fields are", ["id", "customer"]);
        assert_eq!(
            near,
            "did you mean `customer`? the fields are: `id`, `customer`"
        );
        let far = suggestion("weather", "the fields are", ["id", "customer"]);
        assert_eq!(far, "the fields are: `id`, `customer`");
    }
}
