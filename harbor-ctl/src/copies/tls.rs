//! Both ends show a certificate of the authority of copies.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig, crypto::ring, server::WebPkiClientVerifier,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::CopySettings;
use crate::tls::{certificates, private_key};

fn authority(path: &Path) -> Result<Arc<RootCertStore>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        let added = roots.add(certificate);
        added.map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(Arc::new(roots))
}

/// For who listens. The files are read each time, so that a new certificate needs no restart.
pub(super) fn acceptor(settings: &CopySettings) -> Result<TlsAcceptor, String> {
    let provider = Arc::new(ring::default_provider());
    let roots = authority(&settings.authority)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
    let verifier = verifier.build().map_err(|error| error.to_string())?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            certificates(&settings.certificate)?,
            private_key(&settings.key)?,
        );
    let config = config.map_err(|error| format!("{}: {error}", settings.certificate.display()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// For who connects.
pub(super) fn connector(settings: &CopySettings) -> Result<TlsConnector, String> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(authority(&settings.authority)?)
        .with_client_auth_cert(
            certificates(&settings.certificate)?,
            private_key(&settings.key)?,
        );
    let config = config.map_err(|error| format!("{}: {error}", settings.certificate.display()))?;
    Ok(TlsConnector::from(Arc::new(config)))
}
