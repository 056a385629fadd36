//! What the datapath says about itself.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    doubt::{Doubt, Suspect},
    protocol::Protocol,
};

/// The state of the datapath, for `status` and `datapath status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct DatapathReport {
    /// `ok`, `degraded` or `down`.
    pub(crate) state: String,
    /// What is wrong, in words, one sentence each; empty when all is well.
    pub(crate) problems: Vec<String>,
    pub(crate) layout: u32,
    /// The versioned directory that holds `maps/` and `links/`.
    #[schema(value_type = String)]
    pub(crate) pins: PathBuf,
    pub(crate) links: Vec<LinkReport>,
    pub(crate) verdicts: Vec<VerdictCount>,
    /// `None` where no agent carries any.
    pub(crate) carried: Option<Carried>,
    /// What the kernel has.
    #[serde(default)]
    pub(crate) kernel: KernelReport,
    /// Which interfaces have the XDP program too, and why; empty without an agent.
    #[serde(default)]
    pub(crate) xdp: Vec<XdpReport>,
    /// Somebody follows packets: all go by TC meanwhile.
    #[serde(default)]
    pub(crate) traced: bool,
    /// How many flows of one family there is room for: pinned tables keep their size.
    #[serde(default)]
    pub(crate) flow_capacity: u32,
    /// The fullest of each kind: flow tables, port, organization, source ports, client.
    #[serde(default)]
    pub(crate) filled: Vec<Filled>,
}

/// Something is nearly full from so many hundredths on.
const NEARLY_FULL: u64 = 90;

/// How much of something is taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Filled {
    /// `flow table`, `port`, `organization`, `source ports towards` or `client`; of the proxy's
    /// descriptors `all`, `port` or `client`.
    pub(crate) what: String,
    /// Which of them.
    pub(crate) name: String,
    /// Flows that it has, or descriptors.
    pub(crate) used: u64,
    /// How many it may have; 0 = not limited.
    pub(crate) room: u64,
}

impl Filled {
    pub(crate) fn new(what: &str, name: impl ToString, used: u64, room: u64) -> Self {
        Self {
            what: what.into(),
            name: name.to_string(),
            used,
            room,
        }
    }

    /// How full it is, in hundredths.
    pub(crate) fn percent(&self) -> u64 {
        match self.room {
            0 => 0,
            room => self.used.saturating_mul(100) / room,
        }
    }

    /// Whether little is left.
    pub(crate) fn is_nearly_full(&self) -> bool {
        self.percent() >= NEARLY_FULL
    }

    /// Whether one more finds no room; a connection through the proxy takes two.
    pub(crate) fn is_full(&self) -> bool {
        self.room != 0 && self.used + 2 > self.room
    }
}

impl std::fmt::Display for Filled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.what, self.name, self.used)?;
        match self.room {
            0 => Ok(()),
            room => write!(f, " of {room}"),
        }
    }
}

/// Whether an interface has the XDP program, beside the one at TC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct XdpReport {
    pub(crate) interface: String,
    pub(crate) attached: bool,
    /// Why, or why not.
    pub(crate) reason: String,
}

/// What the kernel has of what the programs use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct KernelReport {
    /// As `uname -r` says.
    pub(crate) release: String,
    /// How programs can be attached: `tcx` or `clsact`.
    pub(crate) hook: String,
    /// Whether it describes its own types: bpftool then shows more.
    pub(crate) has_btf: bool,
    /// `none`, `integrity` or `confidentiality`; absent where it has no lockdown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lockdown: Option<String>,
    /// What is lacking or set so that it costs something, one sentence each.
    pub(crate) costs: Vec<String>,
}

impl std::fmt::Display for KernelReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Linux {}, {}", self.release, self.hook)?;
        if !self.has_btf {
            f.write_str(", no BTF")?;
        }
        if let Some(mode) = self.lockdown.as_deref().filter(|mode| *mode != "none") {
            write!(f, ", lockdown {mode}")?;
        }
        self.costs.iter().try_for_each(|cost| write!(f, "; {cost}"))
    }
}

/// Datagrams that the agent has carried for the programs since it started: their fragments came out of
/// order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Carried {
    /// To backends.
    pub(crate) requests: u64,
    /// To clients.
    pub(crate) replies: u64,
}

/// One attachment of the program to an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct LinkReport {
    /// Its name now.
    pub(crate) interface: String,
    /// Whether the interface does not exist any more.
    #[serde(skip)]
    pub(crate) is_gone: bool,
    pub(crate) ifindex: u32,
    /// `tcx`, `clsact` or `xdp`.
    pub(crate) kind: String,
    /// The kernel's link id; `None` for clsact, which has no link.
    pub(crate) link_id: Option<u32>,
    pub(crate) program_id: u32,
    /// How long ago the program was put back, after others had taken it off; `None` if never.
    #[serde(default)]
    pub(crate) put_back_s: Option<u64>,
}

/// How often a verdict was reached since the maps were made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct VerdictCount {
    /// `forward`, `pass` or `drop`.
    pub(crate) verdict: String,
    pub(crate) name: String,
    pub(crate) meaning: String,
    pub(crate) packets: u64,
}

/// Who forwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Engine {
    /// The programs in the kernel.
    Tc,
    /// The same, established flows at XDP on one interface at least.
    Xdp,
    /// The agent itself.
    #[default]
    Proxy,
    /// The agent, because the programs have no way to a backend.
    ProxyForRoute,
}

