//! HTTP Basic and Bearer authentication: RFC 7617, RFC 6750.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use rand::Rng as _;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::attempts::Attempts;
use super::{User, Users};

/// The user of the random password.
const RANDOM_USER: &str = "outbox";
/// Characters of the random password.
const RANDOM_LENGTH: usize = 24;
/// Passwords that are verified at the same time: each takes 19 MiB and some processor time.
const VERIFICATIONS: usize = 2;
/// Logins that are remembered, so that a password is not hashed for each request.
const REMEMBERED: usize = 1_000;

/// A digest of a text with a key of this process.
type Digest = [u8; 32];

/// Checks the credentials of requests.
pub(in crate::web) struct Login {
    users: Option<Arc<Users>>,
    /// The digests of tokens and of the random password, with the names of their users.
    secrets: Vec<(Digest, String)>,
    key: [u8; 32],
    /// The digests of credentials that were verified, with the names of their users.
    verified: Mutex<HashMap<Digest, String>>,
    attempts: Attempts,
    places: Arc<Semaphore>,
}

// It contains secrets.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("users", &self.users)
            .finish_non_exhaustive()
    }
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::web) enum Denied {
    /// It has no credentials.
    Missing,
    /// Its credentials are wrong.
    Wrong,
    /// Its address has failed too often and has to wait.
    Slow(Duration),
}

/// The credentials of a request.
enum Credentials {
    Basic { name: String, password: String },
    Bearer(String),
}

impl Login {
    /// Users with passwords, and tokens as in the setting `web_tokens`.
    pub(in crate::web) fn new(users: Option<Users>, tokens: Option<&str>) -> Self {
        let mut login = Self {
            users: users.map(Arc::new),
            secrets: Vec::new(),
            key: rand::rng().random(),
            verified: Mutex::default(),
            attempts: Attempts::default(),
            places: Arc::new(Semaphore::new(VERIFICATIONS)),
        };
        let parts = tokens.unwrap_or_default();
        let parts = parts.split([',', ' ', '\t', '\r', '\n']);
        for (name, token) in parts.filter_map(|part| part.split_once(':')) {
            let digest = login.digest(&bearer(token));
            login.secrets.push((digest, name.to_owned()));
        }
        login
    }

    /// One user with a random password. Returns the name and the password.
    pub(in crate::web) fn random() -> (Self, String, String) {
        // 0, O, 1, l and I look alike.
        const CHARACTERS: &[u8] = b"abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
        let mut random = rand::rng();
        let characters = (0..RANDOM_LENGTH).map(|_| {
            let at = random.random_range(0..CHARACTERS.len());
            char::from(CHARACTERS[at])
        });
        let password: String = characters.collect();
        let mut login = Self::new(None, None);
        let digest = login.digest(&basic(RANDOM_USER, &password));
        login.secrets.push((digest, RANDOM_USER.to_owned()));
        (login, RANDOM_USER.to_owned(), password)
    }

    /// The user of a request.
    pub(in crate::web) async fn user(
        &self,
        headers: &HeaderMap,
        address: Option<IpAddr>,
    ) -> Result<User, Denied> {
        let header = headers.get(AUTHORIZATION).ok_or(Denied::Missing)?;
        let credentials = header.to_str().ok().and_then(parse);
        let text = match &credentials {
            Some(Credentials::Basic { name, password }) => basic(name, password),
            Some(Credentials::Bearer(token)) => bearer(token),
            None => String::new(),
        };
        let digest = self.digest(&text);
        // Somebody who has logged in does not wait for the failures of others at the same address.
        if let Some(name) = self.known(&digest) {
            return Ok(User(name));
        }
        self.check_pause(address)?;
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
            return Err(Denied::Wrong);
        };
        // Once more: attempts at the same time have waited for the places together.
        self.check_pause(address)?;
        // Counted first: the client may close the connection before the end.
        self.attempts.failed(address, Instant::now());
        if let Some(Credentials::Basic { name, password }) = credentials
            && self.verify(&name, password, place).await
        {
            self.attempts.succeeded(address);
            self.remember(digest, &name);
            return Ok(User(name));
        }
        Err(Denied::Wrong)
    }

    /// The user of these credentials, if they are a secret or were verified before.
    fn known(&self, digest: &Digest) -> Option<String> {
        let mut found = None;
        // All of them are compared, each in the same time.
        for (secret, name) in &self.secrets {
            if bool::from(secret.ct_eq(digest)) {
                found = Some(name);
            }
        }
        let verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        // The key is random: the time of the look-up says nothing about a password.
        found.or_else(|| verified.get(digest)).cloned()
    }

    fn check_pause(&self, address: Option<IpAddr>) -> Result<(), Denied> {
        let pause = self.attempts.pause(address, Instant::now());
        match pause.is_zero() {
            true => Ok(()),
            false => Err(Denied::Slow(pause)),
        }
    }

    /// The place is free again when the password was hashed, even if nobody waits for the result any more.
    async fn verify(&self, name: &str, password: String, place: OwnedSemaphorePermit) -> bool {
        let Some(users) = self.users.clone() else {
            return false;
        };
        let name = name.to_owned();
        let verified = tokio::task::spawn_blocking(move || {
            let verified = users.verify(&name, &password);
            drop(place);
            verified
        });
        verified.await.unwrap_or(false)
    }

    fn remember(&self, digest: Digest, name: &str) {
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.len() >= REMEMBERED {
            verified.clear();
        }
        verified.insert(digest, name.to_owned());
    }

    fn digest(&self, text: &str) -> Digest {
        digest(&self.key, &[text])
    }
}

