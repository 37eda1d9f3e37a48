//! The style sheet and the script.

use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

/// The path of the style sheet.
pub(in crate::web) const STYLE: &str = "/style.css";
/// The path of the script.
pub(in crate::web) const SCRIPT: &str = "/script.js";

pub(in crate::web) async fn style() -> Response {
    asset(
        "text/css; charset=utf-8",
        include_str!("../assets/style.css"),
    )
}

pub(in crate::web) async fn script() -> Response {
    asset(
        "text/javascript; charset=utf-8",
        include_str!("../assets/script.js"),
    )
}

fn asset(content_type: &'static str, text: &'static str) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (
            CACHE_CONTROL,
            HeaderValue::from_static("private, max-age=300"),
        ),
    ];
    (headers, text).into_response()
}
