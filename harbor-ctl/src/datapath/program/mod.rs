//! The loaded datapath: programs over pinned maps.

pub(super) mod attach;
pub(super) mod handover;
pub(super) mod loaded;
pub(super) mod object;
pub(super) mod pins;
mod traced;
pub(super) mod xdp;

use std::{ops::RangeInclusive, time::SystemTime};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, MapData, PerCpuArray, RingBuf},
    programs::{ProgramError, SchedClassifier, TestRun as _, TestRunOptions},
};
use aya_log::EbpfLogger;
use harbor_common::{
    flow_layout::FlowLayout,
    maps::{ALL, FLOWS, FLOWS6, LAYOUT, META, Meta, ring_slots},
    trace::{Trace, Traced},
};

use super::{
    error::{DatapathError, Tried as _},
    features,
    former::Former,
    interfaces::{Framing, Interface},
    tables::LiveTables,
    trace::ToldBy,
};
use crate::model::Tracing;
use object::{ADOPT_PROGRAM, ARM_PROGRAM, Handover, OBJECT, PACKET_PROGRAM, SWEEP_PROGRAM};
use pins::PinLock;
use pins::Pins;
use traced::TraceGlobals;

/// A flow is found from either end.
pub(super) const ENTRIES_PER_FLOW: u32 = 2;

/// The least that the kernel takes for a packet.
const PACKET: usize = 64;

/// What a load of the programs is for; the verifier removes what it excludes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Load {
    /// Interfaces whose packets have an Ethernet header.
    Ethernet(Handover),
    /// Interfaces whose packets begin with the IP header.
    Bare,
    /// Questions: nothing is changed.
    DryRun,
}

/// How the programs are to be loaded.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) flows: u32,
    pub(crate) source_ports: RangeInclusive<u16>,
    pub(crate) log: log::LevelFilter,
    /// Which packets are told, if somebody traces.
    pub(crate) tracing: Option<Tracing>,
}

/// Programs that are loaded over the pinned maps, and the lock on the pins.
pub(crate) struct Datapath {
    pub(crate) pins: Pins,
    pub(super) ebpf: Ebpf,
    /// The packet program for interfaces without an Ethernet header, once there is one.
    bare: Option<Ebpf>,
    options: Options,
    handover: Handover,
    /// Loaded for the next step of a handover.
    prepared: Option<(Handover, Ebpf)>,
    former: Option<Former>,
    logger: Option<EbpfLogger<&'static dyn log::Log>>,
    _lock: PinLock,
}

impl Datapath {
    /// Whether this binary has an object to load.
    pub(crate) fn is_built_in() -> bool {
        OBJECT.is_some()
    }

    /// Loads the programs over the maps that are pinned, or makes and pins them.
    pub(crate) fn load(pins: Pins, options: &Options) -> Result<Self, DatapathError> {
        // Before anything is made: what is not ours stays as it is.
        if let Some(object) = OBJECT {
            pins.check_maps(object)?;
        }
        let mut former = Former::find(&pins)?;
        if former.is_none() && Self::is_of_another_size(&pins, options)? {
            pins.step_aside()?;
            former = Former::find(&pins)?;
        }
        pins.prepare()?;
        let lock = pins.lock()?;
        pins.adopt_named_links()?;
        let handover = match &former {
            Some(_) => Handover::FormerOpens,
            None => Handover::None,
        };
        let ebpf = load(&pins, options, handover)?;
        let mut datapath = Self {
            pins,
            ebpf,
            bare: None,
            options: options.clone(),
            handover,
            prepared: None,
            former,
            logger: None,
            _lock: lock,
        };
        datapath.logger = datapath.logger(options.log);
        datapath.arm()?;
        datapath.sign()?;
        Ok(datapath)
    }

    /// Whether the tables that are pinned are not as large as they are to be.
    fn is_of_another_size(pins: &Pins, options: &Options) -> Result<bool, DatapathError> {
        let wanted = options.flows.saturating_mul(ENTRIES_PER_FLOW);
        Ok(pins.flow_entries()?.is_some_and(|held| held != wanted))
    }

    /// Whether a load would have to take flows over, which only an agent can that stays.
    pub(crate) fn has_to_take_over(pins: &Pins, options: &Options) -> Result<bool, DatapathError> {
        Ok(!pins.others()?.is_empty() || Self::is_of_another_size(pins, options)?)
    }

    /// Loads the programs anew with other options; the caller attaches them again.
    pub(crate) fn reload(&mut self, options: &Options) -> Result<(), DatapathError> {
        self.ebpf = match self.prepared.take() {
            Some((handover, ebpf)) if handover == self.handover => ebpf,
            _ => load(&self.pins, options, self.handover)?,
        };
        (self.bare, self.options) = (None, options.clone());
        self.logger = self.logger(options.log);
        self.arm()
    }

