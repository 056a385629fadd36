//! The eBPF object in this binary, and what it declares.

use std::collections::BTreeMap;

use crate::datapath::error::{DatapathError, Tried as _};

/// The object, if this binary was built with a toolchain for it.
#[cfg(harbor_ebpf_embedded)]
pub(crate) static OBJECT: Option<&[u8]> =
    Some(aya::include_bytes_aligned!(env!("HARBOR_EBPF_PATH")));
/// The object, if this binary was built with a toolchain for it.
#[cfg(not(harbor_ebpf_embedded))]
pub(super) static OBJECT: Option<&[u8]> = None;

/// Name of the program on the packet path.
pub(crate) const PACKET_PROGRAM: &str = "harbor_tc";
/// Name of the program that stands in its place while flows are taken over.
pub(super) const HANDOVER_PROGRAM: &str = "harbor_handover";
/// Name of the program that takes flows over.
pub(super) const ADOPT_PROGRAM: &str = "harbor_adopt";
/// Name of the program for established flows at XDP.
pub(super) const XDP_PROGRAM: &str = "harbor_xdp";
/// Name of the program that ends expired flows.
pub(super) const SWEEP_PROGRAM: &str = "harbor_sweep";
/// Name of the program that arms the kernel's own timer.
pub(super) const ARM_PROGRAM: &str = "harbor_arm";
/// Name of the program that hands the agent what it carries.
pub(crate) const LOOKUP_PROGRAM: &str = "harbor_lookup";

/// Whether flows of a program that served before are being taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Handover {
    /// Nothing served before, or all is taken over.
    #[default]
    None = 0,
    /// New flows still begin with the former program.
    FormerOpens = 1,
    /// New flows begin here.
    OpensHere = 2,
}

impl Handover {
    /// The program for interfaces with an Ethernet header.
    pub(super) fn packet_program(self) -> &'static str {
        match self {
            Self::None => PACKET_PROGRAM,
            Self::FormerOpens | Self::OpensHere => HANDOVER_PROGRAM,
        }
    }
}

/// A map as the object declares it, or as the kernel holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// `BPF_MAP_TYPE_*` of linux/bpf.h.
    pub(super) kind: u32,
    pub(super) key_bytes: u32,
    pub(super) value_bytes: u32,
    pub(super) max_entries: u32,
}

/// The maps that the object declares.
pub(crate) fn shapes(object: &[u8]) -> Result<BTreeMap<String, Shape>, DatapathError> {
    let parsed = aya_obj::Object::parse(object).tried(|| "the embedded eBPF object".into())?;
    let shape = |map: &aya_obj::Map| Shape {
        kind: map.map_type(),
        key_bytes: map.key_size(),
        value_bytes: map.value_size(),
        max_entries: map.max_entries(),
    };
    Ok(parsed
        .maps
        .iter()
        .map(|(name, map)| (name.clone(), shape(map)))
        .collect())
}
