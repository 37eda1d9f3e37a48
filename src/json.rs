//! Converts values to JSON and back.
//!
//! serde_json converts the f32 0.1 to the f64 0.10000000149011612 in a [`Value`](serde_json::Value), but
//! writes it as 0.1 to text. Here an f32 becomes the number of its shortest decimal text, at any place in a
//! value.

#[cfg(any(feature = "subscriber", feature = "calls"))]
mod without_values;

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};
use serde_json::{Error, Value};

#[cfg(any(feature = "subscriber", feature = "calls"))]
pub(crate) use without_values::without_values;

/// Converts a value to JSON like [`serde_json::to_value`], except for f32.
///
/// # Errors
///
/// The error of the value's `Serialize`, or if JSON cannot represent the value.
pub fn to_value<T: Serialize>(value: T) -> Result<Value, Error> {
    value.serialize(Exact(serde_json::value::Serializer))
}

/// Whether any text or name in the document holds U+0000, which jsonb cannot store.
pub(crate) fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(holds_nul),
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| name.contains('\0') || holds_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A value, or a serializer, that writes each f32 as its shortest decimal text.
struct Exact<T>(T);

impl<T: Serialize + ?Sized> Serialize for Exact<&T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(Exact(serializer))
    }
}

/// The number of an f32's shortest decimal text, as serde_json writes it. The standard library chooses
/// another text if two are equally short and near.
fn widened(value: f32) -> f64 {
    let text = serde_json::to_string(&value).unwrap_or_default();
    text.parse().unwrap_or(f64::from(value))
}

macro_rules! forward {
    ($($method:ident: $type:ty),* $(,)?) => {$(
        fn $method(self, value: $type) -> Result<S::Ok, S::Error> {
            self.0.$method(value)
        }
    )*};
}

impl<S: Serializer> Serializer for Exact<S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Exact<S::SerializeSeq>;
    type SerializeTuple = Exact<S::SerializeTuple>;
    type SerializeTupleStruct = Exact<S::SerializeTupleStruct>;
    type SerializeTupleVariant = Exact<S::SerializeTupleVariant>;
    type SerializeMap = Exact<S::SerializeMap>;
    type SerializeStruct = Exact<S::SerializeStruct>;
    type SerializeStructVariant = Exact<S::SerializeStructVariant>;

    forward! {
        serialize_bool: bool,
        serialize_i8: i8,
        serialize_i16: i16,
        serialize_i32: i32,
        serialize_i64: i64,
        serialize_i128: i128,
        serialize_u8: u8,
        serialize_u16: u16,
        serialize_u32: u32,
        serialize_u64: u64,
        serialize_u128: u128,
        serialize_f64: f64,
        serialize_char: char,
        serialize_str: &str,
        serialize_bytes: &[u8],
        serialize_unit_struct: &'static str,
    }

    fn serialize_f32(self, value: f32) -> Result<S::Ok, S::Error> {
        self.0.serialize_f64(widened(value))
    }

    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.0.serialize_none()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.0.serialize_some(&Exact(value))
    }

    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.0.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<S::Ok, S::Error> {
        self.0.serialize_unit_variant(name, index, variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.0.serialize_newtype_struct(name, &Exact(value))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.0
            .serialize_newtype_variant(name, index, variant, &Exact(value))
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        self.0.serialize_seq(length).map(Exact)
    }

    fn serialize_tuple(self, length: usize) -> Result<Self::SerializeTuple, S::Error> {
        self.0.serialize_tuple(length).map(Exact)
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        length: usize,
    ) -> Result<Self::SerializeTupleStruct, S::Error> {
        self.0.serialize_tuple_struct(name, length).map(Exact)
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        self.0
            .serialize_tuple_variant(name, index, variant, length)
            .map(Exact)
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        self.0.serialize_map(length).map(Exact)
    }

    fn serialize_struct(
        self,
        name: &'static str,
        length: usize,
    ) -> Result<Self::SerializeStruct, S::Error> {
        self.0.serialize_struct(name, length).map(Exact)
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        self.0
            .serialize_struct_variant(name, index, variant, length)
            .map(Exact)
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

/// Implements a serializer of sequences; `$method` writes one element.
macro_rules! elements {
    ($($trait:ident: $method:ident;)*) => {$(
        impl<S: $trait> $trait for Exact<S> {
            type Ok = S::Ok;
            type Error = S::Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
                self.0.$method(&Exact(value))
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.0.end()
            }
        }
    )*};
}

elements! {
    SerializeSeq: serialize_element;
    SerializeTuple: serialize_element;
    SerializeTupleStruct: serialize_field;
    SerializeTupleVariant: serialize_field;
}

/// Implements a serializer of structs.
macro_rules! fields {
    ($($trait:ident)*) => {$(
        impl<S: $trait> $trait for Exact<S> {
            type Ok = S::Ok;
            type Error = S::Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), S::Error> {
                self.0.serialize_field(key, &Exact(value))
            }

            fn skip_field(&mut self, key: &'static str) -> Result<(), S::Error> {
                self.0.skip_field(key)
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.0.end()
            }
        }
    )*};
}

