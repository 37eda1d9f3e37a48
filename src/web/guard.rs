//! What each request has to pass, and the headers of each answer.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, OriginalUri, Request, State};
use axum::http::header::{
    ALLOW, CACHE_CONTROL, HOST, HeaderName, LOCATION, ORIGIN, REFERRER_POLICY, RETRY_AFTER,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::access::{Access, Denied};
use super::failure::PageFailure;
use super::site::Site;

/// Nothing from another host, nothing inline, no frames.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
    form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
const CONTENT_SECURITY_POLICY: HeaderName = HeaderName::from_static("content-security-policy");
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Lets a request through to its page, or refuses it.
pub(super) async fn check(
    State(site): State<Arc<Site>>,
    mut request: Request,
    next: Next,
) -> Response {
    site.start_sampling();
    let outcome = admit(&site, &mut request).await;
    let mut response = match outcome {
        Ok(()) => next.run(request).await,
        Err(refused) => refused,
    };
    protect(&mut response);
    response
}

/// Sets the headers that every answer has.
pub(crate) fn protect(response: &mut Response) {
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        // With `no-referrer` browsers send `Origin: null` with forms.
        (REFERRER_POLICY, "same-origin"),
        (OPENER_POLICY, "same-origin"),
        (RESOURCE_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
}

async fn admit(site: &Site, request: &mut Request) -> Result<(), Response> {
    let method = request.method();
    let is_change = *method == Method::POST;
    if !is_change && !matches!(*method, Method::GET | Method::HEAD) {
        let allowed = [(ALLOW, "GET, HEAD, POST")];
        return Err((StatusCode::METHOD_NOT_ALLOWED, allowed).into_response());
    }
    if let Access::Login(login) = &site.access {
        let address = address(request);
        match login.user(request.headers(), address).await {
            Ok(user) => {
                request.extensions_mut().insert(user);
            }
            Err(denied) => return Err(refusal(denied)),
        }
    }
    if is_change && site.is_read_only {
        return Err(PageFailure::forbidden("these pages are read-only").into_response());
    }
    if is_change && !is_from_here(request.headers()) {
        let text = "this request comes from another site";
        return Err(PageFailure::forbidden(text).into_response());
    }
    // Links are relative to a directory.
    let original = request.extensions().get::<OriginalUri>();
    let path = original.map_or(request.uri().path(), |original| original.0.path());
    if request.uri().path() == "/" && !path.ends_with('/') {
        let last = path.rsplit('/').next().unwrap_or_default();
        if let Ok(location) = HeaderValue::from_str(&format!("./{last}/")) {
            return Err((StatusCode::PERMANENT_REDIRECT, [(LOCATION, location)]).into_response());
        }
    }
    Ok(())
}

/// The address of the client, if the server gives it.
fn address(request: &Request) -> Option<IpAddr> {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    peer.map(|peer| peer.0.ip())
}

fn refusal(denied: Denied) -> Response {
    let (status, text) = match denied {
        Denied::Missing => (
            StatusCode::UNAUTHORIZED,
            "log in with a name and a password",
        ),
        Denied::Wrong => (
            StatusCode::UNAUTHORIZED,
            "the name or the password is wrong",
        ),
        Denied::Slow(_) => (
            StatusCode::TOO_MANY_REQUESTS,
            "too many wrong passwords: wait a minute, and try again",
        ),
    };
    let mut response = PageFailure::new(status, "Log in", text).into_response();
    let headers = response.headers_mut();
    match denied {
        Denied::Slow(pause) => {
            let seconds = pause.as_secs() + u64::from(pause.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        Denied::Missing | Denied::Wrong => {
            let scheme = HeaderValue::from_static(r#"Basic realm="outbox", charset="UTF-8""#);
            headers.insert(WWW_AUTHENTICATE, scheme);
        }
    }
    response
}

/// Whether a browser has sent this from one of our pages, or a program has sent it. Browsers state the relation of the
/// sites, except over plain HTTP to another machine; then the origin is compared with the host.
fn is_from_here(headers: &HeaderMap) -> bool {
    let text = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if let Some(site) = text(&FETCH_SITE) {
        return site == "same-origin";
    }
    let Some(origin) = text(&ORIGIN) else {
        return true;
    };
    let Some((_, host)) = origin.split_once("://") else {
        return false;
    };
    [HOST, FORWARDED_HOST]
        .iter()
        .any(|name| text(name).is_some_and(|known| known.eq_ignore_ascii_case(host)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_sites_are_refused() {
        let is_from_here = |given: &[(&'static str, &'static str)]| {
            let headers = given.iter().map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            });
            super::is_from_here(&headers.collect())
        };
        let host = ("host", "a:8080");
        assert!(is_from_here(&[host]), "a program");
        assert!(is_from_here(&[host, ("origin", "http://a:8080")]));
        assert!(is_from_here(&[
            ("sec-fetch-site", "same-origin"),
            ("origin", "https://x"),
            host
        ]));
        let behind_a_proxy = [host, ("x-forwarded-host", "ops"), ("origin", "https://ops")];
        assert!(is_from_here(&behind_a_proxy));
        for refused in [
            ("origin", "http://b:8080"),
            ("origin", "http://a"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-site", "none"),
        ] {
            assert!(!is_from_here(&[host, refused]), "{refused:?}");
        }
    }
}
