//! The tokens of leases: each names its holder and the time of its claim.

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// The bytes of a token that name its holder.
const HOLDER: std::ops::Range<usize> = 10..16;

/// A relay or an executor of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holder([u8; 6]);

/// A holder with a random name.
impl Default for Holder {
    fn default() -> Self {
        let mut name = [0; 6];
        name.copy_from_slice(&Uuid::new_v4().as_bytes()[HOLDER]);
        Self(name)
    }
}

impl Holder {
    /// A new token: a UUIDv7 of the present time that ends with the holder's name. Between them is a number that no
    /// other of the last 16 million tokens of this process has.
    #[cfg(feature = "relay")]
    pub(crate) fn token(self) -> Uuid {
        use std::sync::atomic::{AtomicU32, Ordering};

        static NEXT: AtomicU32 = AtomicU32::new(0);
        let [_, high, middle, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let mut bytes = [0; 10];
        // RFC 9562, section 5.7: 4 bits of the version, and 2 of the variant in the third byte, are not ours.
        bytes[..4].copy_from_slice(&[high & 0x0f, middle, high >> 4 & 0x0f, low]);
        bytes[4..].copy_from_slice(&self.0);
        let now = Utc::now().timestamp_millis();
        let now = u64::try_from(now).unwrap_or_default();
        uuid::Builder::from_unix_timestamp_millis(now, &bytes).into_uuid()
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The holder of a token and the time of its claim by the holder's clock; `None` if the token does not contain them.
pub(crate) fn origin(token: &str) -> Option<(String, DateTime<Utc>)> {
    let token = Uuid::parse_str(token).ok()?;
    let (seconds, nanoseconds) = (token.get_version_num() == 7)
        .then(|| token.get_timestamp())??
        .to_unix();
    let claimed = DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanoseconds)?;
    let mut name = [0; 6];
    name.copy_from_slice(&token.as_bytes()[HOLDER]);
    Some((Holder(name).to_string(), claimed))
}

#[cfg(all(test, feature = "relay"))]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_token_names_its_holder_and_its_time() {
        let (holder, other) = (Holder::default(), Holder::default());
        let tokens: HashSet<Uuid> = (0..100_000).map(|_| holder.token()).collect();
        assert_eq!(tokens.len(), 100_000);
        let before = Utc::now();
        let (name, claimed) = origin(&holder.token().to_string()).unwrap();
        assert_eq!(name, holder.to_string());
        assert_eq!(name.len(), 12);
        assert!((claimed - before).num_seconds().abs() < 5, "{claimed}");
        assert_ne!(origin(&other.token().to_string()).unwrap().0, name);
        for unknown in [Uuid::new_v4().to_string(), "no token".to_owned()] {
            assert_eq!(origin(&unknown), None);
        }
    }
}