    /// What the loads that trace tell. Taken once: whoever has it reads.
    pub(crate) fn take_traces(&mut self) -> Result<Vec<ToldBy>, DatapathError> {
        let loads = [Some(&mut self.ebpf), self.bare.as_mut()];
        let take = |ebpf: &mut Ebpf| ebpf.take_map(Traced::RING).zip(ebpf.take_map(Trace::MAP));
        let told = loads.into_iter().flatten().filter_map(take);
        told.map(|(ring, processors)| {
            Ok(ToldBy {
                ring: RingBuf::try_from(ring).tried(|| Traced::RING.into())?,
                processors: PerCpuArray::try_from(processors).tried(|| Trace::MAP.into())?,
            })
        })
        .collect()
    }

    /// Re-arms the kernel's own timer, which belonged to the program before this one.
    fn arm(&mut self) -> Result<(), DatapathError> {
        self.run(ARM_PROGRAM, &[0; PACKET])?;
        Ok(())
    }

    /// Pins again what somebody has removed from the BPF file system; whether anything was missing.
    ///
    /// The programs hold their maps, so flows survive as long as the agent lives.
    pub(crate) fn restore_pins(&mut self) -> Result<bool, DatapathError> {
        let is_missing = |name: &&&str| !self.pins.map(name).exists();
        let missing: Vec<_> = ALL.iter().filter(is_missing).copied().collect();
        if missing.is_empty() && self.pins.links().exists() {
            return Ok(false);
        }
        let had_directory = self.pins.version().exists();
        self.pins.prepare()?;
        if !had_directory {
            // The lock was on the directory that is gone.
            self._lock = self.pins.lock()?;
        }
        for name in missing {
            if let Some(map) = self.ebpf.map(name) {
                map.pin(self.pins.map(name))
                    .tried(|| format!("cannot pin map {name} again"))?;
            }
        }
        Ok(true)
    }

    pub(crate) fn tables(&self) -> Result<LiveTables, DatapathError> {
        LiveTables::open(&self.pins)
    }

    /// The packet program for an interface.
    pub(super) fn packet_program(
        &mut self,
        interface: &Interface,
    ) -> Result<&mut SchedClassifier, DatapathError> {
        if interface.framing == Framing::Ethernet {
            return program(&mut self.ebpf, self.handover.packet_program());
        }
        let bare = match self.bare.take() {
            Some(bare) => bare,
            None => load_programs(&self.pins, &self.options, &[PACKET_PROGRAM], Load::Bare)?,
        };
        program(self.bare.insert(bare), PACKET_PROGRAM)
    }

    /// Runs the sweep program on a list; answers with the number of flows that it ended.
    pub(crate) fn run_sweep(&mut self, list: &[u8]) -> Result<u32, DatapathError> {
        self.run(SWEEP_PROGRAM, list)
    }

    fn run(&mut self, name: &str, packet: &[u8]) -> Result<u32, DatapathError> {
        let run = program(&mut self.ebpf, name)?
            .test_run(TestRunOptions {
                data_in: Some(packet),
                ..TestRunOptions::new()
            })
            .tried(|| format!("cannot run {name}"))?;
        Ok(run.return_value)
    }

    /// Hands the programs' log records to the agent's logs.
    pub(crate) fn flush_log(&mut self) {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
    }

    fn logger(&mut self, level: log::LevelFilter) -> Option<EbpfLogger<&'static dyn log::Log>> {
        if level == log::LevelFilter::Off {
            return None;
        }
        EbpfLogger::init(&mut self.ebpf)
            .inspect_err(|error| tracing::warn!("no log records from the datapath: {error}"))
            .ok()
    }

    /// Leaves the agent's mark in `meta`.
    fn sign(&self) -> Result<(), DatapathError> {
        let map = MapData::from_pin(self.pins.map(META)).tried(|| META.into())?;
        let mut meta: Array<_, Meta> =
            Array::try_from(aya::maps::Map::Array(map)).tried(|| META.into())?;
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let mark = Meta {
            layout: LAYOUT,
            agent_pid: std::process::id(),
            attached_at: now.as_secs(),
            flows: FlowLayout::OWN,
        };
        meta.set(0, mark, 0)
            .tried(|| format!("cannot write {META}"))
    }
}

pub(super) fn program<'a>(
    ebpf: &'a mut Ebpf,
    name: &str,
) -> Result<&'a mut SchedClassifier, DatapathError> {
    ebpf.program_mut(name)
        .ok_or_else(|| DatapathError::new(format!("the eBPF object has no program {name}")))?
        .try_into()
        .tried(|| format!("program {name}"))
}

fn load(pins: &Pins, options: &Options, handover: Handover) -> Result<Ebpf, DatapathError> {
    let mut programs = vec![handover.packet_program(), SWEEP_PROGRAM, ARM_PROGRAM];
    if handover != Handover::None {
        programs.push(ADOPT_PROGRAM);
    }
    load_programs(pins, options, &programs, Load::Ethernet(handover))
}

