//! One TCP connection of a client, and the one to its backend.
//!
//! It connects to one backend after the other until one answers, then carries bytes both ways until
//! both sides have ended. A side that resets, or a backend that is gone, resets the other side.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use rustix::{
    event::epoll::EventFlags,
    net::{SendFlags, Shutdown, getsockname, send, shutdown, sockopt::socket_error},
};

use super::{
    connect::{Leg, reset},
    opening::Search,
    proxy_header::header,
    relay::{Half, Kit, Pace, Stop},
    tls::{Broken, Seal},
};
use crate::{
    model::{ClientIp, FlowRecord, Protocol},
    proxy::{
        flows::{Rank, shares::Holding},
        select::{frontend::Frontend, limits},
        worker::{
            clock::SECOND,
            descriptors::Descriptor,
            poll::{Interest, Name, Poll, Source},
            shared::{Common, read_address, unknown},
        },
    },
};

/// What says that a socket has ended, or has something that is no byte of the stream.
pub(super) const ENDS: EventFlags = EventFlags::RDHUP
    .union(EventFlags::HUP)
    .union(EventFlags::ERR)
    .union(EventFlags::PRI);

/// One of which one side has ended is in use while its bytes are not further apart.
const PAUSE: u64 = 2 * SECOND;

/// A client's connection.
pub(crate) struct Connection {
    pub(super) frontend: Arc<Frontend>,
    pub(super) client: Descriptor,
    pub(super) address: SocketAddr,
    /// The backend that was tried last, or the one that has answered.
    pub(super) leg: Leg,
    pub(super) stage: Stage,
    /// Backends that were tried before and may still answer.
    pub(super) earlier: Vec<Leg>,
    /// When nobody is waited for any more.
    pub(super) give_up_at: u64,
    /// Something moved last.
    pub(super) seen: u64,
    /// It stands in one of its worker's lists already.
    pub(super) is_listed: bool,
    /// Numbers of the backends that it has tried.
    pub(super) tried: Vec<u64>,
    /// Its TLS, if that ends here.
    seal: Option<Seal>,
    /// Its place among all flows.
    pub(super) holding: Holding,
    pub(super) forward: Half,
    pub(super) reply: Half,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Another backend is tried then, or nobody is waited for any more.
    Opening {
        until: u64,
    },
    Live,
}

/// What is to become of a connection now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing until its sockets have news.
    Wait,
    /// It has used up its turn.
    Again,
    /// Its port's bytes of this second are used up: rest so many nanoseconds.
    Rest(u64),
    /// The backend does not answer: try another.
    Retry(Search),
    /// Both sides have ended.
    Over,
    /// One side is dead.
    Reset,
}

/// Where a connection lives.
pub(super) struct Context<'a> {
    pub(super) common: &'a Common,
    pub(super) poll: &'a Poll,
    pub(super) kit: &'a mut Kit,
    pub(super) now: u64,
}

/// Which of a connection's sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Backend,
}

impl Connection {
    /// A connection that `admit` has let in, on its way to its first backend. Without one, it is
    /// reset.
    pub(super) fn open(
        client: (Descriptor, SocketAddr),
        frontend: Arc<Frontend>,
        (name, holding): (Name, Holding),
        ground: &Context<'_>,
    ) -> Option<Self> {
        let (client, address) = client;
        let Ok(seal) = frontend.seal(ground.now) else {
            reset(&client);
            return None;
        };
        let mut tried = Vec::new();
        let leg = Leg::next(&frontend, address, &mut tried, (name, ground));
        let Some(leg) = leg else {
            reset(&client);
            return None;
        };
        let source = Source::Client(name);
        if ground.poll.add(&client, source, Interest::Changes).is_err() {
            reset(&client);
            leg.close();
            return None;
        }
        let give_up_at = ground.now + ground.common.patience.give_up();
        let until = give_up_at.min(ground.now + ground.common.patience.connect());
        Some(Self {
            frontend,
            client,
            address,
            leg,
            stage: Stage::Opening { until },
            earlier: Vec::new(),
            give_up_at,
            seen: ground.now,
            is_listed: false,
            tried,
            seal,
            holding,
            forward: Half::default(),
            reply: Half::default(),
        })
    }

