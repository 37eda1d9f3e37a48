//! A request for a page, and one that changes something.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use subtle::ConstantTimeEq as _;

use super::access::User;
use super::failure::PageFailure;
use super::parameters::Parameters;
use super::site::Site;

/// Maximum number of bytes of a form.
pub(super) const LONGEST_FORM: usize = 1 << 20;
/// The field of a form that contains its token.
pub(super) const TOKEN: &str = "token";

/// A request for a page.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) site: Arc<Site>,
    pub(super) user: User,
    pub(super) query: Parameters,
}

impl FromRequestParts<Arc<Site>> for Visit {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, site: &Arc<Site>) -> Result<Self, Infallible> {
        let query = parts.uri.query().unwrap_or_default();
        Ok(Self {
            site: Arc::clone(site),
            user: parts.extensions.get::<User>().cloned().unwrap_or_default(),
            query: Parameters::parse(query.as_bytes()),
        })
    }
}

/// A form that was sent from one of the pages.
#[derive(Debug)]
pub(super) struct Form {
    pub(super) site: Arc<Site>,
    pub(super) user: User,
    pub(super) fields: Parameters,
}

impl FromRequest<Arc<Site>> for Form {
    type Rejection = PageFailure;

    async fn from_request(mut request: Request, site: &Arc<Site>) -> Result<Self, PageFailure> {
        let user = request.extensions().get::<User>().cloned();
        let user = user.unwrap_or_default();
        DefaultBodyLimit::apply(DefaultBodyLimit::max(LONGEST_FORM), &mut request);
        let body = Bytes::from_request(request, site).await;
        let body = body.map_err(|error| PageFailure::bad(error.body_text()))?;
        let fields = Parameters::parse(&body);
        let token = fields.get(TOKEN).unwrap_or_default();
        let expected = site.form_token(&user);
        if !bool::from(token.as_bytes().ct_eq(expected.as_bytes())) {
            return Err(PageFailure::forbidden(
                "this form is not one of a page that you have open now: go back, reload the page, and try again",
            ));
        }
        Ok(Self {
            site: Arc::clone(site),
            user,
            fields,
        })
    }
}
