//! Keeps `routes`, `neighbours` and `next_hops` as they should be.
//!
//! A next hop that packets may use is never rewritten: a changed neighbour gets another element, and
//! one that was given back rests until every flow has looked its way up anew.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    time::{Duration, Instant},
};

use aya::maps::{Array, HashMap, LpmTrie, MapData, lpm_trie::Key};
use harbor_common::{
    maps::{NEIGHBOUR_SLOTS, NEIGHBOURS, NEXT_HOPS, ROUTES},
    route::{Neighbour, NextHop, Route, RouteKey},
};

use super::plan::{KernelRoutes, RouteAt, WayPlan, Ways};
use crate::{
    datapath::{
        error::{DatapathError, Tried as _},
        interfaces::Snapshot,
        program::pins::Pins,
        tables::{open, set},
    },
    model::Difference,
    reconcile::compare,
};

/// Bits of a key in front of the address.
const VIEW_BITS: u32 = 32;

/// How long an element rests before it is used again.
const REST: Duration = Duration::from_secs(60);

/// The three maps, opened, and what they hold.
pub(crate) struct RouteTables {
    routes: LpmTrie<MapData, RouteKey, Route>,
    neighbours: HashMap<MapData, Neighbour, u32>,
    next_hops: Array<MapData, NextHop>,
    held: Ways,
    elements: BTreeMap<Neighbour, u32>,
    free: Elements,
}

/// What an element of `next_hops` says: the first twelve octets of a frame, and the interface.
type Hop = ([u8; 12], u32);

/// Elements of `next_hops`: those never used, and those that rest, in the order of their release.
#[derive(Debug)]
struct Elements {
    next: u32,
    capacity: u32,
    resting: VecDeque<(Instant, u32, Hop)>,
}

/// An element to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    /// It says already what it is to say.
    AsItIs(u32),
    /// It has to be written.
    Blank(u32),
}

impl Elements {
    /// A neighbour that comes back as it was gets an element that says so still, at once.
    fn take(&mut self, hop: Hop, now: Instant) -> Option<Taken> {
        let same = self.resting.iter().position(|(_, _, held)| *held == hop);
        if let Some((_, element, _)) = same.and_then(|place| self.resting.remove(place)) {
            return Some(Taken::AsItIs(element));
        }
        if self.next < self.capacity {
            self.next += 1;
            return Some(Taken::Blank(self.next - 1));
        }
        let (since, element, _) = *self.resting.front()?;
        (now.duration_since(since) >= REST).then(|| {
            self.resting.pop_front();
            Taken::Blank(element)
        })
    }

    fn rest(&mut self, element: u32, hop: Hop, now: Instant) {
        self.resting.push_back((now, element, hop));
    }
}

impl RouteTables {
    /// Opens the maps and reads what a former agent left.
    pub(crate) fn open(pins: &Pins) -> Result<Self, DatapathError> {
        let next_hops: Array<_, NextHop> = open(pins, NEXT_HOPS)?;
        let capacity = next_hops.len().min(NEIGHBOUR_SLOTS as u32);
        let mut tables = Self {
            routes: open(pins, ROUTES)?,
            neighbours: open(pins, NEIGHBOURS)?,
            next_hops,
            held: Ways::default(),
            elements: BTreeMap::new(),
            free: Elements {
                next: 1,
                capacity,
                resting: VecDeque::new(),
            },
        };
        tables.look_again()?;
        Ok(tables)
    }

    /// Takes for written what the maps hold.
    pub(crate) fn look_again(&mut self) -> Result<(), DatapathError> {
        self.held.routes = self.read_routes()?;
        self.held.neighbours.clear();
        self.elements = self.read_neighbours()?;
        self.read_next_hops()
    }

    fn read_routes(&self) -> Result<BTreeMap<RouteAt, Route>, DatapathError> {
        let entries = self.routes.iter().map(|entry| {
            let (key, route) = entry.tried(|| format!("cannot read {ROUTES}"))?;
            let RouteKey { view, address } = key.data();
            let bits = key.prefix_len().saturating_sub(VIEW_BITS);
            Ok(((view, bits, address), route))
        });
        entries.collect()
    }

