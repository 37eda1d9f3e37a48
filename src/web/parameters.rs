//! Names and values of a query or of a form.

use url::form_urlencoded;

/// Names and values in their order; a name may be there several times.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Parses `application/x-www-form-urlencoded`.
    pub(super) fn parse(encoded: &[u8]) -> Self {
        Self(form_urlencoded::parse(encoded).into_owned().collect())
    }

    /// The first value of a name.
    pub(super) fn get<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.all(name).next()
    }

    /// The first value of a name that is not empty, without white space around it.
    pub(super) fn text<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.all(name).map(str::trim).find(|text| !text.is_empty())
    }

    /// All values of a name.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let found = self.0.iter().filter(move |(given, _)| given == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Adds a value.
    pub(super) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0.push((name.to_owned(), value.into()));
        self
    }

    /// Adds a value, if there is one.
    pub(super) fn with_any(self, name: &str, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// The others than those with this name.
    pub(super) fn without(&self, name: &str) -> Self {
        let others = self.0.iter().filter(|(given, _)| given != name);
        Self(others.cloned().collect())
    }

    /// The names and values.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.0.iter();
        pairs.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A relative link to a page with this query.
    pub(super) fn link(&self, page: &str) -> String {
        if self.0.is_empty() {
            return page.to_owned();
        }
        let start = format!("{page}?");
        let length = start.len();
        let mut query = form_urlencoded::Serializer::for_suffix(start, length);
        query.extend_pairs(&self.0);
        query.finish()
    }
}

/// A relative link to a page with one parameter.
pub(super) fn link(page: &str, name: &str, value: &str) -> String {
    Parameters::default().with(name, value).link(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_read_back() {
        let given = Parameters::default()
            .with("id", "a b&c=\u{1b}é")
            .with("id", "")
            .with("x", "1");
        let link = given.link("rows");
        let (page, query) = link.split_once('?').unwrap();
        assert_eq!(page, "rows");
        assert!(
            query.starts_with("id=") && query.is_ascii() && !query.contains(' '),
            "{query}"
        );
        let read = Parameters::parse(query.as_bytes());
        assert_eq!(read, given);
        assert_eq!(read.all("id").collect::<Vec<_>>(), ["a b&c=\u{1b}é", ""]);
        assert_eq!(read.text("x"), Some("1"));
        assert_eq!(Parameters::default().link("rows"), "rows");
    }
}
