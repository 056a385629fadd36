//! Who comes when: the turn tables of backend sets. Pure.
//!
//! A table is made from what identifies it, [`Turns`], and from nothing else: sets with the same
//! identity share a table, and an agent that starts anew knows a table by its sets.

use std::net::{IpAddr, SocketAddr};

use harbor_common::frontend::{TURNS, TurnTable};

/// What a turn table is made from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Turns {
    /// Weights in the order of the set: evenly interleaved.
    Weighted(Vec<u8>),
    /// Backends in the order of the set, with weights: a Maglev table.
    Hashed(Vec<(SocketAddr, u8)>),
}

impl Turns {
    /// The table.
    pub(crate) fn table(&self) -> TurnTable {
        let mut table = TurnTable::default();
        match self {
            Self::Weighted(weights) => interleave(weights, &mut table.positions[..TURNS]),
            Self::Hashed(backends) => maglev(backends, &mut table.positions[..TURNS]),
        }
        table
    }
}

/// Smooth weighted round robin, as nginx does it: every backend has its share of any stretch.
fn interleave(weights: &[u8], positions: &mut [u8]) {
    let total: i32 = weights.iter().map(|weight| i32::from(*weight)).sum();
    let mut credit = vec![0i32; weights.len()];
    for position in positions {
        let mut next = 0;
        for (index, weight) in weights.iter().enumerate() {
            credit[index] += i32::from(*weight);
            if credit[index] > credit[next] {
                next = index;
            }
        }
        if let Some(credit) = credit.get_mut(next) {
            *credit -= total;
        }
        *position = next as u8;
    }
}

/// Maglev's table (Eisenbud et al., NSDI 2016, section 3.4): each backend claims places in an order
/// of its own, as often as its weight says. Which order depends on the backend's address alone, so
/// a change of the set moves few places.
fn maglev(backends: &[(SocketAddr, u8)], positions: &mut [u8]) {
    let size = positions.len() as u64;
    let Some(heaviest) = backends.iter().map(|(_, weight)| u32::from(*weight)).max() else {
        return;
    };
    // Where each backend's order is, and how far apart its places are.
    let order = |(address, _): &(SocketAddr, u8)| {
        let hash = fingerprint(*address);
        (hash % size, (hash >> 32) % (size - 1) + 1)
    };
    let mut orders: Vec<(u64, u64)> = backends.iter().map(order).collect();
    let mut credit = vec![0u32; backends.len()];
    let mut is_taken = vec![false; positions.len()];
    let mut free = positions.len();
    while free > 0 {
        for (index, (_, weight)) in backends.iter().enumerate() {
            credit[index] += u32::from(*weight);
            if credit[index] < heaviest {
                continue;
            }
            credit[index] -= heaviest;
            let (place, skip) = &mut orders[index];
            while is_taken[*place as usize] {
                *place = (*place + *skip) % size;
            }
            is_taken[*place as usize] = true;
            positions[*place as usize] = index as u8;
            free -= 1;
            if free == 0 {
                return;
            }
        }
    }
}

/// A number that is the backend's on every node and in every version: FNV-1a, then the finalizer of
/// SplitMix64.
fn fingerprint(address: SocketAddr) -> u64 {
    let octets = match address.ip() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    let port = address.port().to_be_bytes();
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for octet in octets.iter().chain(&port) {
        hash = (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backends(count: u8, weight: u8) -> Vec<(SocketAddr, u8)> {
        let backend = |last| (SocketAddr::from(([10, 0, 0, last], 80)), weight);
        (1..=count).map(backend).collect()
    }

    fn counts(table: &TurnTable, backends: usize) -> Vec<usize> {
        let mut counts = vec![0; backends];
        for position in &table.positions[..TURNS] {
            counts[usize::from(*position)] += 1;
        }
        counts
    }

    #[test]
    fn weights_are_interleaved_evenly_over_any_stretch() {
        let weights = [5, 1, 1];
        let table = Turns::Weighted(weights.to_vec()).table();
        assert_eq!(&table.positions[..7], &[0, 0, 1, 0, 2, 0, 0]);
        for stretch in table.positions[..TURNS].chunks_exact(7) {
            for (index, weight) in weights.iter().enumerate() {
                let turns = stretch.iter().filter(|p| usize::from(**p) == index);
                assert_eq!(turns.count(), usize::from(*weight));
            }
        }
    }

    #[test]
    fn a_full_set_of_any_weights_is_interleaved() {
        let weights: Vec<u8> = (0..128).map(|i| 1 + (i % 100) as u8).collect();
        let total: usize = weights.iter().map(|w| usize::from(*w)).sum();
        let counts = counts(&Turns::Weighted(weights.clone()).table(), weights.len());
        for (count, weight) in counts.iter().zip(&weights) {
            let share = usize::from(*weight) * TURNS / total;
            assert!(count.abs_diff(share) <= 2, "{count} of {share}");
        }
    }

    #[test]
    fn maglev_gives_every_backend_its_share() {
        for count in [1u8, 2, 3, 20, 128] {
            let counts = counts(&Turns::Hashed(backends(count, 1)).table(), count.into());
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            // Every backend claims once a round.
            assert!(most - least <= 1, "{least} to {most} of {count}");
        }
        let weighted = [(backends(1, 1)[0].0, 1), (backends(2, 1)[1].0, 4)];
        let counts = counts(&Turns::Hashed(weighted.to_vec()).table(), 2);
        assert!(counts[1].abs_diff(4 * counts[0]) <= 4, "{counts:?}");
    }

    #[test]
    fn few_places_move_when_a_backend_leaves() {
        let before = backends(10, 1);
        let table = Turns::Hashed(before.clone()).table();
        for gone in 0..10 {
            let mut after = before.clone();
            after.remove(gone);
            let next = Turns::Hashed(after.clone()).table();
            let moved = (0..TURNS).filter(|place| {
                let was = before[usize::from(table.positions[*place])];
                was != before[gone] && was != after[usize::from(next.positions[*place])]
            });
            // A tenth of the places lost their backend; of the others a few move as well.
            let moved = moved.count();
            assert!(moved < TURNS / 7, "{moved} of {TURNS} moved");
        }
    }

    #[test]
    fn the_order_of_registration_moves_little() {
        let before = backends(10, 1);
        let mut after = before.clone();
        after.rotate_left(1);
        let table = Turns::Hashed(before.clone()).table();
        let next = Turns::Hashed(after.clone()).table();
        let moved = (0..TURNS).filter(|place| {
            before[usize::from(table.positions[*place])]
                != after[usize::from(next.positions[*place])]
        });
        let moved = moved.count();
        assert!(moved < TURNS / 7, "{moved} of {TURNS} moved");
    }
}
