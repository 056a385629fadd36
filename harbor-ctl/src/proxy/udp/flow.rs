//! One UDP flow: a client's datagrams to one dialled address, and the socket towards its backend.
//!
//! The flow keeps its backend until that is gone, fails its probes while another is well, or answers
//! with ICMP unreachable while another can take the flow: then the next datagram goes to the next one.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, connect, getsockname, socket_with},
};

use super::{
    datagrams::{BATCH, Batch, Origin, Target, ask_for_errors, send},
    errors::{Recent, is_unreachable, tell_of_absence},
};
use crate::{
    model::{ClientIp, Doubt, FlowFilter, FlowRecord, Protocol, Witness},
    proxy::{
        flows::{Rank, shares::Holding},
        ports::socket::{PortSocket, fragment},
        select::{Choice, backend::Backend, choose, frontend::Frontend, has_other, limits},
        tcp::{Here, proxy_header::header},
        worker::{
            clock::SECOND,
            descriptors::Descriptor,
            poll::{Interest, Name, Source},
            shared::{Common, read_address, unknown},
        },
    },
};

/// An app's answers are a stream while they are not further apart.
const PAUSE: u64 = 2 * SECOND;

/// Errors that are not believed and stand in a datagram's way; after so many it is given up.
const FORGED: u32 = 4;

/// A client's conversation.
pub(super) struct UdpFlow {
    pub(super) frontend: Arc<Frontend>,
    pub(super) seat: Arc<PortSocket>,
    pub(super) origin: Origin,
    leg: Option<Leg>,
    /// Numbers of the backends that have failed it.
    left: Vec<u64>,
    /// A datagram went last, in either direction.
    seen: u64,
    forward: Sent,
    reply: Sent,
    /// Its place among all flows.
    pub(super) holding: Holding,
}

/// What went in one direction.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    packets: u64,
    bytes: u64,
}

/// The way to the backend.
struct Leg {
    backend: Arc<Backend>,
    socket: Descriptor,
    recent: Recent,
}

impl UdpFlow {
    pub(super) fn new(
        (seat, frontend): (Arc<PortSocket>, Arc<Frontend>),
        origin: Origin,
        holding: Holding,
        now: u64,
    ) -> Self {
        Self {
            frontend,
            seat,
            origin,
            leg: None,
            left: Vec::new(),
            seen: now,
            forward: Sent::default(),
            reply: Sent::default(),
            holding,
        }
    }

    /// Sends a client's datagrams to the backend; `false` = there is none.
    pub(super) fn forward(&mut self, payloads: &[&[u8]], name: Name, here: Here<'_>) -> bool {
        self.seen = here.now;
        let passing: Vec<&[u8]> = self.passing(payloads, here.now);
        let how = self.frontend.settings().client_ip;
        let prefix = match how {
            ClientIp::Snat => Vec::new(),
            _ => header(how, Protocol::Udp, self.origin.client, self.dialled()),
        };
        let mut rest = &passing[..];
        let (mut tried, mut forged) = (Vec::new(), 0);
        while !rest.is_empty() {
            if !self.has_way(&mut tried, name, here) {
                return false;
            }
            let Some(leg) = &mut self.leg else {
                return false;
            };
            let (sent, error) = send(&leg.socket, None, &prefix, rest);
            leg.recent.note(&prefix, &rest[..sent]);
            self.count_forward(&rest[..sent]);
            rest = &rest[sent..];
            match error {
                None => {}
                Some(error) if is_unreachable(error) && forged < FORGED => {
                    forged += u32::from(!self.hear_errors(&mut tried, here));
                }
                // This one is too large for the way, or the way is full: what UDP does with both.
                Some(_) => rest = &rest[1..],
            }
        }
        true
    }

    /// Sends the backend's datagrams to the client, at most a batch; whether there may be more.
    pub(super) fn reply(&mut self, batch: &mut Batch, here: Here<'_>) -> bool {
        let Some(leg) = &self.leg else {
            return false;
        };
        let count = match batch.receive(&leg.socket) {
            Ok(count) => count,
            Err(error) => {
                // What was not believed stood in the way of datagrams.
                return is_unreachable(error) && !self.hear_errors(&mut Vec::new(), here);
            }
        };
        here.common.trust(self.frontend.key, &leg.backend);
        self.seen = here.now;
        let payloads: Vec<&[u8]> = (0..count).map(|index| batch.payload(index)).collect();
        let mut passing = self.passing(&payloads, here.now);
        self.cap(&mut passing);
        let target = Target::answer(self.origin, self.seat.family);
        let mut rest = &passing[..];
        while !rest.is_empty() {
            let (sent, error) = send(&self.seat.socket, Some(&target), &[], rest);
            self.count_reply(&rest[..sent]);
            // The error may be another flow's, whose client is gone.
            rest = &rest[sent + usize::from(error.is_some())..];
        }
        count == BATCH
    }