    /// Takes note of what has changed at one of its sockets, and does what can be done.
    pub(super) fn hear(&mut self, side: Side, flags: EventFlags, ground: &mut Context<'_>) -> Next {
        if side == Side::Backend && self.stage != Stage::Live {
            return self.hear_attempts(flags, ground);
        }
        let (socket, from, to) = match side {
            Side::Client => (&self.client, &mut self.forward, &mut self.reply),
            Side::Backend => (&self.leg.socket, &mut self.reply, &mut self.forward),
        };
        from.is_ready |= flags.intersects(EventFlags::IN | ENDS);
        from.is_hung |= flags.intersects(ENDS);
        to.is_open |= flags.contains(EventFlags::OUT);
        if flags.contains(EventFlags::ERR) && !matches!(socket_error(socket), Ok(Ok(()))) {
            return Next::Reset;
        }
        self.carry(ground)
    }

    /// The backend has answered: it is told of the client, if it should be.
    pub(super) fn arrive(&mut self, ground: &Context<'_>) -> Option<Next> {
        self.stage = Stage::Live;
        ground.common.trust(self.frontend.key, &self.leg.backend);
        self.leg.backend.load.flows_total.fetch_add(1, Relaxed);
        self.seen = ground.now;
        let how = self.frontend.settings().client_ip;
        if how == ClientIp::Snat {
            return None;
        }
        let dialled = getsockname(&self.client).ok().and_then(read_address);
        let header = dialled.map(|dialled| header(how, Protocol::Tcp, self.address, dialled));
        let Some(header) = header.filter(|header| !header.is_empty()) else {
            return Some(Next::Reset);
        };
        // A new socket takes so few bytes whole, or is dead.
        match send(&self.leg.socket, &header, SendFlags::NOSIGNAL) {
            Ok(sent) if sent == header.len() => None,
            _ => Some(Next::Reset),
        }
    }

    /// Carries bytes both ways.
    pub(super) fn carry(&mut self, ground: &mut Context<'_>) -> Next {
        if self.stage != Stage::Live {
            return Next::Wait;
        }
        let (bucket, most) = (
            &self.frontend.standing.bytes,
            self.frontend.settings().bytes_per_second,
        );
        let rest = limits::wait(bucket, most, ground.now);
        if rest > 0 {
            return Next::Rest(rest);
        }
        let pace = if most == 0 {
            Pace::Free
        } else {
            Pace::Measured
        };
        let before = (self.forward.bytes, self.reply.bytes);
        let stop = self.pump(ground.kit, pace);
        self.account(before, ground.now);
        match stop {
            Err(end) => end,
            Ok(_) if self.pass_ends() => Next::Over,
            Ok(Stop::Waiting) => Next::Wait,
            Ok(Stop::Turn) => Next::Again,
        }
    }

    fn pump(&mut self, kit: &mut Kit, pace: Pace) -> Result<Stop, Next> {
        let (client, backend) = (&self.client, &self.leg.socket);
        let (forward, reply) = (&mut self.forward, &mut self.reply);
        if let Some(seal) = &mut self.seal {
            let carried = seal.carry((client, backend), (forward, reply), kit);
            return carried.map_err(|broken| match broken {
                Broken::Dead => Next::Reset,
                Broken::Protocol(error) => {
                    let (client, port) = (self.address, self.frontend.key.1);
                    tracing::debug!(%client, port, "no TLS: {error}");
                    Next::Over
                }
            });
        }
        let forward = forward.pump((client, backend), kit, pace);
        let reply = reply.pump((backend, client), kit, pace);
        match (forward, reply) {
            (Ok(Stop::Waiting), Ok(Stop::Waiting)) => Ok(Stop::Waiting),
            (Ok(_), Ok(_)) => Ok(Stop::Turn),
            _ => Err(Next::Reset),
        }
    }

