//! Shares of pools, as the programs know them: the translation addresses of each, and whether flows of it
//! may still be on their way here.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::{Duration, Instant},
};

use aya::maps::{Array, MapData};
use harbor_common::{
    addr::{Family as _, Ipv4, Ipv6},
    backend::{SOURCE_ADDRESSES, Sources},
    maps::{SHARE_NUMBERS, SHARES, SOURCES},
    share::{Share, sources_at},
};

use super::{open, set};
use crate::{
    datapath::{
        clock::monotonic_ns,
        error::{DatapathError, Tried as _},
        program::pins::Pins,
    },
    model::{self as pool, OwnShare},
};

const _: () = assert!(SHARE_NUMBERS as u32 == pool::SHARE_NUMBERS);
const _: () = assert!(SOURCE_ADDRESSES == pool::TRANSLATION_LIMIT);

/// How long the programs believe that another node has a share, and how often they are told.
const BELIEVED_NS: u64 = 500_000_000;
const RENEWED: Duration = Duration::from_millis(100);

/// The `shares` map and the lists of `sources` that belong to it, opened.
pub(crate) struct ShareTable {
    shares: Array<MapData, Share>,
    sources: Array<MapData, Sources>,
    /// What was written last, by number.
    written: BTreeMap<u32, (OwnShare, bool)>,
    renewed: Instant,
}

impl ShareTable {
    pub(crate) fn open(pins: &Pins) -> Result<Self, DatapathError> {
        Ok(Self {
            shares: open(pins, SHARES)?,
            sources: open(pins, SOURCES)?,
            written: BTreeMap::new(),
            renewed: Instant::now(),
        })
    }

    /// Brings the tables to these shares, of which those are here whose addresses the host has; answers
    /// those that have come here. What has just come is held: what continues an unknown flow waits for
    /// its copy. To be called before their addresses are made known to the programs.
    pub(crate) fn keep(
        &mut self,
        shares: &[OwnShare],
        local: &BTreeSet<IpAddr>,
        hold: Duration,
    ) -> Result<Vec<u32>, DatapathError> {
        let mut arrived = Vec::new();
        for share in shares {
            let is_here = share.is_here(local);
            let wanted = (share.clone(), is_here);
            let held = self.written.get(&share.number);
            if held == Some(&wanted) {
                continue;
            }
            if held.is_none_or(|(held, _)| held != share) {
                self.write_sources(share)?;
            }
            if self.turn(share.number, is_here, hold)? {
                arrived.push(share.number);
            }
            self.written.insert(share.number, wanted);
        }
        let is_wanted = |number: &u32| shares.iter().any(|share| share.number == *number);
        self.written.retain(|number, _| is_wanted(number));
        Ok(arrived)
    }

    /// Says whether a share is here; whether it was not.
    fn turn(&mut self, number: u32, is_here: bool, hold: Duration) -> Result<bool, DatapathError> {
        let held = self.shares.get(&number, 0);
        let held = held.tried(|| format!("cannot read {SHARES}"))?;
        let arrives = is_here && held.held_until_ns == Share::STANDBY;
        let held_until_ns = match is_here {
            false => Share::STANDBY,
            true if arrives => {
                let hold = u64::try_from(hold.as_nanos()).unwrap_or(u64::MAX / 2);
                monotonic_ns().saturating_add(hold)
            }
            true => held.held_until_ns,
        };
        let share = Share {
            held_until_ns,
            elsewhere_until_ns: elsewhere(!is_here),
        };
        set(&mut self.shares, (SHARES, number), &share)?;
        Ok(arrives)
    }

    /// Says again which shares other nodes have. An agent that dies says so no more, and then whatever comes
    /// here is served.
    pub(crate) fn renew(&mut self) -> Result<(), DatapathError> {
        if self.renewed.elapsed() < RENEWED {
            return Ok(());
        }
        self.renewed = Instant::now();
        for (number, (_, is_here)) in &self.written {
            if !is_here {
                let share = Share {
                    held_until_ns: Share::STANDBY,
                    elsewhere_until_ns: elsewhere(true),
                };
                set(&mut self.shares, (SHARES, *number), &share)?;
            }
        }
        Ok(())
    }

    fn write_sources(&mut self, share: &OwnShare) -> Result<(), DatapathError> {
        for (family, is_v4) in [(Ipv4::INDEX, true), (Ipv6::INDEX, false)] {
            let mut list = Sources::default();
            let own = share.translation.iter().filter(|a| a.is_ipv4() == is_v4);
            for (place, address) in list.addresses.iter_mut().zip(own.take(SOURCE_ADDRESSES)) {
                *place = (*address).into();
                list.count += 1;
            }
            let element = sources_at(share.number, family);
            set(&mut self.sources, (SOURCES, element), &list)?;
        }
        Ok(())
    }
}

/// Until when another node is believed to have a share.
fn elsewhere(is_elsewhere: bool) -> u64 {
    match is_elsewhere {
        true => monotonic_ns() + BELIEVED_NS,
        false => 0,
    }
}
