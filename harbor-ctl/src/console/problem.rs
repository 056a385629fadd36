//! The page that stands in place of another which cannot be shown: whatever the router, an extractor or
//! a form refuses in plain words is put on a page of the console, with its status.

use axum::{
    body::to_bytes,
    extract::Request,
    http::{StatusCode, header},
    middleware::Next,
    response::Response,
};
use maud::html;

use super::{
    layout::{self, Place},
    sessions::Session,
};

/// Of a reason, in bytes.
const LONGEST: usize = 4 * 1_024;
/// What scripts read, to whom a page would say nothing.
const FOR_SCRIPTS: [&str; 2] = ["/live", "/samples"];

/// Makes pages of plain refusals.
pub(super) async fn readable(request: Request, next: Next) -> Response {
    let session = request.extensions().get::<Session>().cloned();
    let is_for_script = FOR_SCRIPTS.contains(&request.uri().path());
    let response = next.run(request).await;
    let status = response.status();
    let is_refusal = status.is_client_error() || status.is_server_error();
    let kind = response.headers().get(header::CONTENT_TYPE);
    let is_page = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    match is_refusal && !is_page && !is_for_script {
        true => page(response, session.as_ref()).await,
        false => response,
    }
}

async fn page(plain: Response, session: Option<&Session>) -> Response {
    let (parts, body) = plain.into_parts();
    let why = to_bytes(body, LONGEST).await.unwrap_or_default();
    let why = String::from_utf8_lossy(&why);
    let (title, unsaid) = match parts.status {
        StatusCode::BAD_REQUEST => ("Wrong request", "it cannot be read"),
        StatusCode::FORBIDDEN => ("Not allowed", "this user may not do this"),
        StatusCode::NOT_FOUND => ("No such page", "there is nothing at this address"),
        StatusCode::METHOD_NOT_ALLOWED => ("Wrong request", "nothing can be sent to this address"),
        StatusCode::PAYLOAD_TOO_LARGE => ("Wrong request", "the form is too long"),
        _ => ("Refused", "it cannot be done"),
    };
    let why = Some(why.trim()).filter(|why| !why.is_empty());
    let body = html! {
        div.alert role="alert" { strong.wrong { (why.unwrap_or(unsaid)) } }
        p { a href="/" { "To the overview" } }
    };
    let mut page = match session {
        Some(session) => layout::page(Place { title, under: "" }, session, &body),
        None => layout::bare(title, &body),
    };
    *page.status_mut() = parts.status;
    *page.extensions_mut() = parts.extensions;
    if let Some(methods) = parts.headers.get(header::ALLOW) {
        page.headers_mut().insert(header::ALLOW, methods.clone());
    }
    page
}