    /// The socket towards the backend has errors: leaves the backend if they can be believed, and says so.
    pub(super) fn hear_errors(&mut self, tried: &mut Vec<u64>, here: Here<'_>) -> bool {
        let is_absent = self.leg.as_ref().is_some_and(|leg| {
            let backend = leg.backend.address.ip();
            tell_of_absence(&leg.socket, backend, &leg.recent)
        });
        if is_absent {
            self.doubt(tried, here);
        }
        is_absent
    }

    /// The address and number that the client sends to.
    fn dialled(&self) -> SocketAddr {
        SocketAddr::new(self.origin.dialled, self.seat.key.1)
    }

    /// Whether it has been silent for too long.
    pub(super) fn is_stale(&self, common: &Common, now: u64) -> bool {
        let silence = match (self.is_stream(), self.frontend.settings().idle_timeout_s) {
            (false, _) => common.patience.udp_single(),
            (true, 0) => common.patience.udp_stream(),
            (true, own) => u64::from(own) * SECOND,
        };
        now.saturating_sub(self.seen) > silence
    }

    /// Whether both sides have spoken, and the client more than once.
    fn is_stream(&self) -> bool {
        self.forward.packets > 1 && self.reply.packets > 0
    }

    /// Why it may end for others; `None` = it is in use.
    pub(super) fn rank(&self, now: u64) -> Option<Rank> {
        let is_silent = now.saturating_sub(self.seen) >= PAUSE;
        let is_question = !self.is_stream() && (self.reply.packets <= 1 || is_silent);
        is_question.then_some(Rank::Question)
    }

    /// Has others know whether it is in use.
    pub(super) fn settle(&mut self, now: u64) {
        let rank = self.rank(now);
        self.holding.set_rank(rank, now);
    }

    /// Whether its backend is gone.
    pub(super) fn is_lost(&self) -> bool {
        self.leg.as_ref().is_some_and(|leg| leg.backend.is_gone())
    }

    /// Forgets its backend; the next datagram finds another.
    pub(super) fn unbind(&mut self) {
        if let Some(leg) = self.leg.take() {
            leg.backend.load.flows.fetch_sub(1, Relaxed);
        }
    }

    /// The flow as it is shown.
    pub(super) fn record(&self, now: u64) -> Option<FlowRecord> {
        let source = getsockname(&self.leg.as_ref()?.socket).ok()?;
        Some(FlowRecord {
            source: read_address(source)?,
            ..self.sketch(now)?
        })
    }

    pub(super) fn is_meant(&self, filter: &FlowFilter, now: u64) -> bool {
        let record = self.sketch(now);
        record.is_some_and(|record| filter.holds(&record.ends()))
    }

    /// The same without what only the kernel knows.
    fn sketch(&self, now: u64) -> Option<FlowRecord> {
        let leg = self.leg.as_ref()?;
        let state = if self.reply.packets == 0 {
            "opening"
        } else {
            "live"
        };
        Some(FlowRecord {
            protocol: Protocol::Udp,
            client: self.origin.client,
            frontend: self.dialled(),
            source: unknown(0),
            backend: leg.backend.address,
            state: state.into(),
            idle_seconds: now.saturating_sub(self.seen) / SECOND,
            forward_packets: self.forward.packets,
            forward_bytes: self.forward.bytes,
            reply_packets: self.reply.packets,
            reply_bytes: self.reply.bytes,
        })
    }