/// Loads programs of the object over the pinned maps.
pub(super) fn load_programs(
    pins: &Pins,
    options: &Options,
    programs: &[&str],
    load: Load,
) -> Result<Ebpf, DatapathError> {
    let object = OBJECT.ok_or_else(|| {
        DatapathError::with_fix(
            "this binary was built without the eBPF object",
            "build where an eBPF toolchain is: cargo xtask setup",
        )
    })?;
    pins.check_maps(object)?;
    features::check_helpers()?;

    let first = *options.source_ports.start();
    let count = options.source_ports.end() - first + 1;
    let ring_mask = ring_slots(options.flows) - 1;
    let level = options.log as u8;
    let dry_run = u32::from(load == Load::DryRun);
    let is_bare = u32::from(load == Load::Bare);
    let handover = match load {
        Load::Ethernet(handover) => handover as u32,
        Load::Bare | Load::DryRun => 0,
    };
    let trace = TraceGlobals::of(options.tracing);
    let notes_steps = u32::from(load == Load::DryRun || trace.one_in != 0);
    let paths: Vec<_> = ALL.iter().map(|name| (*name, pins.map(name))).collect();
    let mut loader = EbpfLoader::new();
    loader
        .override_global("AYA_LOG_LEVEL", &level, true)
        .override_global("SOURCE_PORT_FIRST", &first, true)
        .override_global("SOURCE_PORT_COUNT", &count, true)
        .override_global("RING_MASK", &ring_mask, true)
        .override_global("DRY_RUN", &dry_run, true)
        .override_global("NOTES_STEPS", &notes_steps, true)
        .override_global("IS_BARE", &is_bare, true)
        .override_global("HANDOVER", &handover, true)
        .override_global("TRACE_ONE_IN", &trace.one_in, true)
        .override_global("TRACE_BUDGET", &trace.budget, true)
        .override_global("TRACE_OUTCOMES", &trace.verdicts, true)
        .override_global("TRACE_PORT", &trace.port, true)
        .override_global("TRACE_CLIENT", &trace.client, true)
        .override_global("TRACE_CLIENT_PORT", &trace.client_port, true)
        .map_max_entries(FLOWS, options.flows.saturating_mul(ENTRIES_PER_FLOW))
        .map_max_entries(FLOWS6, options.flows.saturating_mul(ENTRIES_PER_FLOW));
    if options.tracing.is_some() {
        loader.map_max_entries(Traced::RING, Traced::RING_BYTES);
    }
    for (name, path) in &paths {
        loader.map_pin_path(name, path.as_path());
    }
    let mut ebpf = loader
        .load(object)
        .map_err(|error| explain_load(&error, options))?;
    for name in programs {
        program(&mut ebpf, name)?
            .load()
            .map_err(|error| explain_refusal(name, &error))?;
    }
    Ok(ebpf)
}

/// The verifier's whole log goes to the log file; people get the line that decided.
pub(super) fn explain_refusal(name: &str, error: &ProgramError) -> DatapathError {
    let ProgramError::LoadError {
        io_error,
        verifier_log,
    } = error
    else {
        return DatapathError::new(format!("the kernel refused {name}: {error}"));
    };
    let log = verifier_log.to_string();
    tracing::error!("the kernel refused {name}: {io_error}: {log}");
    let is_reason = |line: &&str| {
        let tails = ["verification time", "stack depth", "processed "];
        !line.is_empty() && !tails.iter().any(|tail| line.starts_with(tail))
    };
    let reason = log.lines().rev().map(str::trim).find(is_reason);
    let confinement = features::lacking_rights().or_else(|| match io_error.raw_os_error() {
        Some(libc::EPERM) => features::confinement(),
        _ => None,
    });
    DatapathError::with_fix(
        format!(
            "the kernel refused {name}: {io_error}: {}",
            reason.unwrap_or("no reason given")
        ),
        confinement.unwrap_or_else(|| {
            "report this with harbor_node.log, which holds the verifier's whole answer".into()
        }),
    )
}

/// The usual reasons why maps cannot be made, with their fixes.
fn explain_load(error: &aya::EbpfError, options: &Options) -> DatapathError {
    let text = Err::<(), _>(error).tried(|| "cannot load the datapath".into());
    let message = text.err().map_or_else(String::new, |error| error.message);
    if message.contains("os error 1)") {
        DatapathError::with_fix(
            message,
            features::lacking_rights()
                .or_else(features::confinement)
                .unwrap_or_else(|| "run as root".into()),
        )
    } else if message.contains("os error 12)") {
        DatapathError::with_fix(
            message,
            format!(
                "not enough memory for {} flows: lower [datapath].flows",
                options.flows
            ),
        )
    } else {
        DatapathError::new(message)
    }
}
