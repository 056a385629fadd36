//! The OpenAPI document of the control API: what its operations do not say themselves.

use utoipa::openapi::{
    OpenApi, Server,
    security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
};

use crate::{api::ErrorBody, http};

/// Where the document is served.
pub(super) const PLACE: &str = "/openapi.json";

const ABOUT: &str = "What operators and app hosts ask of an agent, over its socket or by TCP. \
    Every refusal has one shape: a kind that never changes, a sentence, and where it is known the \
    field and the fix. A refusal has changed nothing.";

/// The document without operations.
pub(super) fn document() -> OpenApi {
    http::document("Harbor control API", ABOUT)
}

/// Adds what all operations share.
pub(super) fn complete(document: &mut OpenApi) {
    http::add_schema::<ErrorBody>(document);
    let token = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("by TCP; the socket knows its peer by itself"));
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("token", SecurityScheme::Http(token.build()));
    let token = SecurityRequirement::new::<_, [&str; 0], _>("token", []);
    document.security = Some(vec![token]);
    document.servers = Some(vec![Server::new("/")]);
}
