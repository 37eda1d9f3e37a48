//! Reading a server's error text without the values that it quotes.

/// The text in lower case, with what is between `quotes` cut out; after a quote that is not closed
/// nothing is left. An apostrophe within a word is none. So a message's own words are never taken for the server's.
pub(super) fn skeleton(text: &str, quotes: &[(char, char)]) -> String {
    let mut skeleton = String::with_capacity(text.len());
    let mut rest = text.chars();
    let mut is_word = false;
    while let Some(letter) = rest.next() {
        skeleton.extend(letter.to_lowercase());
        let quote = quotes
            .iter()
            .find(|(begin, _)| *begin == letter && !is_word);
        is_word = letter.is_alphanumeric();
        let Some((_, end)) = quote else { continue };
        if !rest.any(|other| other == *end) {
            break;
        }
        skeleton.push(*end);
    }
    skeleton
}

/// Whether the skeleton begins with one of these.
pub(super) fn begins(skeleton: &str, with: &[&str]) -> bool {
    with.iter().any(|start| skeleton.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_values_are_cut_out() {
        let quotes = [('"', '"'), ('«', '»'), ('»', '«'), ('\'', '\'')];
        for (text, expected) in [
            (
                r#"Invalid input: "Deadlock detected""#,
                r#"invalid input: """#,
            ),
            ("konnte Datei »base/1« nicht", "konnte datei »« nicht"),
            ("« a » b", "«» b"),
            (r#"a "never closed"#, r#"a ""#),
            ("Can't open 'it'", "can't open ''"),
        ] {
            assert_eq!(skeleton(text, &quotes), expected);
        }
    }
}
