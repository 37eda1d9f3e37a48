//! Bytes for the decoder, and how they are cut: in any pieces the same frames and the same error as
//! whole, never more held than the limits, and what was decoded encodes to itself.

use diesel_outbox::stomp::codec::Dialect;
use diesel_outbox::stomp::{Broker, Limits, Version};

use crate::pieces::{decode, go_round};

/// An input is the dialect, the limits, the number of the pieces' sizes, these, and the bytes.
pub(crate) fn run(input: &[u8]) {
    let [dialect, limits, count, rest @ ..] = input else {
        return;
    };
    let count = usize::from(count % 16).min(rest.len());
    let (sizes, bytes) = rest.split_at(count);
    let sizes: Vec<usize> = sizes.iter().map(|size| usize::from(*size)).collect();
    let (has_same, dialect) = chosen(*dialect);
    let limits = match limits % 8 {
        0..=4 => Limits::default(),
        5 => Limits {
            head: 64,
            headers: 4,
            body: 32,
        },
        6 => Limits {
            head: 512,
            headers: 1000,
            body: usize::MAX,
        },
        _ => Limits {
            head: 24,
            headers: 1,
            body: 0,
        },
    };
    let whole = decode(bytes, &[usize::MAX], dialect, limits);
    let cut = decode(bytes, &sizes, dialect, limits);
    assert!(whole == cut, "{cut:?} in pieces, {whole:?} whole");
    if has_same {
        for frame in whole.0 {
            go_round(frame, dialect);
        }
    }
}

/// A dialect, and whether it is written as it is read.
fn chosen(byte: u8) -> (bool, Dialect) {
    let version = [Version::V1_0, Version::V1_1, Version::V1_2][usize::from(byte % 3)];
    match byte / 3 % 3 {
        0 => (true, Dialect::of(version)),
        1 => (true, Dialect::of_broker(version, Broker::RabbitMq)),
        _ => (
            version != Version::V1_0,
            Dialect::of_broker(version, Broker::ActiveMq),
        ),
    }
}
