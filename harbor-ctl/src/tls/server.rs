//! The TLS configuration of a server with one identity or several.

use std::sync::Arc;

use rustls::{
    ServerConfig,
    crypto::ring,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::identity::Identity;

/// Chooses by the name that the client asks for (SNI, RFC 6066); the first is for everybody else.
#[derive(Debug)]
struct ByName(Vec<Identity>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = hello.server_name();
        let meant = asked.and_then(|name| self.0.iter().find(|one| one.is_for(name)));
        let chosen = meant.or_else(|| self.0.first())?;
        Some(Arc::clone(&chosen.key))
    }
}

/// What a server with these identities says in a handshake: TLS 1.2 and 1.3.
pub(crate) fn server(identities: Vec<Identity>) -> Result<Arc<ServerConfig>, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let resolver = Arc::new(ByName(identities));
    Ok(Arc::new(
        builder.with_no_client_auth().with_cert_resolver(resolver),
    ))
}
