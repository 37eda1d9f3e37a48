//! The canonical form of a JSON text: the same bytes for every text of the same document.
//!
//! PostgreSQL's jsonb sorts names, drops white space and writes numbers without an exponent; MySQL's JSON
//! sorts names and writes doubles in its own way; MariaDB and SQLite keep the text. In the canonical form
//! names are sorted, white space and optional escapes are gone, and a number is its exact decimal value:
//! `1`, `1.0` and `10e-1` are equal, and so are `0` and `-0.0`. Two numbers that differ in any digit differ,
//! whatever a parser with less precision makes of them.

use std::borrow::Cow;
use std::ops::Range;

use serde::de::IgnoredAny;

/// The maximum depth of nested arrays and objects, which is that of `serde_json`.
const DEPTH: usize = 127;

/// Numbers with an exponent or a fraction that MySQL reads without a rounding error: the significant digits
/// fit into 53 bits, and the power of ten is an exact double. MySQL parses with RapidJSON's default flags,
/// which may be off by up to 3 units in the last place beyond that
/// (<https://rapidjson.org/md_doc_features.html>, `kParseFullPrecisionFlag`).
const EXACT_DIGITS: usize = 15;
const EXACT_EXPONENT: u64 = 22;

/// A JSON text in its canonical form.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Canonical {
    pub(super) bytes: Vec<u8>,
    /// Whether it has a number that MySQL, unlike MariaDB, may change.
    pub(super) has_long_number: bool,
}

/// Why a text has no canonical form. The message contains nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotCanonical {
    #[error("it is not JSON")]
    NotJson,
    #[error("it has more than {DEPTH} levels of arrays and objects")]
    TooDeep,
    #[error("an object has a name twice")]
    NameTwice,
    #[error("a number has too large an exponent")]
    Exponent,
}

/// The canonical form of a JSON text.
pub(super) fn canonical(text: &str) -> Result<Canonical, NotCanonical> {
    // After this only names, depth and exponents can be wrong.
    serde_json::from_str::<IgnoredAny>(text).map_err(|_| NotCanonical::NotJson)?;
    let mut reader = Reader {
        rest: text,
        out: Vec::with_capacity(text.len()),
        has_long_number: false,
    };
    reader.value(0)?;
    Ok(Canonical {
        bytes: reader.out,
        has_long_number: reader.has_long_number,
    })
}

