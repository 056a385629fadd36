//! The XDP program on interfaces: natively, by links that are pinned as those of TC are.

use std::{collections::BTreeMap, path::Path};

use aya::{
    maps::{Array, MapData},
    programs::{
        Xdp,
        links::FdLink,
        xdp::{XdpLink, XdpMode},
    },
};
use harbor_common::{maps::INTERFACES, route};

use super::{Datapath, pins::Pins};
use super::{
    attach::{Hook, Refusal, replace},
    explain_refusal,
    object::XDP_PROGRAM,
    pins,
};
use crate::{
    datapath::{
        devices::Device,
        error::{DatapathError, Tried as _},
        interfaces::{Framing, Interface},
        tables,
    },
    model::Difference,
    reconcile::compare,
};

/// Another program has the hook.
const TAKEN: [i32; 2] = [libc::EBUSY, libc::EEXIST];

impl Datapath {
    /// The XDP program, loaded.
    fn xdp_program(&mut self) -> Result<&mut Xdp, DatapathError> {
        let program: &mut Xdp = self
            .ebpf
            .program_mut(XDP_PROGRAM)
            .ok_or_else(|| DatapathError::new(format!("the eBPF object has no {XDP_PROGRAM}")))?
            .try_into()
            .tried(|| format!("program {XDP_PROGRAM}"))?;
        if program.fd().is_err() {
            program
                .load()
                .map_err(|error| explain_refusal(XDP_PROGRAM, &error))?;
        }
        Ok(program)
    }

    /// The kernel's number of the XDP program, if it is loaded.
    pub(crate) fn xdp_id(&mut self) -> Option<u32> {
        let program: &mut Xdp = self.ebpf.program_mut(XDP_PROGRAM)?.try_into().ok()?;
        program.info().ok().map(|info| info.id())
    }

    /// Attaches the XDP program to an interface, or replaces the one that is attached there.
    pub(crate) fn attach_xdp(&mut self, interface: &Interface) -> Result<(), String> {
        let pin = self.pins.link(interface.index, Hook::Xdp);
        let program = self.xdp_program().map_err(|error| error.to_string())?;
        attach(program, &interface.name, &pin).map_err(|refusal| match refusal.errno {
            Some(errno) if TAKEN.contains(&errno) => {
                format!(
                    "another program has its XDP hook: ip link show {}",
                    interface.name
                )
            }
            _ => format!("the kernel did not attach it: {refusal}"),
        })
    }

    /// Takes the XDP program off an interface; whether it was there.
    pub(crate) fn detach_xdp(&mut self, ifindex: u32) -> Result<bool, DatapathError> {
        let pin = self.pins.link(ifindex, Hook::Xdp);
        pins::remove(&pin).tried(|| format!("cannot remove {}", pin.display()))
    }
}

fn attach(program: &mut Xdp, interface: &str, pin: &Path) -> Result<(), Refusal> {
    let is_replaced = replace(pin, |held| {
        let id = program.attach_to_link(XdpLink::try_from(held)?)?;
        // The pin keeps the link.
        program.take_link(id)?;
        Ok(())
    })?;
    if is_replaced {
        return Ok(());
    }
    let id = program.attach(interface, XdpMode::Driver)?;
    let link: FdLink = program.take_link(id)?.try_into()?;
    link.pin(pin).map_err(std::io::Error::other)?;
    Ok(())
}

/// What the programs are told of interfaces: the `interfaces` map, and what it holds.
pub(crate) struct InterfaceTable {
    map: Array<MapData, route::Interface>,
    /// By element.
    told: BTreeMap<u32, route::Interface>,
}

impl InterfaceTable {
    pub(crate) fn open(pins: &Pins) -> Result<Self, DatapathError> {
        let mut table = Self {
            map: tables::open(pins, INTERFACES)?,
            told: BTreeMap::new(),
        };
        table.look_again()?;
        Ok(table)
    }

    /// Takes for told what the map holds.
    pub(crate) fn look_again(&mut self) -> Result<(), DatapathError> {
        self.told = self.read()?;
        Ok(())
    }

    fn read(&self) -> Result<BTreeMap<u32, route::Interface>, DatapathError> {
        let mut used = BTreeMap::new();
        for (slot, row) in (0..).zip(self.map.iter()) {
            let row = row.tried(|| format!("cannot read {INTERFACES}"))?;
            if row.ifindex != 0 {
                used.insert(slot, row);
            }
        }
        Ok(used)
    }

    /// Elements that are not as they were told; adds up how many there are.
    pub(crate) fn verify(&self, elements: &mut u64) -> Result<Vec<Difference>, DatapathError> {
        *elements += self.told.len() as u64;
        let found = self.read()?;
        Ok(compare(INTERFACES, (&self.told, &found), u32::to_string))
    }

    /// Tells of these interfaces and no others.
    pub(crate) fn tell(
        &mut self,
        interfaces: &[Interface],
        devices: &BTreeMap<u32, Device>,
    ) -> Result<(), DatapathError> {
        let wanted: BTreeMap<u32, route::Interface> = interfaces
            .iter()
            .map(|interface| {
                (
                    route::Interface::slot(interface.index),
                    row(interface, devices),
                )
            })
            .collect();
        let unused = self.told.keys().filter(|slot| !wanted.contains_key(slot));
        let unused: Vec<u32> = unused.copied().collect();
        for slot in unused {
            tables::set(
                &mut self.map,
                (INTERFACES, slot),
                &route::Interface::default(),
            )?;
        }
        for (slot, row) in &wanted {
            if self.told.get(slot) != Some(row) {
                tables::set(&mut self.map, (INTERFACES, *slot), row)?;
            }
        }
        self.told = wanted;
        Ok(())
    }
}

fn row(interface: &Interface, devices: &BTreeMap<u32, Device>) -> route::Interface {
    let device = devices.get(&interface.index);
    let is_ethernet = interface.framing == Framing::Ethernet;
    let takes_frames = is_ethernet && device.is_some_and(Device::takes_frames);
    route::Interface {
        hardware: interface.hardware,
        flags: reverse_path(&interface.name)
            | match takes_frames {
                true => route::Interface::TAKES_FRAMES,
                false => 0,
            },
        ifindex: interface.index,
        lower: interface.lower.unwrap_or(0),
    }
}

/// What the kernel asks of senders on an interface: the stricter of the node's `rp_filter` and the
/// interface's own.
fn reverse_path(interface: &str) -> u16 {
    let read = |name: &str| {
        let path = format!("/proc/sys/net/ipv4/conf/{name}/rp_filter");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.trim().parse::<u16>().unwrap_or(0)
    };
    match read("all").max(read(interface)) {
        0 => 0,
        1 => route::Interface::STRICT,
        _ => route::Interface::LOOSE,
    }
}
