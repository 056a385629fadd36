//! Tables that another program serves from: those of another layout, or of another size. Their flows are
//! taken over while that program goes on serving what is not here yet, so that none is lost.
//!
//! The program stands in `former`, and `harbor_handover` gives it every packet that has no flow here.
//! `entries` reads its flows, by what their writer has told of their layout.

mod entries;

use std::{fs, os::fd::AsFd as _};

use aya::{
    Pod,
    maps::{MapData, MapInfo},
};
use harbor_common::{
    adoption::Adoption,
    flow_layout::{FlowLayout, Offsets},
    maps::{FLOWS, FLOWS6, META, Meta},
};

use super::{
    error::{DatapathError, Tried as _},
    program::pins::{self, PinLock, Pins},
    tables::{
        batch::{self, Place},
        data,
    },
};
use entries::{Entry, Table};

/// The first layout that tells of itself.
const FIRST_TOLD: u32 = 7;
/// Where `meta` tells how the flow tables are to be read.
const TOLD_AT: usize = std::mem::offset_of!(Meta, flows);

/// What is pinned of the program that served before; nobody else's agent holds it.
#[derive(Debug)]
pub(crate) struct Former {
    pub(crate) pins: Pins,
    layout: FlowLayout,
    _lock: PinLock,
}

/// How far its flows were read.
#[derive(Debug, Default)]
pub(crate) struct FormerPlace {
    v4: Place,
    v6: Place,
}

impl FormerPlace {
    pub(crate) fn is_at_end(&self) -> bool {
        [self.v4, self.v6] == [Place::End; 2]
    }
}

/// Its flow tables, opened.
#[derive(Debug)]
pub(crate) struct FormerFlows {
    v4: Table,
    v6: Table,
}

impl Former {
    /// What is pinned beside these pins and has flows, if it can be read.
    pub(in crate::datapath) fn find(own: &Pins) -> Result<Option<Self>, DatapathError> {
        let mut found = Vec::new();
        for (layout, pins) in own.others()? {
            let lock = pins.lock()?;
            match pins.map(FLOWS).exists() {
                true => found.push((layout, pins, lock)),
                // An agent that was ended amid its start or its end.
                false => discard(&pins)?,
            }
        }
        let Some((number, pins, lock)) = found.pop() else {
            return Ok(None);
        };
        if let Some((_, other, _)) = found.first() {
            return Err(DatapathError::foreign(
                format!(
                    "{} and {} both have flows, and those of one can be taken over",
                    other.version().display(),
                    pins.version().display()
                ),
                "harbor-ctl datapath detach, then start the agent: open flows are lost, ports are not",
            ));
        }
        let layout = layout(number, &pins)?.ok_or_else(|| {
            DatapathError::foreign(
                format!(
                    "{} was made by a version of Harbor whose flows this one cannot read",
                    pins.version().display()
                ),
                "harbor-ctl datapath detach of that version, then start the agent: open flows are lost, \
                 ports are not",
            )
        })?;
        Ok(Some(Self {
            pins,
            layout,
            _lock: lock,
        }))
    }

    pub(crate) fn flows(&self) -> Result<FormerFlows, DatapathError> {
        let open = |name, offsets: &Offsets, octets| {
            Table::open(&self.pins, name, (self.layout, *offsets), octets)
        };
        Ok(FormerFlows {
            v4: open(FLOWS, &self.layout.v4, 4)?,
            v6: open(FLOWS6, &self.layout.v6, 16)?,
        })
    }

    /// Removes all that is pinned of it.
    pub(in crate::datapath) fn discard(self) -> Result<(), DatapathError> {
        discard(&self.pins)
    }
}

/// Which flow of theirs.
#[derive(Clone, Debug)]
pub(crate) struct FormerKey {
    pub(in crate::datapath) is_v4: bool,
    pub(in crate::datapath) key: Vec<u8>,
}

impl FormerFlows {
    /// The flows of this datapath itself, to be told to other nodes.
    pub(in crate::datapath) fn own(pins: &Pins) -> Result<Self, DatapathError> {
        let layout = FlowLayout::OWN;
        Ok(Self {
            v4: Table::open(pins, FLOWS, (layout, layout.v4), 4)?,
            v6: Table::open(pins, FLOWS6, (layout, layout.v6), 16)?,
        })
    }

    /// The next flows whose clients have sent something since then.
    pub(in crate::datapath) fn step_since(
        &self,
        place: &mut FormerPlace,
        since_ns: u64,
    ) -> Result<Vec<FormerKey>, DatapathError> {
        self.step_by(
            place,
            |entry| entry.seen_ns(),
            |seen_ns| seen_ns >= since_ns,
        )
    }

