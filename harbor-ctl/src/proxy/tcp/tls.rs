//! TLS that ends here: what a client's connection carries is opened, what goes back is sealed.
//!
//! It takes the place of the pumps of a plain connection and keeps to their rules: nothing more is read
//! while what was read before has not gone, so a slow side costs one room and one record.

use std::{
    io::{self, Read as _, Write as _},
    sync::Arc,
};

use rustix::{
    io::Errno,
    net::{RecvFlags, SendFlags, recv, send},
};
use rustls::{ServerConfig, ServerConnection};

use super::relay::{Half, Kit, ROOM, Stop};
use crate::proxy::worker::{clock::SECOND, descriptors::Descriptor};

/// How long a handshake may take.
const HANDSHAKE: u64 = 10 * SECOND;
/// What a client may say until its handshake is done. The library keeps it until it is whole; a
/// greeting with keys for quantum computers has 2 KiB.
const GREETING: usize = 16 * 1024;
/// Rounds until other connections have their turn.
const ROUNDS: usize = 16;

/// The TLS of one connection.
pub(crate) struct Seal {
    session: Box<ServerConnection>,
    until: u64,
    /// Bytes of the handshake.
    heard: usize,
}

/// Why sealed bytes cannot go on.
#[derive(Debug)]
pub(super) enum Broken {
    /// One of the two sockets is dead.
    Dead,
    /// The client does not keep to the protocol; it was told.
    Protocol(rustls::Error),
}

impl From<Errno> for Broken {
    fn from(_: Errno) -> Self {
        Self::Dead
    }
}

impl Seal {
    /// Begins a handshake; `None` = the library refuses the configuration.
    pub(crate) fn new(config: Arc<ServerConfig>, now: u64) -> Option<Self> {
        let session = ServerConnection::new(config).ok()?;
        Some(Self {
            session: Box::new(session),
            until: now + HANDSHAKE,
            heard: 0,
        })
    }

    /// Whether the client has not finished its handshake yet.
    pub(super) fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// Whether the client has not finished its handshake in time.
    pub(super) fn is_late(&self, now: u64) -> bool {
        self.session.is_handshaking() && now > self.until
    }

    /// Whether everything that was to go to the client has gone.
    pub(super) fn is_flushed(&self) -> bool {
        !self.session.wants_write()
    }

    /// Carries what there is, as far as both sides take it.
    pub(super) fn carry(
        &mut self,
        (client, backend): (&Descriptor, &Descriptor),
        (forward, reply): (&mut Half, &mut Half),
        kit: &mut Kit,
    ) -> Result<Stop, Broken> {
        for _ in 0..ROUNDS {
            let opened = self.open(client, forward)?;
            let delivered = self.deliver(backend, forward, kit)?;
            let sealed = self.seal(backend, reply, kit)?;
            let told = self.tell(client, reply)?;
            if !(opened || delivered || sealed || told) {
                return Ok(Stop::Waiting);
            }
        }
        Ok(Stop::Turn)
    }

    /// Takes records of the client in, while what they held before has gone.
    fn open(&mut self, client: &Descriptor, forward: &mut Half) -> Result<bool, Broken> {
        if !forward.is_ready || !forward.is_empty() || !self.session.wants_read() {
            return Ok(false);
        }
        match self.session.read_tls(&mut Socket(client)) {
            // Who goes in the middle of the handshake has nothing to say any more.
            Ok(0) if self.session.is_handshaking() => return Err(Broken::Dead),
            Ok(0) => forward.is_ready = false,
            Ok(length) if self.session.is_handshaking() => {
                self.heard += length;
                if self.heard > GREETING {
                    return Err(Broken::Dead);
                }
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                forward.is_ready = false;
                return Ok(false);
            }
            Err(_) => return Err(Broken::Dead),
        }
        if let Err(error) = self.session.process_new_packets() {
            // The reason goes to the client as far as its socket takes it.
            let _ = self.session.write_tls(&mut Socket(client));
            return Err(Broken::Protocol(error));
        }
        Ok(true)
    }

    /// Gives the backend what the client has said.
    fn deliver(
        &mut self,
        backend: &Descriptor,
        forward: &mut Half,
        kit: &mut Kit,
    ) -> Result<bool, Broken> {
        if !forward.is_empty() {
            return Ok(forward.flush(backend, kit)?);
        }
        if !forward.is_open {
            return Ok(false);
        }
        match self.session.reader().read(kit.scratch()) {
            Ok(0) => Ok(ends(forward)),
            Ok(length) => {
                forward.deliver(length, backend, kit)?;
                Ok(true)
            }
            // An end without a word is one all the same: the app judges what it lacks.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(ends(forward)),
            Err(_) => Ok(false),
        }
    }

    /// Takes what the backend has said, while the client has taken what was said before.
    fn seal(
        &mut self,
        backend: &Descriptor,
        reply: &mut Half,
        kit: &mut Kit,
    ) -> Result<bool, Broken> {
        let can_seal = !self.session.is_handshaking() && self.is_flushed();
        if !reply.is_ready || reply.is_ended || !can_seal {
            return Ok(false);
        }
        let taken = match recv(backend, kit.scratch(), RecvFlags::empty()) {
            Ok((_, taken)) => taken,
            Err(Errno::AGAIN) => {
                reply.is_ready = false;
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        };
        if taken == 0 {
            reply.is_ended = true;
            self.session.send_close_notify();
            return Ok(true);
        }
        reply.is_ready = taken == ROOM || reply.is_hung;
        reply.bytes += taken as u64;
        let sealed = self.session.writer().write_all(&kit.scratch()[..taken]);
        sealed.map_err(|_| Broken::Dead)?;
        Ok(true)
    }

    /// Sends the client what was sealed for it.
    fn tell(&mut self, client: &Descriptor, reply: &mut Half) -> Result<bool, Broken> {
        let mut has_told = false;
        while reply.is_open && self.session.wants_write() {
            match self.session.write_tls(&mut Socket(client)) {
                Ok(_) => has_told = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => reply.is_open = false,
                Err(_) => return Err(Broken::Dead),
            }
        }
        Ok(has_told)
    }
}

/// The client says no more; whether that is news.
fn ends(forward: &mut Half) -> bool {
    !std::mem::replace(&mut forward.is_ended, true)
}

/// A socket as the TLS library reads and writes it.
struct Socket<'a>(&'a Descriptor);

impl io::Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (_, length) = recv(self.0, buffer, RecvFlags::empty())?;
        Ok(length)
    }
}

impl io::Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(send(self.0, bytes, SendFlags::NOSIGNAL)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
