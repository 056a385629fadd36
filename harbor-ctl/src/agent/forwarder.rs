//! The thread behind [`super::Forwarding`]: owns the datapath, answers requests, and in between
//! keeps what it attached in place, ends expired flows and hands on the programs' log records.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use harbor_common::maps::{BACKEND_SLOTS, FRONTEND_SLOTS};

use super::forwarding::{ForwardingError, Request, Settings};
use crate::{
    datapath::{
        self, Counters, Datapath, DatapathError, FlowTable, Hook, Host, Interface, LiveTables,
        Options, Pins, Snapshot, Sweep,
    },
    model::{DatapathReport, FrontendReport, Service},
    reconcile::{self, Books, OwnAddresses, Plan, Routes, Tables as _},
};

/// How long the thread sleeps when nothing is asked.
const IDLE: Duration = Duration::from_millis(100);
/// How often interfaces, addresses and routes are looked at, and flows are swept.
const ROUND: Duration = Duration::from_secs(1);
/// A sweep may take this part of the thread's time: one in twenty.
const SWEEP_SHARE: u32 = 20;

/// Everything that the forwarding thread owns.
pub(super) struct Forwarder {
    settings: Settings,
    datapath: Datapath,
    tables: LiveTables,
    books: Books,
    flows: FlowTable,
    counters: Counters,
    host: Host,
    snapshot: Snapshot,
    services: Option<Vec<Service>>,
    attached: BTreeMap<String, (u32, Hook)>,
    sweep: Sweep,
    next_round: Instant,
    next_sweep: Instant,
    problems: BTreeSet<String>,
}

impl Forwarder {
    /// Loads the programs, reads what the kernel holds and attaches.
    pub(super) fn start(settings: Settings) -> Result<Self, DatapathError> {
        let pins = Pins::new(&settings.bpf);
        let datapath = Datapath::load(pins.clone(), &settings.options())?;
        let mut tables = datapath.tables()?;
        let actual = tables.read()?;
        tracing::info!(
            frontends = actual.frontends.len(),
            backends = actual.backends.len(),
            "datapath loaded under {}",
            pins.version().display()
        );
        let books = Books::open(actual, FRONTEND_SLOTS as u32, BACKEND_SLOTS as u32);
        let mut forwarder = Self {
            flows: FlowTable::open(&pins)?,
            counters: Counters::open(&pins)?,
            host: Host::connect()?,
            settings,
            datapath,
            tables,
            books,
            snapshot: Snapshot::default(),
            services: None,
            attached: BTreeMap::new(),
            sweep: Sweep::default(),
            next_round: Instant::now(),
            next_sweep: Instant::now(),
            problems: BTreeSet::new(),
        };
        forwarder.snapshot = forwarder.host.snapshot()?;
        forwarder.attach();
        Ok(forwarder)
    }

