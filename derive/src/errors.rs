//! Mistakes, gathered so that all of them show in one compilation.

use proc_macro2::Span;
use quote::ToTokens;

/// What is wrong with the input so far.
#[derive(Default)]
pub(crate) struct Errors(Option<syn::Error>);

impl Errors {
    /// Notes a mistake at `span`.
    pub(crate) fn at(&mut self, span: Span, message: impl std::fmt::Display) {
        self.push(syn::Error::new(span, message));
    }

    /// Notes a mistake that spans all of `tokens`.
    pub(crate) fn on(&mut self, tokens: impl ToTokens, message: impl std::fmt::Display) {
        self.push(syn::Error::new_spanned(tokens, message));
    }

    /// Notes an error of the parser.
    pub(crate) fn push(&mut self, error: syn::Error) {
        match &mut self.0 {
            Some(all) => all.combine(error),
            None => self.0 = Some(error),
        }
    }

    /// `value` where nothing was wrong, else everything that was.
    ///
    /// A missing value without a mistake cannot be told to the user; it is reported at the derive
    /// itself rather than expanded to nothing.
    pub(crate) fn finish<T>(self, value: Option<T>) -> syn::Result<T> {
        match (self.0, value) {
            (Some(error), _) => Err(error),
            (None, Some(value)) => Ok(value),
            (None, None) => Err(syn::Error::new(
                Span::call_site(),
                "`Publish` cannot be derived here",
            )),
        }
    }
}

/// `a`, `b`, `c`: the names that were possible, with the nearest one to `wanted` put first.
pub(crate) fn suggestion<'a>(
    wanted: &str,
    what: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let nearest = names
        .iter()
        .map(|name| (distance(wanted, name), *name))
        .min_by_key(|(distance, _)| *distance)
        // A third of the letters wrong is a slip; more is another word.
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

/// The number of letters to insert, remove or change to get from one word to the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, letter) in from.chars().enumerate() {
        let mut last = line + 1;
        let mut next = vec![last];
        for (&other, pair) in to.iter().zip(row.windows(2)) {
            let &[diagonal, above] = pair else { continue };
            last = (diagonal + usize::from(letter != other))
                .min(above + 1)
                .min(last + 1);
            next.push(last);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{distance, suggestion};

    #[test]
    fn distance_counts_single_letters() {
        assert_eq!(distance("total", "total"), 0);
        assert_eq!(distance("totl", "total"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
    }

    #[test]
    fn only_a_near_name_is_suggested() {
        let near = suggestion("custmer", "the fields are", ["id", "customer"]);
        assert_eq!(
            near,
            "did you mean `customer`? the fields are: `id`, `customer`"
        );
        let far = suggestion("weather", "the fields are", ["id", "customer"]);
        assert_eq!(far, "the fields are: `id`, `customer`");
    }
}
