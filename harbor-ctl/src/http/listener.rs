//! Listens by TCP: plain, or with TLS.

use std::{io, net::SocketAddr, path::Path, sync::Arc};

use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use tokio::net::{TcpListener, TcpSocket};
use tokio_rustls::TlsAcceptor;

use crate::tls::{certificates, dns_names, private_key};

/// Connections that wait to be accepted: those of clients beside a flood of others'.
const BACKLOG: u32 = 4_096;

/// A listener, and how its connections are secured.
pub(crate) struct TcpSide {
    pub(super) listener: TcpListener,
    pub(super) acceptor: Option<TlsAcceptor>,
    address: SocketAddr,
    /// Of its certificate.
    names: Vec<String>,
}

impl std::fmt::Debug for TcpSide {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TcpSide({})", self.address)
    }
}

/// What the TLS of a listener is made of.
#[derive(Debug)]
pub(crate) struct Tls<'a> {
    pub(crate) certificate: &'a Path,
    pub(crate) key: &'a Path,
    /// Clients are asked for a certificate of this authority.
    pub(crate) client_ca: Option<&'a Path>,
    /// Whether those who have none are spoken to.
    pub(crate) certificates: Certificates,
}

/// What becomes of clients that show no certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Certificates {
    Required,
    /// They may have a token.
    Optional,
}

impl TcpSide {
    pub(crate) async fn bind(address: SocketAddr, tls: Option<Tls<'_>>) -> io::Result<Self> {
        let names = tls.as_ref().map(names).unwrap_or_default();
        let acceptor = tls.map(acceptor).transpose()?;
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        Ok(Self {
            listener,
            acceptor,
            address,
            names,
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The DNS names of its certificate, if it has one.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    pub(crate) fn has_tls(&self) -> bool {
        self.acceptor.is_some()
    }
}

/// What is wrong with a file is said where it is needed.
fn names(tls: &Tls<'_>) -> Vec<String> {
    let chain = certificates(tls.certificate).unwrap_or_default();
    chain.first().map(dns_names).unwrap_or_default()
}

fn acceptor(tls: Tls<'_>) -> io::Result<TlsAcceptor> {
    let wrong = |path: &Path, error: &dyn std::fmt::Display| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{}: {error}", path.display()),
        )
    };
    let unread = |text| io::Error::new(io::ErrorKind::InvalidData, text);
    let chain = certificates(tls.certificate).map_err(unread)?;
    let key = private_key(tls.key).map_err(unread)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| wrong(tls.certificate, &e))?;
    let builder = match tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates(path).map_err(unread)? {
                roots.add(authority).map_err(|e| wrong(path, &e))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = match tls.certificates {
                Certificates::Required => verifier,
                Certificates::Optional => verifier.allow_unauthenticated(),
            };
            let verifier = verifier.build().map_err(|e| wrong(path, &e))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let config = builder
        .with_single_cert(chain, key)
        .map_err(|e| wrong(tls.certificate, &e))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
