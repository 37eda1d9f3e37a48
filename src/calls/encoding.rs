//! How the arguments of a call are stored.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::call::Call;
use super::error::DecodeError;
use crate::column_widths::ENCODING as LONGEST_NAME;
use crate::error::BoxError;
use crate::json;

/// The name of [`Encoding::JSON`] in the table.
const JSON: &str = "json";

/// How the arguments of a call of the type `T` are stored: [`Encoding::JSON`], or a [`Codec`].
pub struct Encoding<T> {
    name: &'static str,
    encode: fn(&T) -> Result<Stored, BoxError>,
    decode: fn(&[u8]) -> Result<T, BoxError>,
}

/// A format for arguments, other than JSON, which is stored as bytes in the column `payload`.
///
/// ```
/// use diesel_outbox::BoxError;
/// use diesel_outbox::calls::{Call, Codec, Encoding};
/// use serde::de::DeserializeOwned;
/// use serde::{Deserialize, Serialize};
///
/// /// JSON in reverse.
/// struct Reversed;
///
/// impl Codec for Reversed {
///     const NAME: &'static str = "reversed";
///
///     fn encode<T: Serialize>(arguments: &T) -> Result<Vec<u8>, BoxError> {
///         let mut bytes = serde_json::to_vec(arguments)?;
///         bytes.reverse();
///         Ok(bytes)
///     }
///
///     fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BoxError> {
///         let bytes: Vec<u8> = bytes.iter().rev().copied().collect();
///         Ok(serde_json::from_slice(&bytes)?)
///     }
/// }
///
/// #[derive(Serialize, Deserialize)]
/// struct Charge {
///     order: i64,
/// }
///
/// impl Call for Charge {
///     const NAME: &'static str = "shop.charge";
///     const ENCODING: Encoding<Self> = Encoding::of::<Reversed>();
/// }
/// ```
pub trait Codec {
    /// The name in the column `encoding`: 1 to 40 bytes, and not `json`.
    const NAME: &'static str;

    /// Encodes arguments.
    ///
    /// # Errors
    ///
    /// If the format cannot represent them.
    fn encode<T: Serialize>(arguments: &T) -> Result<Vec<u8>, BoxError>;

    /// Decodes arguments.
    ///
    /// # Errors
    ///
    /// If the bytes are not in this format, or do not have the form of `T`.
    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BoxError>;
}

/// MessagePack, with the names of the parameters.
#[cfg(feature = "msgpack")]
#[derive(Debug, Clone, Copy)]
pub struct MessagePack;

#[cfg(feature = "msgpack")]
impl Codec for MessagePack {
    const NAME: &'static str = "msgpack";

    fn encode<T: Serialize>(arguments: &T) -> Result<Vec<u8>, BoxError> {
        Ok(rmp_serde::to_vec_named(arguments)?)
    }

    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BoxError> {
        Ok(rmp_serde::from_slice(bytes)?)
    }
}

/// Encoded arguments, by their column.
#[derive(Debug, Clone)]
pub(crate) enum Stored {
    Args(Value),
    Payload(Vec<u8>),
}

impl<T: Serialize + DeserializeOwned> Encoding<T> {
    /// A JSON object in the column `args`: the default. A NaN or an infinity becomes `null`.
    pub const JSON: Self = Self {
        name: JSON,
        encode: |arguments| Ok(Stored::Args(json::to_value(arguments)?)),
        decode: |bytes| Ok(serde_json::from_slice(bytes)?),
    };

    /// The format of a codec. A name that its column cannot hold is a compile error.
    #[must_use]
    pub const fn of<E: Codec>() -> Self {
        assert!(
            !E::NAME.is_empty() && E::NAME.len() <= LONGEST_NAME,
            "the name of a codec has 1 to 40 bytes"
        );
        assert!(
            !matches!(E::NAME.as_bytes(), b"json"),
            "`json` is the name of `Encoding::JSON`"
        );
        Self {
            name: E::NAME,
            encode: |arguments| Ok(Stored::Payload(E::encode(arguments)?)),
            decode: |bytes| E::decode(bytes),
        }
    }
}

impl<T> Encoding<T> {
    /// The name in the column `encoding`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn encode(&self, arguments: &T) -> Result<Stored, BoxError> {
        (self.encode)(arguments)
    }
}

impl<T> Clone for Encoding<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Encoding<T> {}

impl<T> fmt::Debug for Encoding<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Encoding").field(&self.name).finish()
    }
}

/// Decodes the arguments of a row from its columns `encoding`, `args` and `payload`.
///
/// Rows in JSON, and with the feature `msgpack` those in MessagePack, are read whatever the encoding of the
/// function is, so that it can be changed while rows wait.
///
/// # Errors
///
/// If the encoding is unknown, or the arguments do not have the form of `T`.
pub fn decode<T: Call>(
    encoding: &str,
    args: Option<&str>,
    payload: Option<&[u8]>,
) -> Result<T, DecodeError> {
    let of_call = T::ENCODING;
    let (encoding, bytes, decode) = match encoding {
        JSON => (JSON, args.map(str::as_bytes), Encoding::<T>::JSON.decode),
        name if name == of_call.name => (of_call.name, payload, of_call.decode),
        #[cfg(feature = "msgpack")]
        MessagePack::NAME => {
            let encoding = Encoding::of::<MessagePack>();
            (encoding.name, payload, encoding.decode)
        }
        other => return Err(DecodeError::UnknownEncoding(other.to_owned())),
    };
    let bytes = bytes.ok_or(DecodeError::Missing(encoding))?;
    decode(bytes).map_err(|source| DecodeError::Decode { encoding, source })
}