    /// Tells each side that the other has ended; whether both have.
    fn pass_ends(&mut self) -> bool {
        if self.seal.as_ref().is_some_and(|seal| !seal.is_flushed()) {
            // The client has not got everything yet.
            return false;
        }
        if self.forward.is_done() && self.reply.is_done() {
            // Closing says the same to whom it was not said yet.
            return true;
        }
        let sides = [
            (&mut self.forward, &self.leg.socket),
            (&mut self.reply, &self.client),
        ];
        for (half, sink) in sides {
            if half.is_done() && !half.is_shut {
                half.is_shut = true;
                // A sink that is dead already says so by itself.
                let _ = shutdown(sink, Shutdown::Write);
            }
        }
        false
    }

    fn account(&mut self, before: (u64, u64), now: u64) {
        let (forward, reply) = (self.forward.bytes - before.0, self.reply.bytes - before.1);
        if forward + reply == 0 {
            return;
        }
        self.seen = now;
        let standing = &self.frontend.standing;
        limits::charge(
            &standing.bytes,
            forward + reply,
            self.frontend.settings().bytes_per_second,
            now,
        );
        for load in [&standing.load, &self.leg.backend.load] {
            load.forward.stream(forward);
            load.reply.stream(reply);
        }
    }

    /// Whether it has been silent for too long.
    pub(super) fn is_stale(&self, common: &Common, now: u64) -> bool {
        let silence = match self.frontend.settings().idle_timeout_s {
            0 => common.patience.tcp_established(),
            own => u64::from(own) * SECOND,
        };
        let silence = match self.is_half_closed() {
            true => silence.min(common.patience.half_closed()),
            false => silence,
        };
        let is_late = self.seal.as_ref().is_some_and(|seal| seal.is_late(now));
        is_late || self.stage == Stage::Live && now.saturating_sub(self.seen) > silence
    }

    fn is_half_closed(&self) -> bool {
        self.forward.is_ended || self.reply.is_ended
    }

    /// Why it may end for others; `None` = it is in use.
    pub(super) fn rank(&self, now: u64) -> Option<Rank> {
        let is_silent = now.saturating_sub(self.seen) >= PAUSE;
        let is_unused = self.forward.bytes + self.reply.bytes == 0;
        if self.seal.as_ref().is_some_and(Seal::is_handshaking) {
            Some(Rank::Handshake)
        } else if self.is_half_closed() {
            (is_unused || is_silent).then_some(Rank::HalfClosed)
        } else {
            is_unused.then_some(Rank::Unused)
        }
    }

    /// Has others know what it holds, and whether it is in use.
    pub(super) fn settle(&mut self, now: u64) {
        self.holding.resize(2 + self.earlier.len() as u64);
        let rank = self.rank(now);
        self.holding.set_rank(rank, now);
    }

    /// Ends it; what it has borrowed goes back.
    pub(super) fn close(mut self, kit: &mut Kit, end: Next) {
        if end != Next::Over {
            reset(&self.client);
            reset(&self.leg.socket);
        }
        self.forward.close(kit);
        self.reply.close(kit);
        self.earlier.into_iter().for_each(Leg::close);
        self.leg.close();
    }

    /// The flow as it is shown.
    pub(super) fn record(&self, now: u64) -> Option<FlowRecord> {
        Some(FlowRecord {
            frontend: read_address(getsockname(&self.client).ok()?)?,
            source: read_address(getsockname(&self.leg.socket).ok()?)?,
            ..self.sketch(now)
        })
    }

    /// The same without what only the kernel knows: the dialled address and the own one.
    pub(super) fn sketch(&self, now: u64) -> FlowRecord {
        let state = match self.stage {
            Stage::Opening { .. } => "opening",
            Stage::Live => "live",
        };
        FlowRecord {
            protocol: Protocol::Tcp,
            client: self.address,
            frontend: unknown(self.frontend.key.1),
            source: unknown(0),
            backend: self.leg.backend.address,
            state: state.into(),
            idle_seconds: now.saturating_sub(self.seen) / SECOND,
            forward_packets: 0,
            forward_bytes: self.forward.bytes,
            reply_packets: 0,
            reply_bytes: self.reply.bytes,
        }
    }
}