fn basic(name: &str, password: &str) -> String {
    format!("basic {name}:{password}")
}

fn bearer(token: &str) -> String {
    format!("bearer {token}")
}

/// HMAC-SHA256 of some texts.
pub(in crate::web) fn digest(key: &[u8; 32], texts: &[&str]) -> Digest {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        // Every length of a key is allowed.
        return [0; 32];
    };
    for text in texts {
        mac.update(&(text.len() as u64).to_be_bytes());
        mac.update(text.as_bytes());
    }
    mac.finalize().into_bytes().into()
}

fn parse(header: &str) -> Option<Credentials> {
    let (scheme, value) = header.split_once(' ')?;
    let value = value.trim();
    match scheme.to_ascii_lowercase().as_str() {
        "basic" => {
            let decoded = String::from_utf8(STANDARD.decode(value).ok()?).ok()?;
            let (name, password) = decoded.split_once(':')?;
            Some(Credentials::Basic {
                name: name.to_owned(),
                password: password.to_owned(),
            })
        }
        "bearer" => Some(Credentials::Bearer(value.to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::hash_password;
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().unwrap());
        headers
    }

    fn basic_header(user: &str) -> HeaderMap {
        headers(&format!("Basic {}", STANDARD.encode(user)))
    }

    #[tokio::test]
    async fn users_and_tokens_are_let_in_and_nobody_else() {
        let users = Users::parse(&hash_password("ann", "a:b").unwrap()).unwrap();
        let login = Login::new(Some(users), Some("ci:0123456789abcdef"));
        let user = async |headers: HeaderMap| login.user(&headers, None).await;
        assert_eq!(
            user(basic_header("ann:a:b")).await,
            Ok(User("ann".to_owned()))
        );
        let token = headers("bearer 0123456789abcdef");
        assert_eq!(user(token).await, Ok(User("ci".to_owned())));
        assert_eq!(user(HeaderMap::new()).await, Err(Denied::Missing));
        for wrong in [
            basic_header("ann:a"),
            basic_header("ci:0123456789abcdef"),
            basic_header("ann"),
            headers("Basic ???"),
            headers("Bearer a:b"),
        ] {
            assert_eq!(user(wrong.clone()).await, Err(Denied::Wrong), "{wrong:?}");
        }
        // The sixth failure begins a pause, which ends nobody's session.
        assert_eq!(user(basic_header("ann:x")).await, Err(Denied::Wrong));
        let slow = user(basic_header("ann:y")).await;
        assert!(matches!(slow, Err(Denied::Slow(_))), "{slow:?}");
        assert_eq!(
            user(basic_header("ann:a:b")).await,
            Ok(User("ann".to_owned()))
        );
    }

    #[tokio::test]
    async fn a_random_password_is_one_of_its_process() {
        let (login, name, password) = Login::random();
        assert_eq!(password.len(), RANDOM_LENGTH);
        let header = basic_header(&format!("{name}:{password}"));
        assert_eq!(login.user(&header, None).await, Ok(User(name)));
        assert_eq!(
            Login::random().0.user(&header, None).await,
            Err(Denied::Wrong)
        );
        assert!(!format!("{login:?}").contains(&password));
    }
}
