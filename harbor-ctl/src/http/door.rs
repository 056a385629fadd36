//! Where connections come in: a socket of this machine, or TCP with or without TLS.

use std::{
    io,
    os::fd::{AsRawFd as _, RawFd},
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixListener, UnixStream},
};
use tokio_rustls::TlsAcceptor;

use super::{listener::TcpSide, peer::Peer};
use crate::tls::subject;

/// A connection, with or without TLS.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What is listened at.
#[derive(Debug)]
pub(crate) enum Door {
    Socket(UnixListener),
    Network(TcpSide),
}

impl Door {
    pub(super) async fn accept(&self) -> io::Result<Arrival> {
        match self {
            Self::Socket(listener) => {
                let (stream, _) = listener.accept().await?;
                let peer = Peer::of_socket(&stream);
                Ok(Arrival::Socket(stream, peer))
            }
            Self::Network(side) => {
                let (stream, address) = side.listener.accept().await?;
                let peer = Peer::Network {
                    address,
                    subject: None,
                };
                Ok(Arrival::Network(stream, side.acceptor.clone(), peer))
            }
        }
    }
}

/// Somebody who has just connected.
pub(super) enum Arrival {
    Socket(UnixStream, Peer),
    Network(TcpStream, Option<TlsAcceptor>, Peer),
}

impl Arrival {
    pub(super) fn peer(&self) -> &Peer {
        match self {
            Self::Socket(_, peer) | Self::Network(_, _, peer) => peer,
        }
    }

    pub(super) fn descriptor(&self) -> RawFd {
        match self {
            Self::Socket(stream, _) => stream.as_raw_fd(),
            Self::Network(stream, ..) => stream.as_raw_fd(),
        }
    }

    /// Waits for the first byte: whoever says nothing costs no more than a descriptor.
    pub(super) async fn first_byte(&self) -> io::Result<()> {
        match self {
            Self::Socket(stream, _) => stream.readable().await,
            Self::Network(stream, ..) => stream.readable().await,
        }
    }

    /// The connection as it is to be spoken on, and who is at the other end as far as its certificate
    /// tells.
    pub(super) async fn secured(self) -> Result<(Box<dyn Stream>, Peer), (io::Error, Peer)> {
        let (stream, acceptor, peer) = match self {
            Self::Socket(stream, peer) => return Ok((Box::new(stream), peer)),
            Self::Network(stream, acceptor, peer) => (stream, acceptor, peer),
        };
        let _ = stream.set_nodelay(true);
        let Some(acceptor) = acceptor else {
            return Ok((Box::new(stream), peer));
        };
        let stream = match acceptor.accept(stream).await {
            Ok(stream) => stream,
            Err(error) => return Err((error, peer)),
        };
        let certificates = stream.get_ref().1.peer_certificates();
        let own = certificates.and_then(|all| subject(all.first()?));
        Ok((Box::new(stream), peer.with_subject(own)))
    }
}
