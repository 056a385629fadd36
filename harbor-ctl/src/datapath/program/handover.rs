//! Puts these programs in the place of others that serve from their own tables, without a packet lost:
//! the others' program is called for whatever has no flow here, until their flows are.

use std::fs;

use aya::{
    maps::ProgramArray,
    programs::{
        ProgramFd, ProgramInfo,
        links::{FdLink, PinnedLink},
        loaded_programs,
    },
};
use harbor_common::{
    adoption::Adoption,
    flow::Hand,
    maps::{FORMER, HANDS, RING_SHARES},
};

use super::{
    Datapath,
    attach::{Attached, Hook},
    explain_refusal, load,
    object::{ADOPT_PROGRAM, Handover},
    program,
};
use crate::datapath::{
    error::{DatapathError, Tried as _},
    former::{Former, octets},
    tables,
};

/// What became of flows that were to be entered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Adopted {
    /// For so many there was room.
    pub(crate) settled: usize,
    /// So many of these found another flow in their place.
    pub(crate) late: usize,
}

/// What the kernel takes for the packet's Ethernet header.
const ETHERNET: usize = 14;
/// More flows than this have hardly begun in one ring where cookies were not scattered.
const SCATTERED: u64 = 1 << 34;
/// How many cookies the former program may give after its flows were read.
const COOKIES: u64 = 1 << 24;

impl Datapath {
    pub(crate) fn handover(&self) -> Handover {
        self.handover
    }

    /// What served before, if its flows are not taken over yet.
    pub(crate) fn former(&self) -> Option<&Former> {
        self.former.as_ref()
    }

    /// Notes which program served before, and takes its links for the programs of this datapath.
    pub(crate) fn take_links(
        &mut self,
        has_header: impl Fn(u32) -> bool,
    ) -> Result<(), DatapathError> {
        let Some(former) = &self.former else {
            return Ok(());
        };
        former.pins.adopt_named_links()?;
        let attached = former.pins.attached()?;
        let packets = |at: &&Attached| at.hook != Hook::Xdp && has_header(at.ifindex);
        if let Some(program) = attached.iter().find(packets).and_then(program_of) {
            let mut slot: ProgramArray<_> = tables::open(&self.pins, FORMER)?;
            slot.set(0, &program, 0)
                .tried(|| format!("cannot write {FORMER}"))?;
        }
        for at in attached {
            let to = self.pins.link(at.ifindex, at.hook);
            fs::rename(&at.pin, &to).tried(|| format!("cannot take {}", at.pin.display()))?;
        }
        Ok(())
    }

    /// Loads the programs for the next step, so that it takes no longer than to attach them; whether that
    /// was done already.
    pub(crate) fn prepare(&mut self, next: Handover) -> Result<bool, DatapathError> {
        if self
            .prepared
            .as_ref()
            .is_some_and(|(step, _)| *step == next)
        {
            return Ok(true);
        }
        self.prepared = Some((next, load(&self.pins, &self.options, next)?));
        Ok(false)
    }

    /// From the next load on.
    pub(crate) fn set_handover(&mut self, handover: Handover) {
        self.handover = handover;
    }

    /// Has every cookie of a flow that begins here be higher than this one.
    pub(crate) fn raise_cookies(&mut self, highest: u64) -> Result<(), DatapathError> {
        let mut hands: aya::maps::Array<_, Hand> = tables::open(&self.pins, HANDS)?;
        let least = highest / u64::from(2 * RING_SHARES) + COOKIES;
        for ring in 0..2 * RING_SHARES {
            let mut hand = hands
                .get(&ring, 0)
                .tried(|| format!("cannot read {HANDS}"))?;
            hand.count = hand.count.max(least);
            tables::set(&mut hands, (HANDS, ring), &hand)?;
        }
        Ok(())
    }

    /// Has the cookies of flows that begin here lie where hardly another node's do, unless that was done.
    pub(crate) fn scatter_cookies(&mut self) -> Result<(), DatapathError> {
        let hands: aya::maps::Array<_, Hand> = tables::open(&self.pins, HANDS)?;
        let hand = hands.get(&0, 0).tried(|| format!("cannot read {HANDS}"))?;
        if hand.count >= SCATTERED {
            return Ok(());
        }
        // The cookie has 48 bits; one bit is left for those that this node will give.
        let most = (1 << 47) - SCATTERED * u64::from(2 * RING_SHARES);
        let least = SCATTERED * u64::from(2 * RING_SHARES);
        self.raise_cookies(least + rand::random::<u64>() % (most - least))
    }

    /// Enters flows, [`Adoption::PER_RUN`] at most.
    pub(crate) fn adopt(&mut self, flows: &[Adoption]) -> Result<Adopted, DatapathError> {
        // Where nothing is taken over from another program, copies of other nodes' flows are the first.
        let adopt = program(&mut self.ebpf, ADOPT_PROGRAM)?;
        if adopt.fd().is_err() {
            adopt
                .load()
                .map_err(|error| explain_refusal(ADOPT_PROGRAM, &error))?;
        }
        let mut packet = vec![0; ETHERNET];
        for flow in flows {
            packet.extend_from_slice(octets(flow));
        }
        match flows.is_empty() {
            true => Ok(Adopted::default()),
            false => self.run(ADOPT_PROGRAM, &packet).map(|result| Adopted {
                settled: result as usize & 0xffff,
                late: result as usize >> 16,
            }),
        }
    }

    /// The former program serves nothing any more: it goes with all its tables.
    pub(crate) fn forget_former(&mut self) -> Result<(), DatapathError> {
        let mut slot: ProgramArray<_> = tables::open(&self.pins, FORMER)?;
        // It is empty where nothing was attached.
        let _ = slot.clear_index(&0);
        match self.former.take() {
            Some(former) => former.discard(),
            None => Ok(()),
        }
    }
}

/// The program behind a pin.
fn program_of(attached: &Attached) -> Option<ProgramFd> {
    if attached.hook == Hook::Clsact {
        return ProgramInfo::from_pin(&attached.pin).ok()?.fd().ok();
    }
    let link = FdLink::from(PinnedLink::from_pin(&attached.pin).ok()?);
    let id = link.info().ok()?.program_id();
    let mut programs = loaded_programs().flatten();
    programs.find(|program| program.id() == id)?.fd().ok()
}
