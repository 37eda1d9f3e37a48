//! The URL of a database server, made unambiguous.
//!
//! A password in a URL often contains characters that are not encoded. libpq and the URL
//! parser of Diesel's MySQL then take a part of it for the host, the port or the database, and show
//! that part in their errors. Here the last `@` before the path ends the password, and a text that is not
//! a URL by that rule is refused without being shown.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::AddressError;
use crate::config::has_ports;

/// Characters that a user's name and a password must not contain unencoded.
const USER: AsciiSet = CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'/')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'@')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The URL with user and password encoded. `rest` is what follows `scheme://`.
pub(super) fn encoded(scheme: &str, rest: &str) -> Result<String, AddressError> {
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
    let (user, hosts) = match authority.rsplit_once('@') {
        Some((user, hosts)) => (Some(user), hosts),
        None => (None, authority),
    };
    let is_ambiguous = path.contains(['@', '#'])
        || hosts.contains(['#', ' '])
        || !has_ports(hosts)
        || rest.contains("%00")
        || !are_parameters(query)
        // A password that contains a `?`, followed by the host.
        || (user.is_none() && path.is_empty() && hosts.contains(':') && query.contains('@'));
    if is_ambiguous {
        return Err(AddressError::Ambiguous);
    }
    let tail = with_percent(tail);
    let Some(user) = user else {
        return Ok(format!("{scheme}://{hosts}{tail}"));
    };
    let (name, password) = match user.split_once(':') {
        Some((name, password)) => (name, Some(password)),
        None => (user, None),
    };
    let encode = |text: &str| utf8_percent_encode(&with_percent(text), &USER).to_string();
    let password = password.map(|password| format!(":{}", encode(password)));
    let password = password.unwrap_or_default();
    Ok(format!(
        "{scheme}://{}{password}@{hosts}{tail}",
        encode(name)
    ))
}

/// Whether the text is `name=value` pairs with `&` between them.
fn are_parameters(query: &str) -> bool {
    let is_name =
        |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-');
    query.is_empty()
        || query.split('&').all(|pair| {
            pair.split_once('=').is_some_and(|(name, value)| {
                !name.is_empty() && name.chars().all(is_name) && !value.contains(['=', '#', ' '])
            })
        })
}

/// Encodes each `%` that does not begin the code of a byte.
fn with_percent(text: &str) -> String {
    let mut whole = String::with_capacity(text.len());
    for (at, character) in text.char_indices() {
        whole.push(character);
        let code = text.as_bytes().get(at + 1..at + 3);
        let is_code = code.is_some_and(|code| code.iter().all(u8::is_ascii_hexdigit));
        if character == '%' && !is_code {
            whole.push_str("25");
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_encoded_where_it_ends_for_sure() {
        for (rest, expected) in [
            ("app:pw@h/d", "x://app:pw@h/d"),
            ("app:p@w@h:5/d?a=b", "x://app:p%40w@h:5/d?a=b"),
            ("app:p#w@h/d", "x://app:p%23w@h/d"),
            ("app:p w@h/d", "x://app:p%20w@h/d"),
            ("app:p%w@h/d", "x://app:p%25w@h/d"),
            ("app:p%2Fw@h/d", "x://app:p%2Fw@h/d"),
            ("app:p:w@h/d", "x://app:p:w@h/d"),
            ("app@tenant:pw@h/d", "x://app%40tenant:pw@h/d"),
            ("app@h", "x://app@h"),
            ("/d?host=%2Ftmp", "x:///d?host=%2Ftmp"),
            ("a:1,[::1]:2/d", "x://a:1,[::1]:2/d"),
            ("h:5/d?user=a@b&password=c", "x://h:5/d?user=a@b&password=c"),
        ] {
            assert_eq!(encoded("x", rest), Ok(expected.to_owned()), "{rest}");
        }
    }

    #[test]
    fn what_may_be_a_part_of_a_password_is_refused() {
        for rest in [
            "app:p/w@h/d",
            "app:5/w@h/d",
            "app:p?w@h/d",
            "app:p?a=w@h/d",
            "app:5?a=w@h/d",
            "app:pw",
            "app:p%00w@h/d",
            "h/d?password=p&w",
            "h/d?password=p=w",
            "h/d#pw",
        ] {
            assert_eq!(encoded("x", rest), Err(AddressError::Ambiguous), "{rest}");
        }
    }
}
