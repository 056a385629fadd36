//! Who comes when: the turn tables of backend sets. Pure.
//!
//! A table is made from what identifies it, [`Turns`], and from nothing else: sets with the same
//! identity share a table, and an agent that starts anew knows a table by its sets.

use std::net::SocketAddr;

use harbor_common::frontend::{TURNS, TurnTable};

use crate::model::{interleave, maglev};

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
