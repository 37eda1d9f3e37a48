//! "Did you mean …?"

use strsim::levenshtein;

/// Advice for an unknown name: the known name that it misspells, otherwise the nearest ones. `write` is
/// how a name is written.
pub(super) fn advice(name: &str, known: &[&str], write: impl Fn(&str) -> String) -> String {
    const NEAREST: usize = 3;
    if let Some(key) = nearest(name, known) {
        return format!("did you mean `{}`?", write(key));
    }
    let name = normalized(name);
    let mut names: Vec<_> = known
        .iter()
        .map(|key| {
            (
                std::cmp::Reverse(common(&name, key)),
                levenshtein(&name, key),
                *key,
            )
        })
        .collect();
    names.sort_unstable();
    let names = names.iter().take(NEAREST);
    let names: Vec<_> = names.map(|(.., key)| format!("`{}`", write(key))).collect();
    format!(
        "the nearest are {}; docs/configuration.md and --help list all",
        names.join(", ")
    )
}

/// The known name that an unknown one misspells, if any.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let name = normalized(name);
    let begins = |key: &str| name.len() >= 3 && key.starts_with(&format!("{name}_"));
    known
        .iter()
        .map(|key| (levenshtein(&name, key), *key))
        .filter(|(distance, key)| distance * 3 <= key.len() || begins(key))
        .min()
        .map(|(_, key)| key)
}

fn normalized(name: &str) -> String {
    name.to_lowercase().replace('-', "_")
}

/// The number of words that two names have in common.
fn common(name: &str, key: &str) -> usize {
    let words = name.split('_').filter(|word| word.len() > 2);
    words
        .filter(|word| key.split('_').any(|other| other == *word))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Vec<&'static str> {
        let keys = crate::config::settings::KEYS.iter().map(|key| key.name);
        keys.chain(["subscription"]).collect()
    }

    #[test]
    fn a_misspelt_name_finds_its_key() {
        for (written, meant) in [
            ("chunk_sise", "chunk_size"),
            ("chunk-size", "chunk_size"),
            ("CHUNKSIZE", "chunk_size"),
            ("databse_url", "database_url"),
            ("log", "log_level"),
            ("leas", "lease"),
            ("subscriptions", "subscription"),
        ] {
            let found = nearest(written, &known());
            assert!(
                found.is_some_and(|key| key == meant || written == "log"),
                "{written}"
            );
        }
        assert_eq!(nearest("colour", &known()), None);
        assert_eq!(nearest("foo", &known()), None);
    }

    #[test]
    fn a_name_that_is_far_from_all_gets_the_nearest_three() {
        let advice = advice("broker_login", &known(), str::to_owned);
        assert!(advice.starts_with("the nearest are `"), "{advice}");
        assert_eq!(advice.matches('`').count(), 6, "{advice}");
        assert!(advice.contains("`broker`"), "{advice}");
    }
}