    /// Finds a backend, if it has none or should leave the one that it has.
    fn has_way(&mut self, tried: &mut Vec<u64>, name: Name, here: Here<'_>) -> bool {
        let should_leave = |leg: &Leg| {
            leg.backend.is_gone()
                || leg.backend.is_left() && has_other(&self.frontend, &leg.backend)
        };
        if self.leg.as_ref().is_some_and(should_leave) {
            self.unbind();
        }
        while self.leg.is_none() {
            let client = self.origin.client.ip();
            let avoided = [&self.left[..], tried].concat();
            let chosen = choose(&self.frontend, client, here.now, &avoided, Choice::Real);
            let Some(chosen) = chosen else {
                if self.left.is_empty() {
                    return false;
                }
                // All have failed it: any of them may be well again.
                self.left.clear();
                continue;
            };
            match Leg::to(&chosen.backend, name, here) {
                Ok(leg) => self.leg = Some(leg),
                Err(error) if is_unreachable(error) => {
                    let key = self.frontend.key;
                    let (doubt, witness) = (Doubt::Unreachable, Witness::Kernel);
                    here.common.doubt(key, &chosen.backend, doubt, witness);
                    tried.push(chosen.backend.number);
                }
                Err(_) => {
                    here.common.shed.fetch_add(1, Relaxed);
                    return false;
                }
            }
        }
        true
    }

    /// The backend's host has said that nobody is there.
    fn doubt(&mut self, tried: &mut Vec<u64>, here: Here<'_>) {
        let Some(leg) = &self.leg else {
            return;
        };
        let (backend, key) = (&leg.backend, self.frontend.key);
        let witness = Witness::Client(self.origin.client.ip());
        here.common.doubt(key, backend, Doubt::Unreachable, witness);
        // The only one is tried once more: the error was about an earlier datagram.
        let is_over = tried.contains(&backend.number) || has_other(&self.frontend, backend);
        tried.push(backend.number);
        if is_over {
            self.left.push(backend.number);
            self.unbind();
        }
    }

    /// Those that the port's limits let pass.
    fn passing<'a>(&self, payloads: &[&'a [u8]], now: u64) -> Vec<&'a [u8]> {
        let (standing, settings) = (&self.frontend.standing, self.frontend.settings());
        let passes = |payload: &&&[u8]| {
            let (packets, bytes) = (settings.packets_per_second.into(), payload.len() as u32);
            limits::take(&standing.packets, 1, packets, now)
                && limits::take(&standing.bytes, bytes, settings.bytes_per_second, now)
        };
        payloads.iter().filter(passes).copied().collect()
    }

    /// Leaves out what the port does not let back before the client has sent a second datagram.
    fn cap(&self, payloads: &mut Vec<&[u8]>) {
        let most = u64::from(self.frontend.settings().reply_cap_bytes);
        if most == 0 || self.forward.packets > 1 {
            return;
        }
        let mut bytes = self.reply.bytes;
        payloads.retain(|payload| {
            let with_it = bytes + payload.len() as u64;
            let fits = with_it <= most;
            bytes = if fits { with_it } else { bytes };
            fits
        });
    }

    fn count_forward(&mut self, sent: &[&[u8]]) {
        let (count, bytes) = sum(sent);
        self.forward.add(count, bytes);
        self.frontend.standing.load.forward.datagrams(count, bytes);
        if let Some(leg) = &self.leg {
            leg.backend.load.forward.datagrams(count, bytes);
        }
    }

    fn count_reply(&mut self, sent: &[&[u8]]) {
        let (count, bytes) = sum(sent);
        self.reply.add(count, bytes);
        self.frontend.standing.load.reply.datagrams(count, bytes);
        if let Some(leg) = &self.leg {
            leg.backend.load.reply.datagrams(count, bytes);
        }
    }
}

impl Sent {
    fn add(&mut self, count: u64, bytes: u64) {
        self.packets += count;
        self.bytes += bytes;
    }
}

impl Leg {
    fn to(backend: &Arc<Backend>, name: Name, here: Here<'_>) -> Result<Self, Errno> {
        let family = match backend.address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(family, SocketType::DGRAM, flags, None)?;
        let socket = here.common.ledger.enter(socket);
        let is_v6 = backend.address.is_ipv6();
        fragment(&socket, is_v6)?;
        ask_for_errors(&socket, is_v6)?;
        connect(&socket, &backend.address)?;
        here.poll
            .add(&socket, Source::Flow(name), Interest::Taking)?;
        let load = &backend.load;
        load.flows.fetch_add(1, Relaxed);
        load.flows_total.fetch_add(1, Relaxed);
        Ok(Self {
            backend: Arc::clone(backend),
            socket,
            recent: Recent::default(),
        })
    }
}

fn sum(payloads: &[&[u8]]) -> (u64, u64) {
    let bytes = payloads.iter().map(|payload| payload.len() as u64).sum();
    (payloads.len() as u64, bytes)
}