    fn read_neighbours(&self) -> Result<BTreeMap<Neighbour, u32>, DatapathError> {
        let entries = self.neighbours.iter();
        let entries = entries.map(|entry| entry.tried(|| format!("cannot read {NEIGHBOURS}")));
        entries.collect()
    }

    /// Elements that are not as they were written; adds up how many there are.
    pub(crate) fn verify(&self, elements: &mut u64) -> Result<Vec<Difference>, DatapathError> {
        let (routes, neighbours) = (self.read_routes()?, self.read_neighbours()?);
        let mut hops = BTreeMap::new();
        for element in self.elements.values() {
            let hop = self.next_hops.get(element, 0);
            let hop = hop.tried(|| format!("cannot read {NEXT_HOPS}"))?;
            hops.insert(*element, (hop.octets(), hop.ifindex));
        }
        let written = self.elements.iter().map(|(neighbour, element)| {
            let hardware = self.held.neighbours.get(neighbour);
            let hop = (hardware.copied().unwrap_or_default(), neighbour.ifindex);
            (*element, hop)
        });
        let written: BTreeMap<u32, Hop> = written.collect();
        *elements += (self.held.routes.len() + self.elements.len() + written.len()) as u64;
        let behind = |at: &Neighbour| format!("{} behind {}", at.address, at.ifindex);
        let prefix = |at: &RouteAt| format!("{}/{} of view {}", at.2, at.1, at.0);
        Ok([
            compare(ROUTES, (&self.held.routes, &routes), prefix),
            compare(NEIGHBOURS, (&self.elements, &neighbours), behind),
            compare(NEXT_HOPS, (&written, &hops), u32::to_string),
        ]
        .concat())
    }

    /// An element that was ever used and is nobody's may be in use by a flow.
    fn read_next_hops(&mut self) -> Result<(), DatapathError> {
        let now = Instant::now();
        let mut used = BTreeMap::new();
        for element in 1..self.free.capacity {
            let hop = self.next_hops.get(&element, 0);
            let hop = hop.tried(|| format!("cannot read {NEXT_HOPS}"))?;
            if hop.ifindex != 0 {
                used.insert(element, (hop.octets(), hop.ifindex));
            }
        }
        let last = used.keys().next_back().copied().unwrap_or(0);
        self.free.next = last + 1;
        self.free.resting.clear();
        for (neighbour, element) in &self.elements {
            let (hardware, _) = used.remove(element).unwrap_or_default();
            self.held.neighbours.insert(*neighbour, hardware);
        }
        for (element, hop) in used {
            self.free.rest(element, hop, now);
        }
        Ok(())
    }

    /// Brings the maps to what the kernel says; whether anything changed, so that flows must look
    /// their ways up anew.
    pub(crate) fn update(
        &mut self,
        kernel: &KernelRoutes,
        snapshot: &Snapshot,
    ) -> Result<bool, DatapathError> {
        let wanted = Ways::of(kernel, snapshot);
        let plan = WayPlan::between(&self.held, &wanted);
        self.held.views = wanted.views;
        self.held.gap = wanted.gap;
        if plan.is_empty() {
            return Ok(false);
        }
        let applied = self.apply(&plan);
        if applied.is_err() {
            // What was written is uncertain: look, and leave the rest to the next time.
            self.look_again()?;
        }
        applied.map(|()| true)
    }

    /// The view of each of the node's addresses, where that is not 0.
    pub(crate) fn views(&self) -> &BTreeMap<IpAddr, u32> {
        &self.held.views
    }

    /// Why some way that the kernel knows is not in the tables.
    pub(crate) fn gap(&self) -> Option<&str> {
        self.held.gap.as_deref()
    }

    /// The interface by which packets with this source leave for a host.
    pub(crate) fn interface_towards(&self, source: IpAddr, host: IpAddr) -> Option<u32> {
        self.held.find(source, host).map(|route| route.ifindex)
    }

    /// The destination that an element writes into frames; `None` for none.
    pub(crate) fn hardware_of(&self, element: u32) -> Option<String> {
        let mut known = self.elements.iter().filter(|(_, held)| **held == element);
        let (neighbour, _) = known.next()?;
        let octets = self.held.neighbours.get(neighbour)?[..6].iter();
        let octets: Vec<String> = octets.map(|octet| format!("{octet:02x}")).collect();
        Some(octets.join(":"))
    }

