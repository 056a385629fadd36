//! How full the flow tables are, and how much sooner flows are forgotten then. Pure.
//!
//! As long as a table, a port's share of it and a backend's source ports are filled by no more than
//! [`EASY`], flows may be silent for as long as the timeouts say. From there to full, the time shrinks
//! in proportion (what pf calls adaptive timeouts). Flows that have carried nothing since their
//! handshake make room long before those that have.

use std::collections::HashMap as Map;

use harbor_common::flow::{Flow, Phase};

/// The fill from which on flows are forgotten sooner, in thousandths.
const EASY: u64 = 600;
/// All of something.
const WHOLE: u64 = 1_000;
/// A flow that both sides use, and that has carried something, may always be silent this long.
const IN_USE_S: u32 = 300;
/// A connection that has carried nothing since its handshake may be silent this long at most once
/// room is short,
const BARE_S: u32 = 60;
/// and this long at least.
const LEAST_S: u32 = 2;

/// What is left of the time that flows may be silent, in thousandths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pressure {
    /// By family.
    tables: [Option<u32>; 2],
    /// By frontend slot.
    ports: Map<u32, u32>,
    /// By backend slot and generation.
    backends: Map<(u32, u32), u32>,
}

impl Pressure {
    /// A table of this family holds so many flows, and could hold so many.
    pub(crate) fn of_table(&mut self, family: usize, used: u64, room: u64) {
        self.tables[family] = left(used, room);
    }

    /// A frontend slot keeps so many flows, and may keep so many.
    pub(crate) fn of_port(&mut self, slot: u32, used: u64, room: u64) {
        self.ports.extend(left(used, room).map(|left| (slot, left)));
    }

    /// A backend has so many flows, and as many as this have source ports towards it.
    pub(crate) fn of_backend(&mut self, backend: (u32, u32), used: u64, room: u64) {
        self.backends
            .extend(left(used, room).map(|left| (backend, left)));
    }

    pub(super) fn is_any(&self) -> bool {
        self.tables.iter().any(Option::is_some)
            || !self.ports.is_empty()
            || !self.backends.is_empty()
    }

    fn left_to<A>(&self, flow: &Flow<A>, family: usize) -> Option<u32> {
        let port = self.ports.get(&flow.frontend);
        let backend = (flow.backend, flow.backend_generation);
        let all = [
            self.tables[family],
            port.copied(),
            self.backends.get(&backend).copied(),
        ];
        all.into_iter().flatten().min()
    }

    /// How long a flow may be silent, that may be silent for `silence_s` where there is room.
    pub(super) fn shorten<A>(
        &self,
        silence_s: u32,
        (flow, reply): (&Flow<A>, &Flow<A>),
        (family, protocol): (usize, u32),
    ) -> u32 {
        let Some(left) = self.left_to(flow, family) else {
            return silence_s;
        };
        let scaled = |period: u32| {
            let period = u64::from(period) * u64::from(left) / WHOLE;
            u32::try_from(period).unwrap_or(u32::MAX)
        };
        if !Phase::of(flow.word, reply.word).is_kept(protocol) {
            scaled(silence_s).max(1)
        } else if has_carried_nothing(flow, reply) {
            scaled(silence_s.min(BARE_S)).max(LEAST_S)
        } else {
            scaled(silence_s).max(silence_s.min(IN_USE_S))
        }
    }
}

/// What is left of the whole time at this fill; `None` where there is room.
fn left(used: u64, room: u64) -> Option<u32> {
    if room == 0 {
        return None;
    }
    let fill = (used.saturating_mul(WHOLE) / room).min(WHOLE);
    let over = fill.checked_sub(EASY).filter(|over| *over > 0)?;
    u32::try_from(WHOLE - over * WHOLE / (WHOLE - EASY)).ok()
}

/// Whether nothing has passed but a handshake: SYN and ACK one way, SYN-ACK the other.
fn has_carried_nothing<A>(flow: &Flow<A>, reply: &Flow<A>) -> bool {
    flow.packets <= 2 && reply.packets <= 1
}

#[cfg(test)]
mod tests {
    use harbor_common::{addr::Ipv4, protocol::Protocol};

    use super::*;

    const TCP: u32 = Protocol::Tcp.number();

    fn flow(word: u64, packets: u64) -> Flow<Ipv4> {
        Flow {
            word,
            packets,
            ..Flow::default()
        }
    }

    #[test]
    fn time_shrinks_from_three_fifths_to_full() {
        assert_eq!(left(0, 1_000), None);
        assert_eq!(left(600, 1_000), None);
        assert_eq!(left(700, 1_000), Some(750));
        assert_eq!(left(800, 1_000), Some(500));
        assert_eq!(left(1_000, 1_000), Some(0));
        assert_eq!(left(5_000, 1_000), Some(0));
        assert_eq!(left(5, 0), None);
    }

    #[test]
    fn what_has_carried_nothing_goes_long_before_what_has() {
        let live = Flow::<Ipv4>::LIVE;
        let (bare, used) = (flow(live, 2), flow(live, 9));
        let (answer, answers) = (flow(live, 1), flow(live, 8));
        let mut pressure = Pressure::default();
        let of = |pressure: &Pressure, forward, reply, silence_s| {
            pressure.shorten(silence_s, (forward, reply), (0, TCP))
        };
        assert_eq!(of(&pressure, &bare, &answer, 7_440), 7_440);
        assert!(!pressure.is_any());
        pressure.of_table(0, 80, 100);
        assert!(pressure.is_any());
        assert_eq!(of(&pressure, &bare, &answer, 7_440), 30);
        assert_eq!(of(&pressure, &used, &answers, 7_440), 3_720);
        let (opening, none) = (flow(0, 1), flow(0, 0));
        assert_eq!(of(&pressure, &opening, &none, 6), 3);
        pressure.of_table(0, 100, 100);
        assert_eq!(of(&pressure, &bare, &answer, 7_440), LEAST_S);
        assert_eq!(of(&pressure, &used, &answers, 7_440), IN_USE_S);
        assert_eq!(
            of(&pressure, &used, &answers, 60),
            60,
            "the port's own word"
        );
        assert_eq!(of(&pressure, &opening, &none, 6), 1);
    }

    #[test]
    fn the_fullest_of_table_port_and_backend_decides() {
        let live = Flow::<Ipv4>::LIVE;
        let mut one = flow(live, 9);
        (one.frontend, one.backend, one.backend_generation) = (3, 7, 2);
        let mut pressure = Pressure::default();
        pressure.of_table(1, 100, 100);
        assert_eq!(pressure.left_to(&one, 0), None, "the other family's table");
        pressure.of_table(0, 70, 100);
        pressure.of_port(3, 80, 100);
        pressure.of_port(4, 100, 100);
        pressure.of_backend((7, 1), 100, 100);
        assert_eq!(pressure.left_to(&one, 0), Some(500));
        pressure.of_backend((7, 2), 90, 100);
        assert_eq!(pressure.left_to(&one, 0), Some(250));
    }
}
