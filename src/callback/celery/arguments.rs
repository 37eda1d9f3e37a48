//! Positional and keyword arguments for a type of the caller's, as Python passes them to a function.
//!
//! The errors are serde's own kinds: a dead letter keeps of those what is not a value of the message.

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{Deserializer, Error as _, Unexpected, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Map, Value};

/// The arguments of one task.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Arguments {
    pub(super) args: Vec<Value>,
    pub(super) kwargs: Map<String, Value>,
}

impl Arguments {
    /// Positional arguments only.
    fn sequence<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if !self.kwargs.is_empty() {
            let expected = "positional arguments only; a struct gets keyword arguments too";
            return Err(Error::invalid_type(Unexpected::Map, &expected));
        }
        let mut items = SeqDeserializer::new(self.args.into_iter());
        let value = visitor.visit_seq(&mut items)?;
        items.end()?;
        Ok(value)
    }

    /// Keyword arguments only.
    fn map<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if !self.args.is_empty() {
            let expected = "keyword arguments only; a struct gets positional arguments too";
            return Err(Error::invalid_type(Unexpected::Seq, &expected));
        }
        let mut members = MapDeserializer::new(self.kwargs.into_iter());
        let value = visitor.visit_map(&mut members)?;
        members.end()?;
        Ok(value)
    }

    /// All arguments by their names, which are the fields in their order.
    fn named(self, fields: &'static [&'static str]) -> Result<Map<String, Value>, Error> {
        let (given, limit) = (self.args.len(), fields.len());
        if given > limit {
            let expected = format!("at most {limit} positional arguments");
            return Err(Error::invalid_length(given, &expected.as_str()));
        }
        let mut named = self.kwargs;
        if let Some(name) = named.keys().find(|name| !fields.contains(&name.as_str())) {
            return Err(Error::unknown_field(name, fields));
        }
        for (field, value) in fields.iter().zip(self.args) {
            if named.insert((*field).to_owned(), value).is_some() {
                return Err(Error::duplicate_field(field));
            }
        }
        Ok(named)
    }
}

impl<'de> Deserializer<'de> for Arguments {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        Value::Object(self.named(fields)?).deserialize_struct(name, fields, visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.sequence(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.sequence(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.sequence(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.map(visitor)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.named(&[])?;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.kwargs.is_empty() {
            self.sequence(visitor)
        } else {
            self.map(visitor)
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option enum
        identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde::de::DeserializeOwned;
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Charge {
        order: i32,
        amount: String,
        currency: Option<String>,
        #[serde(default, rename = "retry-after")]
        retry_after: u32,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Whole(Charge);

    #[derive(Debug, Deserialize)]
    struct Aliased {
        #[serde(alias = "number")]
        #[expect(dead_code, reason = "only its name counts")]
        order: i32,
        #[expect(dead_code, reason = "only its name counts")]
        amount: i32,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Flat {
        #[serde(flatten)]
        all: BTreeMap<String, i32>,
    }

    fn bound<T: DeserializeOwned>(args: Value, kwargs: Value) -> Result<T, String> {
        let (Value::Array(args), Value::Object(kwargs)) = (args, kwargs) else {
            panic!("an array and an object")
        };
        T::deserialize(Arguments { args, kwargs }).map_err(|error| error.to_string())
    }

    fn charge(currency: Option<&str>, retry_after: u32) -> Charge {
        Charge {
            order: 7,
            amount: "12.50".to_owned(),
            currency: currency.map(str::to_owned),
            retry_after,
        }
    }

    #[test]
    fn a_struct_is_bound_as_a_function_of_python() {
        for (args, kwargs) in [
            (json!([7, "12.50", "eur"]), json!({})),
            (json!([7, "12.50"]), json!({"currency": "eur"})),
            (
                json!([]),
                json!({"currency": "eur", "amount": "12.50", "order": 7}),
            ),
        ] {
            assert_eq!(bound(args, kwargs), Ok(charge(Some("eur"), 0)));
        }
        assert_eq!(bound(json!([7, "12.50"]), json!({})), Ok(charge(None, 0)));
        assert_eq!(
            bound(json!([7, "12.50"]), json!({"retry-after": 3})),
            Ok(Whole(charge(None, 3)))
        );
    }

    #[test]
    fn mistakes_are_those_of_python() {
        for (args, kwargs, expected) in [
            (
                json!([1, "2", "3", 4, 5]),
                json!({}),
                "invalid length 5, expected at most 4 positional",
            ),
            (json!([7]), json!({"order": 7}), "duplicate field `order`"),
            (
                json!([7]),
                json!({"x": 7}),
                "unknown field `x`, expected one of `order`",
            ),
            (json!([7]), json!({}), "missing field `amount`"),
            (json!(["7", "1"]), json!({}), "invalid type: string \"7\""),
        ] {
            let error = bound::<Charge>(args, kwargs).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let error = bound::<Aliased>(json!([1, 2]), json!({})).unwrap_err();
        assert!(error.contains("duplicate field"), "{error}");
    }

    #[test]
    fn other_types_get_one_kind_of_arguments() {
        assert_eq!(bound(json!([1, "a"]), json!({})), Ok((1, "a".to_owned())));
        assert_eq!(bound(json!([1, 2]), json!({})), Ok(vec![1, 2]));
        let map = BTreeMap::from([("a".to_owned(), 1)]);
        assert_eq!(bound(json!([]), json!({"a": 1})), Ok(map.clone()));
        assert_eq!(bound(json!([]), json!({"a": 1})), Ok(Flat { all: map }));
        assert_eq!(bound(json!([]), json!({})), Ok(()));
        assert_eq!(bound(json!([1]), json!({})), Ok(json!([1])));
        for error in [
            bound::<(i32,)>(json!([1, 2]), json!({})).map(|_| ()),
            bound::<(i32, i32)>(json!([1]), json!({})).map(|_| ()),
            bound::<(i32,)>(json!([1]), json!({"a": 1})).map(|_| ()),
            bound::<Flat>(json!([1]), json!({})).map(|_| ()),
            bound::<Value>(json!([1]), json!({"a": 1})).map(|_| ()),
            bound::<()>(json!([1]), json!({})),
            bound::<()>(json!([]), json!({"a": 1})),
            bound::<i32>(json!([1]), json!({})).map(|_| ()),
        ] {
            error.unwrap_err();
        }
    }
}