    fn apply(&mut self, plan: &WayPlan) -> Result<(), DatapathError> {
        let now = Instant::now();
        for neighbour in &plan.forget_neighbours {
            self.forget(neighbour, now)?;
        }
        for (neighbour, hardware) in &plan.neighbours {
            self.put_neighbour(neighbour, *hardware, now)?;
        }
        for at in &plan.forget_routes {
            self.routes
                .remove(&key(at))
                .tried(|| format!("cannot remove {}/{} from {ROUTES}", at.2, at.1))?;
            self.held.routes.remove(at);
        }
        for (at, route) in &plan.routes {
            self.routes
                .insert(&key(at), route, 0)
                .tried(|| format!("cannot write {}/{} to {ROUTES}", at.2, at.1))?;
            self.held.routes.insert(*at, *route);
        }
        Ok(())
    }

    fn forget(&mut self, neighbour: &Neighbour, now: Instant) -> Result<(), DatapathError> {
        let hardware = self.held.neighbours.remove(neighbour).unwrap_or_default();
        if let Some(element) = self.elements.remove(neighbour) {
            self.free.rest(element, (hardware, neighbour.ifindex), now);
            self.neighbours
                .remove(neighbour)
                .tried(|| format!("cannot remove {} from {NEIGHBOURS}", neighbour.address))?;
        }
        Ok(())
    }

    fn put_neighbour(
        &mut self,
        neighbour: &Neighbour,
        hardware: [u8; 12],
        now: Instant,
    ) -> Result<(), DatapathError> {
        let element = match self.free.take((hardware, neighbour.ifindex), now) {
            Some(Taken::AsItIs(element)) => element,
            Some(Taken::Blank(element)) => {
                let hop = NextHop {
                    hardware: NextHop::words(hardware),
                    ifindex: neighbour.ifindex,
                    probed_ns: 0,
                };
                set(&mut self.next_hops, (NEXT_HOPS, element), &hop)?;
                element
            }
            // Left to the kernel until an element has rested.
            None => return self.forget(neighbour, now),
        };
        self.neighbours
            .insert(neighbour, element, 0)
            .tried(|| format!("cannot write {} to {NEIGHBOURS}", neighbour.address))?;
        let former = self.held.neighbours.insert(*neighbour, hardware);
        if let Some(element) = self.elements.insert(*neighbour, element) {
            let hop = (former.unwrap_or_default(), neighbour.ifindex);
            self.free.rest(element, hop, now);
        }
        Ok(())
    }
}

fn key((view, bits, address): &RouteAt) -> Key<RouteKey> {
    let key = RouteKey {
        view: *view,
        address: *address,
    };
    Key::new(VIEW_BITS + bits, key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_is_used_again_only_after_its_rest() {
        let mut elements = Elements {
            next: 1,
            capacity: 3,
            resting: VecDeque::new(),
        };
        let now = Instant::now();
        let hop = |last| ([last; 12], 2);
        let take = |elements: &mut Elements, last, rested| elements.take(hop(last), now + rested);
        assert_eq!(take(&mut elements, 1, REST), Some(Taken::Blank(1)));
        assert_eq!(take(&mut elements, 2, REST), Some(Taken::Blank(2)));
        elements.rest(2, hop(2), now);
        assert_eq!(take(&mut elements, 3, REST / 2), None);
        assert_eq!(take(&mut elements, 3, REST), Some(Taken::Blank(2)));
        assert_eq!(take(&mut elements, 4, REST), None);
    }

    #[test]
    fn a_neighbour_that_comes_back_gets_what_was_its_own() {
        let mut elements = Elements {
            next: 1,
            capacity: 3,
            resting: VecDeque::new(),
        };
        let (now, hop) = (Instant::now(), ([1; 12], 2));
        assert_eq!(elements.take(hop, now), Some(Taken::Blank(1)));
        elements.rest(1, hop, now);
        assert_eq!(elements.take(hop, now), Some(Taken::AsItIs(1)));
    }
}