    /// Visits the next flows, by the words of their forward entries.
    pub(crate) fn step(
        &self,
        place: &mut FormerPlace,
        visit: impl FnMut(u64) -> bool,
    ) -> Result<Vec<FormerKey>, DatapathError> {
        self.step_by(place, |entry| entry.own_word(), visit)
    }

    fn step_by(
        &self,
        place: &mut FormerPlace,
        read: fn(&Entry<'_>) -> u64,
        mut is_wanted: impl FnMut(u64) -> bool,
    ) -> Result<Vec<FormerKey>, DatapathError> {
        let mut wanted = Vec::new();
        let is_v4 = place.v4 != Place::End;
        let mut choose = |key: &[u8], found| {
            if is_wanted(found) {
                let key = key.to_vec();
                wanted.push(FormerKey { is_v4, key });
            }
        };
        match is_v4 {
            true => self.v4.step(&mut place.v4, read, &mut choose)?,
            false => self.v6.step(&mut place.v6, read, &mut choose)?,
        }
        Ok(wanted)
    }

    /// A flow as it is now, but for its backend and frontend here; `None` if it has ended.
    pub(crate) fn flow(&self, key: &FormerKey) -> Result<Option<Adoption>, DatapathError> {
        match key.is_v4 {
            true => self.v4.flow(&key.key),
            false => self.v6.flow(&key.key),
        }
    }
}

fn discard(pins: &Pins) -> Result<(), DatapathError> {
    for directory in [pins.links(), pins.maps()] {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            pins::remove(&path).tried(|| format!("cannot remove {}", path.display()))?;
        }
    }
    for directory in pins.directories().iter().skip(1).rev() {
        pins::remove(directory).tried(|| format!("cannot remove {}", directory.display()))?;
    }
    Ok(())
}

/// How the flows under these pins are to be read, if that is known.
fn layout(number: u32, pins: &Pins) -> Result<Option<FlowLayout>, DatapathError> {
    if number < FIRST_TOLD {
        return Ok(FlowLayout::known(number));
    }
    let map = data(pins, META)?;
    let info = MapInfo::from_pin(pins.map(META)).tried(|| META.into())?;
    let size = usize::try_from(info.value_size()).unwrap_or_default();
    let mut value = vec![0; size.next_multiple_of(8)];
    let key = 0u32.to_ne_bytes();
    batch::look_up(map.fd().as_fd(), &key, &mut value)
        .tried(|| format!("cannot read {META} of {}", pins.version().display()))?;
    let told = value.get(TOLD_AT..TOLD_AT + size_of::<FlowLayout>());
    Ok(told.and_then(read::<FlowLayout>).filter(|layout| {
        // A meta that was never written tells nothing.
        layout.cookie_shift != 0
    }))
}

/// A structure from its octets.
fn read<T: Pod>(octets: &[u8]) -> Option<T> {
    // SAFETY: as many octets as the type has, which takes any (Pod).
    (octets.len() == size_of::<T>())
        .then(|| unsafe { octets.as_ptr().cast::<T>().read_unaligned() })
}

/// The octets of a structure.
pub(in crate::datapath) fn octets<T: Pod>(value: &T) -> &[u8] {
    // SAFETY: every octet is initialised (Pod).
    unsafe { std::slice::from_raw_parts((&raw const *value).cast(), size_of::<T>()) }
}

impl Table {
    fn open(
        pins: &Pins,
        name: &'static str,
        (layout, offsets): (FlowLayout, Offsets),
        address_octets: usize,
    ) -> Result<Self, DatapathError> {
        let info = MapInfo::from_pin(pins.map(name)).tried(|| format!("cannot open {name}"))?;
        let map: MapData = data(pins, name)?;
        let sizes = [info.key_size(), info.value_size()];
        let sizes = sizes.map(|size| usize::try_from(size).unwrap_or_default());
        let table = Self {
            map,
            name,
            layout,
            offsets,
            sizes: (sizes[0], sizes[1]),
            address_octets,
        };
        match table.fits() {
            true => Ok(table),
            false => Err(DatapathError::foreign(
                format!(
                    "{} is not as its version says: {} and {} octets",
                    pins.map(name).display(),
                    sizes[0],
                    sizes[1]
                ),
                "harbor-ctl datapath detach, then start the agent: open flows are lost, ports are not",
            )),
        }
    }
}