fields! { SerializeStruct SerializeStructVariant }

impl<S: SerializeMap> SerializeMap for Exact<S> {
    type Ok = S::Ok;
    type Error = S::Error;

    // Unchanged: JSON writes a key as text, also if it is an f32.
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), S::Error> {
        self.0.serialize_key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        self.0.serialize_value(&Exact(value))
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.0.end()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Serialize};
    use serde_json::json;

    use super::*;

    #[derive(Serialize)]
    enum Shape {
        Unit,
        New(f32),
        Tuple(f32, f32),
        Struct { a: f32 },
    }

    #[derive(Serialize)]
    struct Pair(f32, f32);

    #[derive(Serialize)]
    struct All {
        plain: f32,
        some: Option<f32>,
        list: Vec<f32>,
        tuple: (f32, f64),
        pair: Pair,
        map: BTreeMap<String, f32>,
        shapes: [Shape; 4],
        nested: Vec<Option<BTreeMap<u8, f32>>>,
        #[serde(flatten)]
        rest: BTreeMap<String, f32>,
    }

    #[test]
    fn an_f32_is_its_shortest_text_wherever_it_is() {
        let all = All {
            plain: 0.1,
            some: Some(0.2),
            list: vec![0.3, 1e20, -0.0],
            tuple: (0.4, 0.1),
            pair: Pair(0.5, 0.6),
            map: BTreeMap::from([("a".to_owned(), 0.7)]),
            shapes: [
                Shape::Unit,
                Shape::New(0.8),
                Shape::Tuple(0.9, 1.1),
                Shape::Struct { a: 1.2 },
            ],
            nested: vec![None, Some(BTreeMap::from([(1, 1.3)]))],
            rest: BTreeMap::from([("rest".to_owned(), 16_777_216.0)]),
        };
        let text: Value = serde_json::from_str(&serde_json::to_string(&all).unwrap()).unwrap();
        assert_eq!(to_value(&all).unwrap(), text);
        assert_eq!(to_value(0.1_f32).unwrap(), json!(0.1));
        assert_eq!(to_value(f32::NAN).unwrap(), Value::Null);
        assert_eq!(
            to_value(u128::MAX).unwrap_err().to_string(),
            "number out of range"
        );
    }

    #[test]
    fn every_f32_is_as_serde_json_writes_it() {
        for bits in (0..=u32::MAX).step_by(1_000_003) {
            let number = f32::from_bits(bits);
            let expected = serde_json::to_string(&number).unwrap();
            let written = to_value(number).unwrap().to_string();
            // The notations differ: 1e-6 and 0.000001.
            let read = |text: &str| text.parse::<f64>().ok();
            assert_eq!(read(&written), read(&expected), "{number}");
        }
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Order {
        id: i32,
        kind: Kind,
    }

    #[derive(Debug, Deserialize)]
    enum Kind {
        Sale,
    }

    #[test]
    fn no_value_of_a_document_is_in_a_message() {
        for (document, expected) in [
            (
                r#"{"id": "secret, expected secret"}"#,
                "invalid type: string, expected i32 at line 1 column ",
            ),
            (
                r#"{"id": 4000000000}"#,
                "invalid value: integer, expected i32",
            ),
            (
                r#"{"id": 1, "kind": "secret"}"#,
                "unknown variant, expected `Sale`",
            ),
            (r#"{"secret": 1}"#, "unknown field, expected `id` or `kind`"),
            (r#"{"id": 1}"#, "missing field `kind`"),
            (r#"{"id": secret}"#, "expected value at line 1 column"),
            (r#"{"id": 1"#, "EOF while parsing an object"),
        ] {
            let error = serde_json::from_str::<Order>(document).unwrap_err();
            let shown = without_values(&error);
            assert!(shown.starts_with(expected), "{shown}");
            assert!(
                !shown.contains("secret") && !shown.contains("4000"),
                "{shown}"
            );
        }
        let error: Error = serde::ser::Error::custom("secret");
        assert_eq!(without_values(&error), "the value does not fit");
    }

    #[test]
    fn a_nul_is_found_at_any_depth() {
        assert!(holds_nul(&json!({"a": [{"b": "x\0"}]})));
        assert!(holds_nul(&json!({"a\0": 1})));
        assert!(!holds_nul(&json!({"a": [{"b": "\\u0000"}]})));
    }
}
