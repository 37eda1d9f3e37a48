//! The versions of STOMP, as RabbitMQ tells them apart.

use crate::stomp::Version;
use crate::stomp::frame::Frame;

/// Those that the broker speaks, as its ERRORs name them.
pub(super) const ALL: &str = "1.0,1.1,1.2";

/// The highest in a client's list; without a list it is the first that there was.
pub(super) fn agree(accept_version: Option<&str>) -> Option<Version> {
    let Some(list) = accept_version else {
        return Some(Version::V1_0);
    };
    [Version::V1_2, Version::V1_1, Version::V1_0]
        .into_iter()
        .find(|version| list.split(',').any(|name| name == version.as_str()))
}

/// The header of ACK and NACK that says which message is meant.
pub(super) fn ack_header(version: Version) -> &'static str {
    match version {
        Version::V1_0 | Version::V1_1 => "message-id",
        Version::V1_2 => "id",
    }
}

/// A client's frame as this version reads it: spaces before a value count from 1.1 on.
pub(super) fn read(version: Version, mut frame: Frame) -> Frame {
    if version == Version::V1_0 {
        let headers = frame.headers.iter();
        frame.headers = headers
            .map(|(name, value)| (name, value.trim_start_matches(' ')))
            .collect();
    }
    frame
}