/// Reads a valid JSON text and writes its canonical form.
struct Reader<'a> {
    rest: &'a str,
    out: Vec<u8>,
    has_long_number: bool,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<(), NotCanonical> {
        match self.peek() {
            Some(b'{' | b'[') if depth == DEPTH => Err(NotCanonical::TooDeep),
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().and_then(|text| self.write_string(&text)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => {
                let literal = self.take_while(|byte| byte.is_ascii_lowercase());
                self.out.extend_from_slice(literal.as_bytes());
                Ok(())
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<(), NotCanonical> {
        self.expect(b'[')?;
        self.out.push(b'[');
        while self.peek() != Some(b']') {
            self.value(depth + 1)?;
            self.out.push(b',');
            if self.peek() == Some(b',') {
                self.expect(b',')?;
            }
        }
        self.out.push(b']');
        self.expect(b']')
    }

    fn object(&mut self, depth: usize) -> Result<(), NotCanonical> {
        self.expect(b'{')?;
        self.out.push(b'{');
        let start = self.out.len();
        let mut members: Vec<(Cow<'a, str>, Range<usize>)> = Vec::new();
        while self.peek() != Some(b'}') {
            let member = self.out.len();
            let name = self.string()?;
            self.write_string(&name)?;
            self.expect(b':')?;
            self.out.push(b':');
            self.value(depth + 1)?;
            self.out.push(b',');
            members.push((name, member..self.out.len()));
            if self.peek() == Some(b',') {
                self.expect(b',')?;
            }
        }
        if !members.is_sorted_by(|a, b| a.0 < b.0) {
            members.sort_by(|a, b| a.0.cmp(&b.0));
            if members.windows(2).any(|pair| pair[0].0 == pair[1].0) {
                return Err(NotCanonical::NameTwice);
            }
            let sorted: Vec<u8> = members
                .iter()
                .flat_map(|(_, range)| &self.out[range.clone()])
                .copied()
                .collect();
            self.out.truncate(start);
            self.out.extend_from_slice(&sorted);
        }
        self.out.push(b'}');
        self.expect(b'}')
    }

    /// Reads a string and resolves its escapes.
    fn string(&mut self) -> Result<Cow<'a, str>, NotCanonical> {
        self.skip_space();
        let mut bytes = self.rest.bytes().enumerate().skip(1);
        let (mut has_escape, mut end) = (false, None);
        while let Some((at, byte)) = bytes.next() {
            match byte {
                b'"' => {
                    end = Some(at);
                    break;
                }
                b'\\' => {
                    has_escape = true;
                    bytes.next();
                }
                _ => {}
            }
        }
        let end = end.ok_or(NotCanonical::NotJson)?;
        let (quoted, rest) = self.rest.split_at(end + 1);
        self.rest = rest;
        if has_escape {
            // Half of a surrogate pair is an error here.
            let text = serde_json::from_str(quoted).map_err(|_| NotCanonical::NotJson)?;
            return Ok(Cow::Owned(text));
        }
        quoted
            .get(1..end)
            .map(Cow::Borrowed)
            .ok_or(NotCanonical::NotJson)
    }

    fn write_string(&mut self, text: &str) -> Result<(), NotCanonical> {
        serde_json::to_writer(&mut self.out, text).map_err(|_| NotCanonical::NotJson)
    }

    /// Reads a number and writes its value: the significant digits and the power of ten.
    fn number(&mut self) -> Result<(), NotCanonical> {
        let token = self.take_while(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
        let (sign, unsigned) = match token.strip_prefix('-') {
            Some(unsigned) => ("-", unsigned),
            None => ("", token),
        };
        let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        let significant = digits.trim_start_matches('0').trim_end_matches('0');
        if significant.is_empty() {
            self.out.push(b'0');
            return Ok(());
        }
        let exponent: i64 = exponent.parse().map_err(|_| NotCanonical::Exponent)?;
        let zeros = digits.len() - digits.trim_end_matches('0').len();
        let moved = |by: usize| i64::try_from(by).map_err(|_| NotCanonical::Exponent);
        let exponent = exponent
            .checked_sub(moved(fraction.len())?)
            .and_then(|it| it.checked_add(moved(zeros).ok()?))
            .ok_or(NotCanonical::Exponent)?;
        let is_integer = token.parse::<i64>().is_ok() || token.parse::<u64>().is_ok();
        self.has_long_number |= !is_integer
            && (significant.len() > EXACT_DIGITS || exponent.unsigned_abs() > EXACT_EXPONENT);
        self.out
            .extend_from_slice(format!("{sign}{significant}e{exponent}").as_bytes());
        Ok(())
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn peek(&mut self) -> Option<u8> {
        self.skip_space();
        self.rest.bytes().next()
    }

    fn expect(&mut self, byte: u8) -> Result<(), NotCanonical> {
        self.skip_space();
        let rest = self.rest.strip_prefix(char::from(byte));
        self.rest = rest.ok_or(NotCanonical::NotJson)?;
        Ok(())
    }

    /// Reads the ASCII characters for which a condition is true.
    fn take_while(&mut self, condition: impl Fn(u8) -> bool) -> &'a str {
        let end = self.rest.bytes().position(|byte| !condition(byte));
        let (taken, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        taken
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn of(text: &str) -> String {
        String::from_utf8(canonical(text).unwrap().bytes).unwrap()
    }

    #[test]
    fn texts_of_one_document_have_one_form() {
        for equal in [
            &["1", "1.0", "1e0", "10e-1", "0.1E+1", "1.000"][..],
            &["0", "-0", "-0.0", "0e7", "0.000"],
            &["100", "1e2", "100.0", "1E+2"],
            &["18446744073709551615", "18446744073709551615.0"],
            &["-0.25", "-25e-2", "-0.250"],
            &[r#""é/\n""#, r#" "\u00e9\/\n" "#, r#""\u00E9/\u000a""#],
            &[r#""😀""#, r#""\ud83d\ude00""#],
            &[
                r#"{"a":{"c":[],"d":{}},"bb":[1,2]}"#,
                " {\"bb\" : [ 1.0 ,\t2 ] , \n\"a\":{ \"d\":{ }, \"c\":[ ]}}",
            ],
            &["[]", "[ ]"],
            &["null", " null\n"],
        ] {
            for text in equal {
                assert_eq!(of(text), of(equal[0]), "{text}");
            }
        }
    }

    #[test]
    fn different_documents_have_different_forms() {
        let texts = [
            "1",
            "-1",
            "10",
            "0.1",
            "1.0000000000000000000000001",
            "18446744073709551615",
            "18446744073709551616",
            "true",
            "false",
            "null",
            "\"\"",
            "\"1\"",
            "\"null\"",
            "[]",
            "[[]]",
            "[1]",
            "[1,2]",
            "[2,1]",
            "[12]",
            "[[1],2]",
            "[[1,2]]",
            "{}",
            "[{}]",
            r#"{"a":1}"#,
            r#"{"a":"1"}"#,
            r#"{"b":1}"#,
            r#"{"a":1,"b":2}"#,
            r#"{"a":2,"b":1}"#,
            r#"{"a":{"b":2}}"#,
            r#"{"a":1,"b":{}}"#,
            r#"{"a":{"b":{}}}"#,
            r#""a,b""#,
            r#"["a","b"]"#,
            r#""\u0000""#,
            r#""\\u0000""#,
        ];
        let mut forms: Vec<String> = texts.iter().map(|text| of(text)).collect();
        forms.sort();
        forms.dedup();
        assert_eq!(forms.len(), texts.len());
    }

    #[test]
    fn what_has_no_form_says_why() {
        let deep = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(canonical(&deep(DEPTH)).is_ok());
        for (text, expected) in [
            ("", NotCanonical::NotJson),
            ("{", NotCanonical::NotJson),
            ("[1,]", NotCanonical::NotJson),
            ("1 2", NotCanonical::NotJson),
            ("01", NotCanonical::NotJson),
            (r#""\ud800""#, NotCanonical::NotJson),
            (&deep(DEPTH + 1), NotCanonical::TooDeep),
            (&deep(100_000), NotCanonical::TooDeep),
            (r#"{"a":1,"a":1}"#, NotCanonical::NameTwice),
            (r#"[{"b":1,"a":1,"\u0062":2}]"#, NotCanonical::NameTwice),
            ("1e99999999999999999999", NotCanonical::Exponent),
            ("0.1e-9223372036854775808", NotCanonical::Exponent),
        ] {
            assert_eq!(canonical(text), Err(expected), "{}", text.len());
        }
    }

    #[test]
    fn numbers_that_mysql_may_change_are_found() {
        for (text, expected) in [
            ("18446744073709551615", false),
            ("-9223372036854775808", false),
            ("18446744073709551616", true),
            ("0.1", false),
            ("123456789012345.0", false),
            ("0.30000000000000004", true),
            ("1e22", false),
            ("1e300", true),
            ("5e-324", true),
            ("1e-9223372036854775808", true),
            ("[{\"a\":2.2250738585072014e-308}]", true),
        ] {
            assert_eq!(canonical(text).unwrap().has_long_number, expected, "{text}");
        }
    }

    /// Any document.
    fn documents() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(|number| json!(number)),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::hash_map(any::<String>(), inner, 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn white_space_changes_nothing(document in documents()) {
            let pretty = serde_json::to_string_pretty(&document).unwrap();
            prop_assert_eq!(of(&pretty), of(&document.to_string()));
        }

        #[test]
        fn no_text_causes_a_panic(text in "[\\[\\]{}\",:0-9eE.+\\\\ntrufalse -]{0,40}") {
            let is_json = serde_json::from_str::<IgnoredAny>(&text).is_ok();
            prop_assert!(is_json || canonical(&text) == Err(NotCanonical::NotJson));
        }
    }
}
