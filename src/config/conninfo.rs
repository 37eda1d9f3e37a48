//! libpq's keyword form of an address: `host=db user=app password='a b'`. PostgreSQL, chapter
//! "Connection Strings".

/// Whether a text without a scheme has the keyword form, even with mistakes: what looks like `name=value`
/// may contain a password.
pub(crate) fn is_keyword_form(text: &str) -> bool {
    let begins_with_a_name = |text: &str| {
        let end =
            text.find(|character: char| !character.is_ascii_alphanumeric() && character != '_');
        end.is_some_and(|end| end > 0 && text[end..].trim_start().starts_with('='))
    };
    let mut words = text.split_whitespace();
    begins_with_a_name(text.trim_start()) || words.any(begins_with_a_name)
}

/// The parameters; `None` if libpq would refuse the text.
pub(crate) fn parameters(text: &str) -> Option<Vec<(&str, String)>> {
    let mut rest = text.trim_start();
    let mut found = Vec::new();
    while !rest.is_empty() {
        let end =
            rest.find(|character: char| character == '=' || character.is_ascii_whitespace())?;
        let (name, behind) = rest.split_at(end);
        let behind = behind.trim_start().strip_prefix('=')?.trim_start();
        let (value, behind) = value(behind)?;
        let fits = |character: char| character.is_ascii_alphanumeric() || character == '_';
        if name.is_empty() || !name.chars().all(fits) {
            return None;
        }
        found.push((name, value));
        rest = behind.trim_start();
    }
    Some(found)
}

/// A value and the rest of the text; `None` if its quote is not closed.
fn value(text: &str) -> Option<(String, &str)> {
    let (is_quoted, text) = match text.strip_prefix('\'') {
        Some(text) => (true, text),
        None => (false, text),
    };
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, character)| character)),
            '\'' if is_quoted => return Some((value, &text[at + 1..])),
            space if !is_quoted && space.is_ascii_whitespace() => {
                return Some((value, &text[at..]));
            }
            other => value.push(other),
        }
    }
    (!is_quoted).then_some((value, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_libpq_reads_them() {
        let read = |text: &str| {
            let found = parameters(text)?;
            let join = |(name, value): (&str, String)| format!("{name}<{value}>");
            Some(found.into_iter().map(join).collect::<Vec<_>>().join(" "))
        };
        for (text, expected) in [
            ("host=db user=app", "host<db> user<app>"),
            (
                r"password = 'it\'s \\ x' host=",
                r"password<it's \ x> host<>",
            ),
            (r"password=a\ b host=h", "password<a b> host<h>"),
            ("options='-c a:b'", "options<-c a:b>"),
            ("", ""),
        ] {
            assert_eq!(read(text).as_deref(), Some(expected), "{text}");
        }
        for text in ["host", "host db", "a='x", "=x", "a b=c", "a-b=c"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_path_is_not_the_keyword_form() {
        for text in [
            "host=db",
            " password = x",
            "host db user=app",
            "pasword='x:y' host=db",
        ] {
            assert!(is_keyword_form(text), "{text}");
        }
        for text in ["shop.db", "./a=b.db", "/var/lib/a=b.db", "a b.db", "=", ""] {
            assert!(!is_keyword_form(text), "{text}");
        }
    }
}
