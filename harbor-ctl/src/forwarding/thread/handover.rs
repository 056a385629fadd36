//! Takes over the flows of a program that served before from tables of another layout or size.
//!
//! First that program goes on opening flows, and those of its flows that are in use are entered here, again
//! and again until hardly a new one is found. Then new flows begin here, and the rest is entered. Whatever is
//! not here yet is its to serve, so no packet is lost at any time.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use harbor_common::{
    addr::{Family as _, Ipv4},
    adoption::Adoption,
    flow::Phase,
    protocol::Protocol as Number,
};

use super::{Forwarder, ROUND, taking_over::TakingOver};
use crate::{
    datapath::{DatapathError, Framing, Handover, Hook, Interface},
    reconcile::{BackendKey, FrontendKey, Tables as _},
};

/// How long a turn is; one step at least.
const TURN: Duration = Duration::from_millis(10);
/// So few new flows in one way through the tables are hardly any.
const FEW: u64 = 64;
/// After so many ways through, new flows begin here however many there were.
const FIRST_WAYS: u32 = 8;
/// Ways through after that, at least.
const LAST_WAYS: u32 = 2;

impl Forwarder {
    /// Takes the links of a program that served before for this datapath's.
    pub(super) fn take_links(&mut self) -> Result<(), DatapathError> {
        let snapshot = &self.snapshot;
        self.datapath.take_links(|ifindex| {
            let mut interfaces = snapshot.interfaces.iter();
            interfaces.any(|one| one.index == ifindex && one.framing == Framing::Ethernet)
        })
    }

    /// Whether there is more to take over at once.
    pub(super) fn is_taking_over(&self) -> bool {
        let is_due = |taking: &TakingOver| Instant::now() >= taking.not_before;
        self.taking_over.as_ref().is_some_and(is_due)
            && self.inputs.services.is_some()
            && !self.inputs.is_open
    }

    /// One turn of taking flows over, once it is known what is served.
    pub(super) fn take_over(&mut self) {
        let begun = Instant::now();
        while self.is_taking_over() && begun.elapsed() < TURN {
            let Some(mut taking) = self.taking_over.take() else {
                return;
            };
            match self.take_on(&mut taking) {
                Ok(true) => {
                    let (flows, took) = (taking.seen.len(), taking.begun.elapsed());
                    tracing::info!(flows, "all flows are taken over, within {took:?}");
                    continue;
                }
                Ok(false) => taking.failed = None,
                Err(error) => {
                    tracing::error!("cannot take over flows: {error}");
                    taking.failed = Some(error.to_string());
                    taking.not_before = Instant::now() + ROUND;
                }
            }
            self.taking_over = Some(taking);
        }
    }

    /// One step; whether all is done.
    fn take_on(&mut self, taking: &mut TakingOver) -> Result<bool, DatapathError> {
        let former_opens = self.datapath.handover() == Handover::FormerOpens;
        for keys in taking.next()?.chunks(Adoption::PER_RUN) {
            // Read as late as can be: until it is here, the former program changes it.
            let (mut known, mut homeless) = (Vec::new(), Vec::new());
            for key in keys {
                let Some(flow) = taking.flows.flow(key)? else {
                    continue;
                };
                if former_opens && !is_in_use(&flow) {
                    continue;
                }
                match self.home(&flow) {
                    Some(flow) => known.push(flow),
                    // Its next packet would end it in any case.
                    None => homeless.push(flow),
                }
            }
            let adopted = self.datapath.adopt(&known)?;
            match self.mirror.actual.frontends.is_empty() {
                // No port is known: rather lost than deleted, and that is for people to decide.
                true => taking.now.unknown += homeless.len() as u64,
                false => taking.note(&homeless),
            }
            if adopted.late > 0 {
                tracing::debug!(flows = adopted.late, "another flow has the place");
            }
            match known.len().saturating_sub(adopted.settled) {
                0 => taking.note(&known),
                // Nobody knows which; all of them are tried again.
                without_room => taking.now.without_room += without_room as u64,
            }
        }
        if !taking.place.is_at_end() {
            return Ok(false);
        }
        let found = taking.turn();
        match self.datapath.handover() {
            // Where there is no room for those that are, the former program has some for new ones.
            Handover::FormerOpens
                if found.is_settled() && (found.fresh <= FEW || taking.ways >= FIRST_WAYS) =>
            {
                let highest = taking.seen.keys().max().copied().unwrap_or_default();
                self.datapath.raise_cookies(highest)?;
                if self.hand_over(Handover::OpensHere)? {
                    taking.ways = 0;
                }
                Ok(false)
            }
            Handover::OpensHere | Handover::None
                if taking.ways >= LAST_WAYS && found.fresh == 0 && found.is_settled() =>
            {
                self.hand_over(Handover::None)?;
                self.datapath.forget_former()?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Takes the next step; not before another way through the tables, if its programs had to be loaded
    /// and it is about new flows: the fewer are not here, the better.
    fn hand_over(&mut self, next: Handover) -> Result<bool, DatapathError> {
        if !self.datapath.prepare(next)? && next == Handover::OpensHere {
            return Ok(false);
        }
        self.datapath.set_handover(next);
        self.replace(&self.settings.options())?;
        // A packet that came before may still be on its way through the former programs.
        self.tables.wait_for_readers()?;
        Ok(true)
    }

    /// A flow with its frontend and its backend here; `None` if it has none.
    pub(super) fn home(&self, flow: &Adoption) -> Option<Adoption> {
        let frontend = FrontendKey {
            protocol: Number::from_number(flow.key.protocol)?.into(),
            port: flow.key.destination_port,
        };
        let address = SocketAddr::new(backend_of(flow), flow.backend_port);
        let (served, _) = self.mirror.actual.frontends.get(&frontend)?;
        let key = BackendKey { frontend, address };
        let (slot, row) = self.mirror.actual.backends.get(&key)?;
        Some(Adoption {
            frontend: served.slot,
            backend: *slot,
            backend_generation: row.generation,
            ..*flow
        })
    }

    /// How an interface without an Ethernet header keeps the program that served before: to the last, as
    /// no other can call it there.
    pub(super) fn kept_for_former(&self, interface: &Interface) -> Option<Hook> {
        if self.datapath.handover() == Handover::None || interface.framing == Framing::Ethernet {
            return None;
        }
        let pinned = self.datapath.pins.attached().ok()?;
        let mut own = pinned.iter().filter(|at| at.hook != Hook::Xdp);
        own.find(|at| at.ifindex == interface.index)
            .map(|at| at.hook)
    }
}

/// Whether the former program keeps the flow's source port for it, whatever new flows begin there: a copy of
/// any other might be met by packets of another flow with that port.
fn is_in_use(flow: &Adoption) -> bool {
    Phase::of(flow.word, flow.reply_bits).is_kept(flow.key.protocol)
}

fn backend_of(flow: &Adoption) -> IpAddr {
    let octets = flow.backend_address.octets;
    match flow.family == Ipv4::INDEX {
        true => IpAddr::from([octets[12], octets[13], octets[14], octets[15]]),
        false => octets.into(),
    }
}
