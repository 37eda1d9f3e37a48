//! How a signature is verified.

use chrono::{DateTime, Utc};
use hmac::Mac;

use super::{Documents, Fields, VERSION, feed_text, mac};
use crate::signing::canonical::NotCanonical;
use crate::signing::keys::Keys;

/// Why a row's signature is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Invalid {
    #[error("the row is not signed")]
    Unsigned,
    #[error("the signature is not of the form v1:<key id>:<due>:<64 hexadecimal digits>")]
    Form,
    #[error("the row is signed with the key `{0}`, which is not in signing_keys")]
    UnknownKey(String),
    #[error("the {part} cannot have been signed: {reason}")]
    Json {
        part: &'static str,
        #[source]
        reason: NotCanonical,
    },
    #[error(
        "the signature does not match: the row was changed after it was signed, or the signature is of \
         another row"
    )]
    Mismatch,
}

impl Keys {
    /// Verifies a row's signature in constant time, with the key that it names. Returns the signed time
    /// before which the row is not sent. `rule_gave_key`: a rule may have given the row its key after it was
    /// signed without one.
    ///
    /// Everything that is decoded or sent must be in `fields`.
    pub(crate) fn verify(
        &self,
        fields: &Fields<'_>,
        signature: Option<&str>,
        rule_gave_key: bool,
    ) -> Result<Option<DateTime<Utc>>, Invalid> {
        let written = Written::parse(signature.ok_or(Invalid::Unsigned)?)?;
        let key = self.find(written.key_id).ok_or_else(|| {
            let shown = written.key_id.chars().take(40).collect::<String>();
            Invalid::UnknownKey(shown.escape_debug().to_string())
        })?;
        let invalid = |(part, reason)| Invalid::Json { part, reason };
        let documents = Documents::of(fields).map_err(invalid)?;
        let mac = mac(key, written.due_text, fields, &documents);
        let matches = |row_key: Option<&str>| {
            let mut mac = mac.clone();
            feed_text(&mut mac, row_key);
            mac.verify_slice(&written.digest).is_ok()
        };
        if matches(fields.key) || (rule_gave_key && matches(None)) {
            Ok(written.due)
        } else {
            Err(Invalid::Mismatch)
        }
    }
}

/// The parts of a signature's text.
struct Written<'a> {
    key_id: &'a str,
    due_text: &'a str,
    due: Option<DateTime<Utc>>,
    digest: [u8; 32],
}

impl<'a> Written<'a> {
    fn parse(text: &'a str) -> Result<Self, Invalid> {
        let parts: Vec<&str> = text.split(':').collect();
        let &[VERSION, key_id, due_text, digits] = parts.as_slice() else {
            return Err(Invalid::Form);
        };
        let due = match due_text {
            "" => None,
            text => {
                let micros = text.parse().map_err(|_| Invalid::Form)?;
                Some(DateTime::from_timestamp_micros(micros).ok_or(Invalid::Form)?)
            }
        };
        let mut digest = [0; 32];
        if digits.len() != 2 * digest.len() || !digits.bytes().all(|it| it.is_ascii_hexdigit()) {
            return Err(Invalid::Form);
        }
        for (byte, at) in digest.iter_mut().zip((0..).step_by(2)) {
            let pair = digits.get(at..at + 2).ok_or(Invalid::Form)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| Invalid::Form)?;
        }
        Ok(Self {
            key_id,
            due_text,
            due,
            digest,
        })
    }
}
