//! Finds flows that are over, or that are not wanted, and has the kernel side end them: it is handed
//! lists, and deletes those to which nothing has happened since they were read.

use aya::Pod;
use harbor_common::flow::{Expired, Flow, FlowKey};

use super::expiry::{Judgement, Sweep};
use super::{FlowTable, FlowTables, Octets, ends};
use crate::{
    datapath::{
        clock::{coarse_ns, seconds_ns},
        error::DatapathError,
        program::Datapath,
        tables::batch::Place,
    },
    model::FlowEnds,
};

/// Flows that fit one run of the sweep program.
const PER_RUN: usize = 50;
/// What the kernel takes for the packet's Ethernet header.
const ETHERNET: usize = 14;

/// One way through both tables: how far it has come, and what was counted so far.
#[derive(Debug, Default)]
pub(crate) struct Pass {
    v4: Place,
    v6: Place,
    pub(crate) sweep: Sweep,
}

impl Pass {
    pub(crate) fn is_at_end(&self) -> bool {
        [self.v4, self.v6] == [Place::End; 2]
    }
}

impl FlowTables {
    /// Counts the flows among the next entries, and ends those that have been silent for too long or
    /// whose backend is gone.
    pub(crate) fn sweep(
        &self,
        datapath: &mut Datapath,
        judgement: &Judgement,
        pass: &mut Pass,
    ) -> Result<(), DatapathError> {
        let Pass { v4, v6, sweep } = pass;
        let over = match v4 {
            Place::End => self.v6.sweep(v6, judgement, sweep)?,
            _ => self.v4.sweep(v4, judgement, sweep)?,
        };
        sweep.ended += end(datapath, &over)?;
        Ok(())
    }

    /// Ends those flows among the next entries that are wanted to end, whatever happens to them
    /// meanwhile. Besides its ends a flow's frontend slot decides.
    pub(crate) fn end_now(
        &self,
        datapath: &mut Datapath,
        is_wanted: impl Fn(&FlowEnds, u32) -> bool,
        pass: &mut Pass,
    ) -> Result<(), DatapathError> {
        let over = match pass.v4 {
            Place::End => self.v6.wanted(&mut pass.v6, is_wanted)?,
            _ => self.v4.wanted(&mut pass.v4, is_wanted)?,
        };
        pass.sweep.ended += end(datapath, &over)?;
        Ok(())
    }
}

impl<A: Octets + Pod + std::hash::Hash> FlowTable<A>
where
    FlowKey<A>: Pod,
    Flow<A>: Pod,
{
    fn wanted(
        &self,
        place: &mut Place,
        is_wanted: impl Fn(&FlowEnds, u32) -> bool,
    ) -> Result<Vec<Expired>, DatapathError> {
        let mut over = Vec::new();
        self.step(place, |key, flow| {
            if ends(key, flow).is_some_and(|ends| is_wanted(&ends, flow.frontend)) {
                over.push(expired(key, flow.word, Expired::NOW));
            }
        })?;
        Ok(over)
    }

    fn sweep(
        &self,
        place: &mut Place,
        judgement: &Judgement,
        sweep: &mut Sweep,
    ) -> Result<Vec<Expired>, DatapathError> {
        let shortest = seconds_ns(judgement.shortest_s());
        let now = coarse_ns();
        let mut over = Vec::new();
        self.step(place, |key, flow| {
            sweep.count(flow);
            let is_orphan = judgement.is_orphan(flow);
            if (is_orphan || now.saturating_sub(flow.seen_ns) > shortest)
                && let Some((expired, is_over)) = self.judge(key, flow, judgement, now)
                && (is_over || is_orphan)
            {
                over.push(expired);
            }
        })?;
        Ok(over)
    }

    /// How to end a flow, and whether its time has come. `None` for a reply entry that has its
    /// forward entry: that one is judged.
    fn judge(
        &self,
        key: &FlowKey<A>,
        flow: &Flow<A>,
        judgement: &Judgement,
        now: u64,
    ) -> Option<(Expired, bool)> {
        let other = self.other(key, flow);
        if flow.direction == Flow::<A>::REPLY {
            // Without its forward entry it is a remnant.
            let remnant = (expired(key, flow.word, flow.seen_ns), true);
            return other.is_none().then_some(remnant);
        }
        let reply = other.unwrap_or_default();
        let seen_ns = flow.seen_ns.max(reply.seen_ns);
        let silence_s = judgement.silence_s(flow, &reply, key.protocol);
        let is_over = now.saturating_sub(seen_ns) > seconds_ns(silence_s);
        Some((expired(key, flow.word, seen_ns), is_over))
    }
}

fn end(datapath: &mut Datapath, over: &[Expired]) -> Result<u64, DatapathError> {
    let mut ended = 0;
    for run in over.chunks(PER_RUN) {
        ended += u64::from(datapath.run_sweep(&list(run))?);
    }
    Ok(ended)
}

fn expired<A: Octets>(key: &FlowKey<A>, word: u64, seen_ns: u64) -> Expired {
    Expired {
        word,
        seen_ns,
        key: FlowKey {
            source: key.source.widened(),
            destination: key.destination.widened(),
            source_port: key.source_port,
            destination_port: key.destination_port,
            protocol: key.protocol,
        },
        family: A::INDEX,
        _pad: 0,
    }
}

/// The "packet" that the sweep program reads.
fn list(expired: &[Expired]) -> Vec<u8> {
    let mut bytes = vec![0; ETHERNET];
    for one in expired {
        bytes.extend(one.word.to_ne_bytes());
        bytes.extend(one.seen_ns.to_ne_bytes());
        bytes.extend(one.key.source.octets);
        bytes.extend(one.key.destination.octets);
        bytes.extend(one.key.source_port.to_ne_bytes());
        bytes.extend(one.key.destination_port.to_ne_bytes());
        bytes.extend(one.key.protocol.to_ne_bytes());
        bytes.extend(one.family.to_ne_bytes());
        bytes.extend(one._pad.to_ne_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use harbor_common::addr::{Ipv4, Ipv6};

    use super::*;

    #[test]
    fn a_list_is_as_long_as_the_contract_says_and_ipv4_stands_last() {
        let key = FlowKey {
            source: Ipv4::new([192, 0, 2, 1]),
            destination: Ipv4::new([198, 51, 100, 1]),
            source_port: 40_000,
            destination_port: 35_000,
            protocol: 6,
        };
        let one = expired(&key, 0x1_0001, 7);
        let bytes = list(&[one, one]);
        assert_eq!(bytes.len(), ETHERNET + 2 * size_of::<Expired>());
        assert_eq!(
            &bytes[14 + 16..14 + 32],
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 192, 0, 2, 1]
        );
        assert_eq!(bytes[14 + 56], 0);
        assert_eq!(expired(&FlowKey::<Ipv6>::default(), 0, 0).family, 1);
    }
}
