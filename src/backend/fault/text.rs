//! Reads a server's error text without the values that it quotes.

/// The text in lower case, without what is between `quotes`; after a quote that is not closed
/// nothing is left. So a message's content is never taken for the server's text. An apostrophe within a word
/// is not a quote; in scripts without case, a quote needs no space before it.
pub(crate) fn skeleton(text: &str, quotes: &[(char, char)]) -> String {
    let mut skeleton = String::with_capacity(text.len());
    let mut rest = text.chars();
    let mut is_word = false;
    while let Some(character) = rest.next() {
        skeleton.extend(character.to_lowercase());
        let quote = quotes
            .iter()
            .find(|(begin, _)| *begin == character && !(is_word && character == '\''));
        is_word = character.is_lowercase() || character.is_uppercase() || character.is_numeric();
        let Some((_, end)) = quote else { continue };
        if !rest.any(|other| other == *end) {
            break;
        }
        skeleton.push(*end);
    }
    skeleton
}

/// Whether the skeleton begins with one of these.
pub(crate) fn begins(skeleton: &str, with: &[&str]) -> bool {
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
            (
                r#"ファイル"base/1"を拡張できませんでした"#,
                r#"ファイル""を拡張できませんでした"#,
            ),
            ("未知数据库'd'", "未知数据库''"),
        ] {
            assert_eq!(skeleton(text, &quotes), expected);
        }
    }
}
