//! Listens by TCP: plain, or with TLS.
//!
//! Handshakes run beside each other, bounded in number and time, so that a client that says nothing
//! keeps nobody waiting.

use std::{io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use super::Peer;
use crate::tls::{certificates, private_key};

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How many may be under way at once.
const HANDSHAKES: usize = 256;

/// A connection, with or without TLS.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connections that are ready to be served.
#[derive(Debug)]
pub(crate) struct TcpSide {
    ready: mpsc::Receiver<(Box<dyn Stream>, Peer)>,
    address: SocketAddr,
}

/// What the TLS of a listener is made of.
#[derive(Debug)]
pub(crate) struct Tls<'a> {
    pub(crate) certificate: &'a Path,
    pub(crate) key: &'a Path,
    /// Clients must show a certificate of this authority.
    pub(crate) client_ca: Option<&'a Path>,
}

impl TcpSide {
    /// Listens; whoever connects is made ready in a task of its own.
    pub(crate) async fn bind(address: SocketAddr, tls: Option<Tls<'_>>) -> io::Result<Self> {
        let certifies = tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        let acceptor = tls.map(acceptor).transpose()?;
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (sender, ready) = mpsc::channel(HANDSHAKES);
        tokio::spawn(accept(listener, (acceptor, certifies), sender));
        Ok(Self { ready, address })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl axum::serve::Listener for TcpSide {
    type Io = Box<dyn Stream>;
    type Addr = Peer;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(connection) => connection,
            // The task that accepts ends with the runtime alone.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(Peer::Network {
            address: self.address,
            is_certified: false,
        })
    }
}

async fn accept(
    listener: TcpListener,
    (acceptor, certifies): (Option<TlsAcceptor>, bool),
    ready: mpsc::Sender<(Box<dyn Stream>, Peer)>,
) {
    let places = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, mostly: others may be closed meanwhile.
                tracing::warn!("a connection was not accepted: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (acceptor, ready) = (acceptor.clone(), ready.clone());
        tokio::spawn(async move {
            let _place = place;
            match secured(stream, acceptor).await {
                Ok(stream) => {
                    let is_certified = certifies;
                    let peer = Peer::Network {
                        address,
                        is_certified,
                    };
                    let _ = ready.send((stream, peer)).await;
                }
                Err(error) => tracing::debug!(%address, "no TLS: {error}"),
            }
        });
    }
}

async fn secured(stream: TcpStream, acceptor: Option<TlsAcceptor>) -> io::Result<Box<dyn Stream>> {
    let _ = stream.set_nodelay(true);
    match acceptor {
        None => Ok(Box::new(stream)),
        Some(acceptor) => {
            let late = |_| io::Error::from(io::ErrorKind::TimedOut);
            let secured = timeout(HANDSHAKE, acceptor.accept(stream)).await;
            Ok(Box::new(secured.map_err(late)??))
        }
    }
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
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|e| wrong(path, &e))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let config = builder
        .with_single_cert(chain, key)
        .map_err(|e| wrong(tls.certificate, &e))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
