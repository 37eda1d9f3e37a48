//! The users of the pages, with the hashes of their passwords.

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};

/// Maximum number of characters of a name.
const LONGEST_NAME: usize = 40;

/// Why users could not be read, or a password not be hashed. It contains no hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UsersError {
    /// There is no user.
    #[error("there is no user: write `name:hash`, as `outbox hash-password` prints it")]
    None,
    /// A user is not `name:hash`.
    #[error("user {number} has no `:` between the name and the hash")]
    Form {
        /// The user's place in the list, from 1.
        number: usize,
    },
    /// A name is empty, too long or has other characters than the allowed ones.
    #[error("the name of a user is not 1 to {LONGEST_NAME} letters, digits, `-`, `_`, `.` and `@`")]
    Name,
    /// A hash is not one of Argon2.
    #[error(
        "the hash of the user `{name}` is not one of Argon2 such as $argon2id$v=19$m=…: make it with \
         `outbox hash-password {name}`; in a shell or a Compose file, `$` needs quotes or `$$`"
    )]
    Hash {
        /// The user's name.
        name: String,
    },
    /// Two users have the same name.
    #[error("two users have the name `{name}`")]
    Twice {
        /// The name.
        name: String,
    },
    /// A password is empty.
    #[error("the password is empty")]
    NoPassword,
    /// The system has no random numbers, or no memory for the hash.
    #[error("the password could not be hashed: {0}")]
    NotHashed(String),
}

/// The users with the hashes of their passwords.
#[derive(Clone)]
pub(crate) struct Users(Vec<(String, PasswordHash)>);

// The hashes are never shown.
impl std::fmt::Debug for Users {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

impl Users {
    /// Parses the setting `web_users`.
    pub(crate) fn parse(text: &str) -> Result<Self, UsersError> {
        let mut users: Vec<(String, PasswordHash)> = Vec::new();
        for (number, part) in (1..).zip(text.split_whitespace()) {
            let Some((name, hash)) = part.split_once(':') else {
                return Err(UsersError::Form { number });
            };
            check_name(name)?;
            let hash = PasswordHash::new(hash).ok().filter(|hash| {
                hash.algorithm.as_str().starts_with("argon2") && hash.hash.is_some()
            });
            let name = name.to_owned();
            let Some(hash) = hash else {
                return Err(UsersError::Hash { name });
            };
            if users.iter().any(|(other, _)| *other == name) {
                return Err(UsersError::Twice { name });
            }
            users.push((name, hash));
        }
        match users.is_empty() {
            true => Err(UsersError::None),
            false => Ok(Self(users)),
        }
    }

    /// Whether this is the password of the user. It takes as long for a user that does not exist.
    pub(super) fn verify(&self, name: &str, password: &str) -> bool {
        let found = self.0.iter().find(|(known, _)| known == name);
        let Some((_, hash)) = found.or_else(|| self.0.first()) else {
            return false;
        };
        let verified = Argon2::default().verify_password(password.as_bytes(), hash);
        found.is_some() && verified.is_ok()
    }
}

/// The user as a line of the setting `web_users`: the name and an Argon2id hash of the password.
///
/// # Errors
///
/// If the name is not allowed, the password is empty, or the system has no random numbers.
///
/// ```
/// let user = diesel_outbox::web::hash_password("ann", "correct horse battery staple")?;
/// assert!(user.starts_with("ann:$argon2id$"));
/// # Ok::<(), diesel_outbox::web::UsersError>(())
/// ```
pub fn hash_password(name: &str, password: &str) -> Result<String, UsersError> {
    check_name(name)?;
    if password.is_empty() {
        return Err(UsersError::NoPassword);
    }
    let hash: Result<PasswordHash, _> = Argon2::default().hash_password(password.as_bytes());
    let hash = hash.map_err(|error| UsersError::NotHashed(error.to_string()))?;
    Ok(format!("{name}:{hash}"))
}

fn check_name(name: &str) -> Result<(), UsersError> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
    match (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(is_allowed) {
        true => Ok(()),
        false => Err(UsersError::Name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_verified_by_their_passwords() {
        let ann = hash_password("ann", "päss:word").unwrap();
        let ben = hash_password("ben", "other").unwrap();
        let users = Users::parse(&format!(" {ann}\n{ben}\n")).unwrap();
        assert!(users.verify("ann", "päss:word"));
        assert!(users.verify("ben", "other"));
        for (name, password) in [("ann", "other"), ("ben", ""), ("carl", "päss:word")] {
            assert!(!users.verify(name, password), "{name}");
        }
        assert_eq!(format!("{users:?}"), r#"["ann", "ben"]"#);
    }

    #[test]
    fn what_is_wrong_is_named_without_the_hash() {
        let hash = hash_password("ann", "x").unwrap();
        for (text, expected) in [
            ("", UsersError::None),
            ("ann", UsersError::Form { number: 1 }),
            (":$argon2id$x", UsersError::Name),
            ("a/b:x", UsersError::Name),
            (
                "ann:secret",
                UsersError::Hash {
                    name: "ann".to_owned(),
                },
            ),
            (
                "ann:$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ",
                UsersError::Hash {
                    name: "ann".to_owned(),
                },
            ),
            (
                &format!("{hash} {hash}"),
                UsersError::Twice {
                    name: "ann".to_owned(),
                },
            ),
        ] {
            let error = Users::parse(text).unwrap_err();
            assert_eq!(error, expected, "{text}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        assert_eq!(hash_password("ann", ""), Err(UsersError::NoPassword));
        assert_eq!(hash_password("a b", "x"), Err(UsersError::Name));
    }
}
