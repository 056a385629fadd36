//! The agent's word to the datapath, kept fresh: that it lives, how long silence may last, and under
//! which generation its routes and neighbours stand.

use std::time::Duration;

use aya::maps::{Array, MapData};
use harbor_common::{control::Control, maps::CONTROL};

use super::{
    clock::{monotonic_ns, seconds_ns},
    error::{DatapathError, Tried as _},
    program::pins::Pins,
    tables::{open, set},
};
use crate::model::{Terms, Timeouts};

/// How long the datapath believes what it was told.
const VALID_S: u32 = 5;

/// The `control` map, opened.
pub(crate) struct Heart {
    map: Array<MapData, Control>,
    /// What was written last.
    pub(crate) control: Control,
}

impl Heart {
    pub(crate) fn open(pins: &Pins, terms: &Terms) -> Result<Self, DatapathError> {
        let map: Array<_, Control> = open(pins, CONTROL)?;
        let found = map.get(&0, 0).tried(|| format!("cannot read {CONTROL}"))?;
        let control = Control {
            route_generation: found.route_generation,
            flags: flags(found.flags, terms),
            ..said(terms)
        };
        Ok(Self { map, control })
    }

    /// What flows live by; said with the next beat.
    pub(crate) fn set_terms(&mut self, terms: &Terms) {
        self.control = Control {
            valid_until_ns: self.control.valid_until_ns,
            route_generation: self.control.route_generation,
            flags: flags(self.control.flags, terms),
            ..said(terms)
        };
    }

    /// Says that some port is limited in packets or bytes, or that none is; whether that is new.
    pub(crate) fn meter(&mut self, is_metered: bool) -> bool {
        let flags = self.control.flags & !Control::METERED;
        let flags = flags | if is_metered { Control::METERED } else { 0 };
        std::mem::replace(&mut self.control.flags, flags) != flags
    }

    /// Says whether sources are routed in different ways, and whether some way is not known.
    pub(crate) fn tell_ways(&mut self, has_views: bool, is_partial: bool) {
        let flag = |is_set: bool, flag: u32| if is_set { flag } else { 0 };
        let kept = self.control.flags & (Control::METERED | Control::IMPASSIVE | Control::GUARDED);
        self.control.flags =
            kept | flag(has_views, Control::VIEWED) | flag(is_partial, Control::PARTIAL);
    }

    /// Whether it says that some port is limited.
    pub(crate) fn is_metered(&self) -> bool {
        self.control.flags & Control::METERED != 0
    }

    /// Says that ways have changed: flows look theirs up anew.
    pub(crate) fn turn_generation(&mut self) {
        self.control.route_generation = self.control.route_generation.wrapping_add(1).max(1);
    }

    /// Gives the word for the next seconds.
    pub(crate) fn beat(&mut self) -> Result<(), DatapathError> {
        self.control.valid_until_ns = monotonic_ns() + seconds_ns(VALID_S);
        set(&mut self.map, (CONTROL, 0), &self.control)
    }
}

/// The flags, with those that the configuration decides.
fn flags(found: u32, terms: &Terms) -> u32 {
    let set = |flags: u32, flag: u32, is_set: bool| match is_set {
        true => flags | flag,
        false => flags & !flag,
    };
    let flags = set(found, Control::IMPASSIVE, !terms.is_passive);
    set(flags, Control::GUARDED, terms.is_guarded)
}

fn said(terms: &Terms) -> Control {
    let Timeouts {
        opening,
        tcp_established,
        tcp_closed,
        tcp_reset,
        udp_single,
        udp_stream,
    } = terms.timeouts;
    // Parts of a second count as one.
    let seconds = |period: Duration| {
        let whole = period.as_secs() + u64::from(period.subsec_nanos() > 0);
        u32::try_from(whole).unwrap_or(u32::MAX).max(1)
    };
    Control {
        opening_s: seconds(opening),
        tcp_established_s: seconds(tcp_established),
        tcp_closed_s: seconds(tcp_closed),
        tcp_reset_s: seconds(tcp_reset),
        udp_single_s: seconds(udp_single),
        udp_stream_s: seconds(udp_stream),
        min_path_mtu: terms.min_path_mtu,
        flows_per_client: terms.shares.client,
        flows_per_port: terms.shares.port,
        ..Control::default()
    }
}
