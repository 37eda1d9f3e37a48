//! Pauses or resumes a stream.

use axum::response::Response;

use super::parts::redirect;
use crate::backend::Change;
use crate::web::failure::PageFailure;
use crate::web::visit::Form;

pub(in crate::web) async fn change(form: Form) -> Result<Response, PageFailure> {
    let stream = form.fields.get("stream").unwrap_or_default();
    let is_paused = match form.fields.get("do") {
        Some("pause") => true,
        Some("resume") => false,
        _ => return Err(PageFailure::bad("`do` is pause or resume")),
    };
    form.site
        .store
        .set_paused(stream.to_owned(), is_paused)
        .await?;
    let change = Change {
        user: form.user.0.clone(),
        action: if is_paused { "pause" } else { "resume" }.to_owned(),
        target: "stream".to_owned(),
        details: stream.to_owned(),
        changed: 1,
        error: None,
    };
    form.site.record(change).await;
    Ok(redirect("./#streams"))
}