impl Engine {
    /// As `ports list` shows it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tc => "tc",
            Self::Xdp => "xdp",
            Self::Proxy => "proxy",
            Self::ProxyForRoute => "proxy(route)",
        }
    }
}

/// What one frontend has carried since its slot was taken, and what it carries now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FrontendReport {
    /// Who serves clients from the wire.
    #[serde(skip)]
    pub(crate) engine: Engine,
    /// Why it leaves some clients to the proxy: the way back to them is not known.
    #[serde(skip)]
    pub(crate) gap: Option<String>,
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
    /// Flows in the table now.
    pub(crate) flows: u64,
    /// Flows begun since the slot was taken.
    pub(crate) flows_total: u64,
    pub(crate) forward_packets: u64,
    pub(crate) forward_bytes: u64,
    pub(crate) reply_packets: u64,
    pub(crate) reply_bytes: u64,
    /// Flows that a limit, a list of networks or a full table refused.
    pub(crate) refused: u64,
    /// Backends that new flows can reach: known to the kernel, with a route.
    pub(crate) backends_reachable: u32,
    /// How many flows it keeps of those that one port may.
    #[serde(skip)]
    pub(crate) kept: Option<Filled>,
}

impl FrontendReport {
    /// Adds what another engine has carried for the same frontend.
    pub(crate) fn add(&mut self, other: &Self) {
        self.flows += other.flows;
        self.flows_total += other.flows_total;
        self.forward_packets += other.forward_packets;
        self.forward_bytes += other.forward_bytes;
        self.reply_packets += other.reply_packets;
        self.reply_bytes += other.reply_bytes;
        self.refused += other.refused;
        self.kept = self.kept.take().or_else(|| other.kept.clone());
    }
}

/// What one backend behind one frontend has carried since it was added, and what it carries now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BackendReport {
    /// Who sends clients from the wire there.
    #[serde(skip)]
    pub(crate) engine: Engine,
    /// Why the programs do not.
    #[serde(skip)]
    pub(crate) handed: Option<String>,
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
    pub(crate) address: SocketAddr,
    pub(crate) flows: u64,
    pub(crate) flows_total: u64,
    pub(crate) forward_packets: u64,
    pub(crate) forward_bytes: u64,
    pub(crate) reply_packets: u64,
    pub(crate) reply_bytes: u64,
    /// It failed: it gets no new flow while another backend can take it.
    pub(crate) is_suspect: bool,
    /// It was confirmed that it fails flows: new ones avoid it.
    #[serde(skip)]
    pub(crate) is_ejected: bool,
    /// No route of the node leads to it: it gets no flow.
    #[serde(skip)]
    pub(crate) is_unrouted: bool,
    /// How it failed, if the agent has heard of it.
    #[serde(skip)]
    pub(crate) doubt: Option<Doubt>,
}

impl BackendReport {
    /// Of one that nothing is known of yet.
    pub(crate) fn blank(suspect: &Suspect, engine: Engine) -> Self {
        Self {
            engine,
            handed: None,
            protocol: suspect.protocol,
            port: suspect.port,
            address: suspect.address,
            flows: 0,
            flows_total: 0,
            forward_packets: 0,
            forward_bytes: 0,
            reply_packets: 0,
            reply_bytes: 0,
            is_suspect: false,
            is_ejected: false,
            is_unrouted: false,
            doubt: None,
        }
    }

    /// Adds what another engine has carried to the same backend.
    pub(crate) fn add(&mut self, other: &Self) {
        self.flows += other.flows;
        self.flows_total += other.flows_total;
        self.forward_packets += other.forward_packets;
        self.forward_bytes += other.forward_bytes;
        self.reply_packets += other.reply_packets;
        self.reply_bytes += other.reply_bytes;
        self.is_suspect |= other.is_suspect;
        self.is_ejected |= other.is_ejected;
        self.is_unrouted |= other.is_unrouted;
        self.doubt = self.doubt.or(other.doubt);
    }
}

/// One pinned map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MapReport {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) key_bytes: u32,
    pub(crate) value_bytes: u32,
    pub(crate) max_entries: u32,
    pub(crate) pin: PathBuf,
}

/// One loaded program that uses a pinned map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProgramReport {
    pub(crate) name: String,
    pub(crate) id: u32,
    /// The kernel's word for its type, for example `sched_cls`.
    pub(crate) kind: String,
    /// Instructions that the verifier has looked at; `None` before Linux 5.16.
    pub(crate) verified_instructions: Option<u32>,
    /// Size as the kernel keeps it.
    pub(crate) translated_bytes: Option<u32>,
    /// Size of the machine code; 0 where the kernel interprets programs.
    pub(crate) jit_bytes: u32,
    /// Seconds since it was loaded.
    pub(crate) age_s: Option<u64>,
    /// Runs while `kernel.bpf_stats_enabled` was 1.
    pub(crate) runs: u64,
    /// The time that they took.
    pub(crate) run_time_ns: u64,
}

/// What `datapath detach` removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DetachReport {
    pub(crate) links: Vec<String>,
    pub(crate) maps: Vec<String>,
    pub(crate) directories: Vec<PathBuf>,
    /// Numbers that are no longer reserved, as the kernel writes them.
    #[serde(default)]
    pub(crate) reserved: String,
}

/// A route towards a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Route {
    pub(crate) ifindex: u32,
    /// The route's preferred source: the node's address that the backend sees.
    pub(crate) source: IpAddr,
    /// The programs cannot take it: what leaves this way the proxy sends.
    pub(crate) is_handed: bool,
}
