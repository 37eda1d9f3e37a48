//! The STOMP versions, with RabbitMQ's differences between them.

use crate::stomp::Version;
use crate::stomp::codec::Frame;

/// The supported versions, as listed in ERRORs.
pub(super) const ALL: &str = "1.0,1.1,1.2";

/// The highest supported version in a client's list; 1.0 without a list.
pub(super) fn agree(accept_version: Option<&str>) -> Option<Version> {
    let Some(list) = accept_version else {
        return Some(Version::V1_0);
    };
    [Version::V1_2, Version::V1_1, Version::V1_0]
        .into_iter()
        .find(|version| list.split(',').any(|name| name == version.as_str()))
}

/// The header of ACK and NACK that identifies the message.
pub(super) fn ack_header(version: Version) -> &'static str {
    match version {
        Version::V1_0 | Version::V1_1 => "message-id",
        Version::V1_2 => "id",
    }
}

/// Reads a client's frame in this version: before 1.1, leading spaces of a value are removed.
pub(super) fn read(version: Version, mut frame: Frame) -> Frame {
    if version == Version::V1_0 {
        let headers = frame.headers.iter();
        frame.headers = headers
            .map(|(name, value)| (name, value.trim_start_matches(' ')))
            .collect();
    }
    frame
}