    /// Answers requests until told to stop.
    pub(super) fn run(mut self, requests: &Receiver<Request>) {
        loop {
            match requests.recv_timeout(IDLE) {
                Ok(Request::Stop(answer)) => {
                    drop(self);
                    let _ = answer.send(());
                    return;
                }
                Ok(request) => self.answer(request),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.datapath.flush_log();
            if Instant::now() >= self.next_round {
                self.round();
            }
            if Instant::now() >= self.next_sweep {
                self.sweep();
            }
        }
    }

    fn answer(&mut self, request: Request) {
        // Whoever asked may have gone: then the answer is of no use to anybody.
        match request {
            Request::Apply(services, answer) => {
                self.services = Some(services);
                let _ = answer.send(self.reconcile().map_err(ForwardingError::from));
            }
            Request::Flows(answer) => {
                let _ = answer.send(self.flows.records().map_err(ForwardingError::from));
            }
            Request::Frontends(answer) => {
                let _ = answer.send(self.frontends().map_err(ForwardingError::from));
            }
            Request::Report(answer) => {
                let _ = answer.send(self.report().map_err(ForwardingError::from));
            }
            Request::SetLog(level, answer) => {
                let _ = answer.send(self.set_log(level).map_err(ForwardingError::from));
            }
            Request::Stop(_) => unreachable!("`run` answers it"),
        }
    }

    /// Brings the tables to what the services ask for.
    ///
    /// Before the first complete list of services nothing is touched: an agent that does not know
    /// yet must not take for unwanted what its predecessor served.
    fn reconcile(&mut self) -> Result<(), DatapathError> {
        let Some(services) = &self.services else {
            return Ok(());
        };
        let routes = self.routes(services);
        let own = self.settings.own_addresses(&self.snapshot);
        let desired = reconcile::desired(services, &routes, &own);
        let books = &mut self.books;
        let plan = Plan::between(
            &books.actual,
            &desired,
            &mut books.frontend_slots,
            &mut books.backend_slots,
        );
        for refused in &plan.refused {
            tracing::error!("{refused}");
        }
        if plan.is_empty() {
            return Ok(());
        }
        tracing::debug!(?plan, "applying");
        let applied = reconcile::apply(&plan, books, &mut self.tables);
        if applied.is_err() {
            // What was written is uncertain: look, and leave the rest to the next round.
            let actual = self.tables.read()?;
            self.books = Books::open(actual, FRONTEND_SLOTS as u32, BACKEND_SLOTS as u32);
        }
        applied
    }

    fn routes(&self, services: &[Service]) -> Routes {
        let backends = services.iter().flat_map(|service| &service.backends);
        let hosts: BTreeSet<Ipv4Addr> = backends.map(|backend| *backend.address.ip()).collect();
        self.host.routes(&hosts)
    }

    /// Looks at the host again and repairs what has changed.
    fn round(&mut self) {
        self.next_round = Instant::now() + ROUND;
        match self.host.snapshot() {
            Ok(snapshot) => self.snapshot = snapshot,
            Err(error) => tracing::warn!("{error}"),
        }
        match self.datapath.restore_pins() {
            Ok(false) => {}
            Ok(true) => tracing::warn!("pins were missing and have been made again"),
            Err(error) => tracing::error!("{error}"),
        }
        self.attach();
        if let Err(error) = self.reconcile() {
            tracing::error!("cannot bring the tables up to date: {error}");
        }
    }

    /// Attaches to every chosen interface that is not attached yet, was made anew or lost its pin.
    fn attach(&mut self) {
        let chosen = self.settings.chosen(&self.snapshot);
        self.problems = self.settings.missing(&self.snapshot);
        let pinned = self.datapath.pins.attached().unwrap_or_default();
        self.attached.retain(|name, (index, _)| {
            let exists =
                |interface: &Interface| interface.name == *name && interface.index == *index;
            chosen.iter().any(exists) && pinned.iter().any(|attached| attached.interface == *name)
        });
        for interface in chosen {
            if self.attached.contains_key(&interface.name) {
                continue;
            }
            match self.datapath.attach(&interface, self.settings.hook) {
                Ok(hook) => {
                    tracing::info!("attached to {} by {}", interface.name, hook.name());
                    self.attached
                        .insert(interface.name, (interface.index, hook));
                }
                Err(error) => {
                    tracing::error!("{error}");
                    self.problems.insert(error.message);
                }
            }
        }
        if let Err(error) = self.prune() {
            tracing::warn!("{error}");
        }
        if self.attached.is_empty() {
            self.problems.insert("attached to no interface".into());
        }
    }

    /// Takes the program off interfaces that are no longer configured, and removes the pins of
    /// those that no longer exist. One that is merely down keeps its program.
    fn prune(&self) -> Result<(), DatapathError> {
        for attached in self.datapath.pins.attached()? {
            let name = &attached.interface;
            let exists = self
                .snapshot
                .interfaces
                .iter()
                .any(|found| found.name == *name);
            let is_wanted =
                self.settings.interfaces.is_empty() || self.settings.interfaces.contains(name);
            if !exists || !is_wanted {
                attached.detach()?;
                tracing::info!("detached from {name}");
            }
        }
        Ok(())
    }

    fn sweep(&mut self) {
        let started = Instant::now();
        let backends = self.books.actual.backends.values();
        let generations = backends
            .map(|(slot, row)| (*slot, row.generation))
            .collect();
        match self
            .flows
            .sweep(&mut self.datapath, &self.settings.timeouts, &generations)
        {
            Ok(sweep) => {
                if sweep.ended > 0 {
                    tracing::trace!(flows = sweep.flows, ended = sweep.ended, "swept");
                }
                self.sweep = sweep;
            }
            Err(error) => tracing::error!("cannot sweep flows: {error}"),
        }
        self.next_sweep = Instant::now() + ROUND.max(started.elapsed() * SWEEP_SHARE);
    }

    fn frontends(&self) -> Result<Vec<FrontendReport>, DatapathError> {
        let mut reports = Vec::new();
        for (key, (frontend, set)) in &self.books.actual.frontends {
            let counters = self.counters.of_slot(frontend.slot)?;
            reports.push(FrontendReport {
                protocol: key.protocol,
                port: key.port,
                flows: self
                    .sweep
                    .by_frontend
                    .get(&frontend.slot)
                    .copied()
                    .unwrap_or(0),
                flows_total: counters.flows,
                forward_packets: counters.forward_packets,
                forward_bytes: counters.forward_bytes,
                reply_packets: counters.reply_packets,
                reply_bytes: counters.reply_bytes,
                backends_reachable: set.count,
            });
        }
        Ok(reports)
    }

    fn report(&self) -> Result<DatapathReport, DatapathError> {
        let mut report = datapath::status(&self.settings.bpf)?;
        report.problems.extend(self.problems.iter().cloned());
        report.problems.sort();
        report.problems.dedup();
        if report.state == "ok" && !report.problems.is_empty() {
            report.state = "degraded".into();
        }
        Ok(report)
    }

    fn set_log(&mut self, level: log::LevelFilter) -> Result<(), DatapathError> {
        self.settings.log = level;
        self.datapath.reload(&self.settings.options())?;
        self.attached.clear();
        self.attach();
        Ok(())
    }
}

impl Settings {
    fn options(&self) -> Options {
        Options {
            flows: self.flows,
            source_ports: self.source_ports.clone(),
            log: self.log,
        }
    }

    /// The interfaces to attach to.
    fn chosen(&self, snapshot: &Snapshot) -> Vec<Interface> {
        let wanted = |interface: &&Interface| {
            if self.interfaces.is_empty() {
                interface.is_eligible()
            } else {
                interface.is_up && self.interfaces.contains(&interface.name)
            }
        };
        snapshot.interfaces.iter().filter(wanted).cloned().collect()
    }

    /// Configured interfaces that are not there, in words.
    fn missing(&self, snapshot: &Snapshot) -> BTreeSet<String> {
        let is_missing = |name: &&String| {
            !snapshot
                .interfaces
                .iter()
                .any(|interface| interface.name == **name && interface.is_up)
        };
        let missing = self.interfaces.iter().filter(is_missing);
        missing
            .map(|name| format!("interface {name} is missing or down"))
            .collect()
    }

    fn own_addresses(&self, snapshot: &Snapshot) -> OwnAddresses {
        let public = if self.addresses.is_empty() {
            let chosen = self.chosen(snapshot).into_iter();
            chosen.flat_map(|interface| interface.addresses).collect()
        } else {
            self.addresses.iter().copied().collect()
        };
        OwnAddresses {
            public,
            local: snapshot.local_addresses(),
        }
    }
}
