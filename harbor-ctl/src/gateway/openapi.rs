//! The OpenAPI document of the platform API: what its operations do not say themselves.

use utoipa::openapi::{
    OpenApi, Server,
    security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
};

use super::responses::Problem;
use crate::http;

/// Where the document is served, to everybody: it tells nothing of anybody's instances.
pub(super) const PLACE: &str = "/openapi.json";

const ABOUT: &str = "Open Service Broker 2.17: ports for platforms. Everything is synchronous; a \
    refusal has changed nothing.";

/// The document without operations.
pub(super) fn document() -> OpenApi {
    http::document("Harbor platform API", ABOUT)
}

/// Adds what all operations share.
pub(super) fn complete(document: &mut OpenApi) {
    http::add_schema::<Problem>(document);
    let password = HttpBuilder::new().scheme(HttpAuthScheme::Basic);
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("password", SecurityScheme::Http(password.build()));
    let password = SecurityRequirement::new::<_, [&str; 0], _>("password", []);
    document.security = Some(vec![password]);
    document.servers = Some(vec![Server::new("/")]);
}
