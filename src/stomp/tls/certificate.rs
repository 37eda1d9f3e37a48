//! Reads the end of a certificate's validity (RFC 5280, sections 4.1 and 4.1.2.5).

use std::time::{Duration, UNIX_EPOCH};

use chrono::{DateTime, Utc};
use pkcs8::der::asn1::{AnyRef, GeneralizedTime, UtcTime};
use pkcs8::der::{Decode, SliceReader, Tag, Tagged};

/// When a certificate in DER expires; `None` if it cannot be read.
pub(crate) fn expiry(certificate: &[u8]) -> Option<DateTime<Utc>> {
    let certificate = AnyRef::from_der(certificate).ok()?;
    let mut parts = SliceReader::new(certificate.value()).ok()?;
    let signed = AnyRef::decode(&mut parts).ok()?;
    let mut fields = SliceReader::new(signed.value()).ok()?;
    let mut field = AnyRef::decode(&mut fields).ok()?;
    // The version may be left out, and the serial number be the first field. Then the algorithm, the issuer and the
    // validity follow.
    let before = if field.tag().is_context_specific() {
        4
    } else {
        3
    };
    for _ in 0..before {
        field = AnyRef::decode(&mut fields).ok()?;
    }
    let mut times = SliceReader::new(field.value()).ok()?;
    AnyRef::decode(&mut times).ok()?;
    let since_1970: Duration = match Tag::peek(&times).ok()? {
        Tag::UtcTime => UtcTime::decode(&mut times).ok()?.to_unix_duration(),
        _ => GeneralizedTime::decode(&mut times).ok()?.to_unix_duration(),
    };
    Some(DateTime::from(UNIX_EPOCH + since_1970))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    #[test]
    fn the_end_of_a_certificate_is_read() {
        let key = KeyPair::generate().unwrap();
        // Years from 2050 on are written in another form.
        for (year, expected) in [
            (2027, "2027-03-04"),
            (2049, "2049-03-04"),
            (2060, "2060-03-04"),
        ] {
            let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            params.not_after = date_time_ymd(year, 3, 4);
            let certificate = params.self_signed(&key).unwrap();
            let read = expiry(certificate.der()).unwrap();
            assert_eq!(read.format("%Y-%m-%d").to_string(), expected);
        }
        assert_eq!(expiry(b"not a certificate"), None);
        assert_eq!(expiry(&[]), None);
    }
}
