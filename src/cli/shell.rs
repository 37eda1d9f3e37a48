//! Words of a command line as a shell reads them.

use crate::terminal::is_unsafe;

/// A command, word by word.
#[derive(Debug, Clone)]
pub(super) struct CommandLine(String);

impl CommandLine {
    pub(super) fn new(program: &str) -> Self {
        Self(program.to_owned())
    }

    /// Adds a word as it is.
    pub(super) fn word(mut self, word: &str) -> Self {
        self.0.push(' ');
        self.0.push_str(&quoted(word));
        self
    }

    /// Adds a flag with its value, if there is one.
    pub(super) fn flag(self, flag: &str, value: Option<impl AsRef<str>>) -> Self {
        match value {
            // With `=`, a value that begins with a hyphen is no flag.
            Some(value) if value.as_ref().starts_with('-') => {
                self.word(&format!("{flag}={}", value.as_ref()))
            }
            Some(value) => self.word(flag).word(value.as_ref()),
            None => self,
        }
    }
}

impl std::fmt::Display for CommandLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A word that a shell reads as this text. Control characters are written as `$'\u001b'`, which bash, zsh and ksh
/// know.
fn quoted(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=,@%+~".contains(&byte);
    if !text.is_empty() && !text.starts_with('~') && text.bytes().all(is_plain) {
        return text.to_owned();
    }
    if !text.contains(is_unsafe) {
        return format!("'{}'", text.replace('\'', r"'\''"));
    }
    let escaped: String = text
        .chars()
        .map(|character| match character {
            '\'' | '\\' => format!("\\{character}"),
            // All of them are below U+10000.
            _ if is_unsafe(character) => format!("\\u{:04x}", u32::from(character)),
            _ => character.to_string(),
        })
        .collect();
    format!("$'{escaped}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_the_words_back() {
        let words = [
            "",
            "a b",
            "it's",
            "$x `y`",
            "~",
            "\\",
            "\u{1b}[2J'\\x",
            "-é",
        ];
        let command = words.iter().fold(CommandLine::new("printf"), |line, word| {
            if line.0 == "printf" {
                return line.word("%s\\0").word(word);
            }
            line.word(word)
        });
        assert!(!command.to_string().contains(is_unsafe), "{command}");
        let output = std::process::Command::new("bash")
            .env("LC_ALL", "C.UTF-8")
            .args(["-c", &command.to_string()])
            .output()
            .unwrap();
        let read = String::from_utf8(output.stdout).unwrap();
        let read: Vec<&str> = read.split_terminator('\0').collect();
        assert_eq!(read, words);
    }

    #[test]
    fn a_value_is_no_flag() {
        let line = CommandLine::new("outbox")
            .flag("--key", Some("--all"))
            .flag("--to", Some("/queue/a"))
            .flag("--error", None::<&str>);
        assert_eq!(line.to_string(), "outbox --key=--all --to /queue/a");
    }
}
