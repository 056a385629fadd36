//! Reads what the datapath tells of backends that have failed a flow.

use aya::maps::{Array, MapData, RingBuf};
use harbor_common::{
    addr::Ip,
    backend::Backend,
    event::Sighting,
    maps::{BACKENDS, EVENTS},
};

use crate::{
    datapath::{
        error::{DatapathError, Tried as _},
        program::pins::Pins,
        tables::open,
    },
    model::{Doubt, Evidence, Suspect, Witness},
    reconcile::Actual,
};

/// The ring's reader; there is one at a time, the agent.
pub(crate) struct Sightings {
    ring: RingBuf<MapData>,
    backends: Array<MapData, Backend>,
}

impl Sightings {
    pub(crate) fn open(pins: &Pins) -> Result<Self, DatapathError> {
        Ok(Self {
            ring: open(pins, EVENTS)?,
            backends: open(pins, BACKENDS)?,
        })
    }

    /// The next event about a backend that is there still, and the backend's slot.
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Evidence)>, DatapathError> {
        while let Some(item) = self.ring.next() {
            let Some(event) = read(&item) else {
                return Err(DatapathError::new(format!(
                    "an event of {EVENTS} has {} bytes",
                    item.len()
                )));
            };
            let row = self.backends.get(&event.backend, 0);
            let row = row.tried(|| format!("cannot read {BACKENDS}"))?;
            if row.generation != event.generation {
                continue;
            }
            if let Some(key) = Actual::backend_key(&row) {
                let suspect = Suspect {
                    protocol: key.frontend.protocol,
                    port: key.frontend.port,
                    address: key.address,
                };
                let evidence = Evidence {
                    suspect,
                    // Only the program knows whether a flow was taken in between: it counts the clients.
                    witness: match event.witnesses {
                        0 | 1 => Witness::Unknown,
                        _ => Witness::Several,
                    },
                    sight: Err(doubt(event.reason)),
                };
                return Ok(Some((event.backend, evidence)));
            }
        }
        Ok(None)
    }
}

fn doubt(reason: u32) -> Doubt {
    match reason {
        Sighting::SILENT => Doubt::Silent,
        Sighting::REFUSED => Doubt::Refused,
        _ => Doubt::Unreachable,
    }
}

fn read(bytes: &[u8]) -> Option<Sighting> {
    if bytes.len() < size_of::<Sighting>() {
        return None;
    }
    let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    Some(Sighting {
        at_ns: u64::from_ne_bytes(bytes.get(..8)?.try_into().ok()?),
        backend: word(8)?,
        generation: word(12)?,
        reason: word(16)?,
        has_room: word(20)?,
        client: Ip {
            octets: bytes.get(24..40)?.try_into().ok()?,
        },
        witnesses: word(40)?,
        _pad: 0,
    })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn an_event_is_read_as_the_datapath_writes_it() {
        let event = Sighting {
            at_ns: 1 << 40,
            backend: 7,
            generation: 3,
            reason: Sighting::REFUSED,
            has_room: 1,
            client: IpAddr::from([192, 0, 2, 1]).into(),
            witnesses: 2,
            _pad: 0,
        };
        // SAFETY: any bytes of a structure without padding can be looked at.
        let bytes: [u8; size_of::<Sighting>()] = unsafe { std::mem::transmute(event) };
        assert_eq!(read(&bytes), Some(event));
        assert_eq!(read(&bytes[..47]), None);
    }
}
