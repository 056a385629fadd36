//! The thread behind [`super::kernel::Forwarding`]: owns the datapath, answers requests, and in between
//! keeps what it attached in place, says that it lives, ends flows that are over and hands on the
//! programs' log records.

mod copies;
mod explain;
mod failures;
mod handover;
mod interfaces;
mod reconcile;
mod report;
mod selection;
mod shares;
mod sweep;
mod taking_over;
mod trace;
mod unrouted;
mod verify;
mod xdp;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender},
    },
    time::{Duration, Instant},
};

use super::kernel::{ForwardingError, Request, Settings};
use crate::{
    datapath::{
        self, Carrier, ClientTable, Counters, Datapath, DatapathError, Explainer, FlowTables,
        Heart, Hook, Host, HostChange, InterfaceTable, LiveTables, Options, Pins, RouteTables,
        ShareTable, Sightings, Snapshot, Sweep, TraceLoad,
    },
    model::{AllDown, Doubt, OwnShare, Service, Suspect, Terms, Testimony},
    reconcile::{Capacity, HostView, OwnAddresses, Routes, TableMirror, Tables as _},
};
use failures::Doubts;
use sweep::{Ending, Sweeping, Those};
use taking_over::TakingOver;
use xdp::XdpState;

/// How long the thread sleeps when nothing is asked.
const IDLE: Duration = Duration::from_millis(100);
/// How often interfaces and addresses are looked at, and flows are swept.
const ROUND: Duration = Duration::from_secs(1);
/// How often routes and neighbours are read without anybody having said that they changed.
const WAYS: Duration = Duration::from_secs(30);
/// How often everything is looked at after ports were changed one by one, at most: in a quiet moment,
/// because a change that comes meanwhile has to wait.
const TIDYING: Duration = Duration::from_secs(10);
/// How long nothing has changed in a quiet moment.
const QUIET: Duration = Duration::from_secs(2);
/// Without a quiet moment it is looked after this time.
const UNTIDY: Duration = Duration::from_secs(60);
/// After a look at the host, the next change waits at least this long: changes come in flocks.
const LOOK_GAP: Duration = Duration::from_millis(20);
/// A look at the host may take this part of the thread's time: one in ten.
const LOOK_SHARE: u32 = 10;

/// Everything that the forwarding thread owns.
pub(super) struct Forwarder {
    settings: Settings,
    datapath: Datapath,
    tables: LiveTables,
    mirror: TableMirror,
    flows: Arc<FlowTables>,
    /// Flows of one family that fit.
    capacity: u32,
    clients: ClientTable,
    shares: ShareTable,
    /// Shares of pools that this node may have.
    own_shares: Vec<OwnShare>,
    /// How long what continues an unknown flow of a share waits for its copy, once the share has come.
    hold: Duration,
    terms: Terms,
    /// Or why there is none.
    carrier: Result<Carrier, String>,
    counters: Counters,
    sightings: Sightings,
    /// For whoever judges backends.
    news_of_backends: Testimony,
    doubts: Doubts,
    heart: Heart,
    ways: RouteTables,
    /// Loaded when it is first asked.
    explainer: Option<Explainer>,
    /// While flows of a program that served before are taken over.
    taking_over: Option<TakingOver>,
    /// While somebody traces.
    tracing: Option<TraceLoad>,
    host: Host,
    snapshot: Snapshot,
    inputs: Inputs,
    /// By the interface's index.
    attached: BTreeMap<u32, Hook>,
    /// When an interface was given the program again that others had taken off it.
    put_back: BTreeMap<u32, Instant>,
    interfaces: InterfaceTable,
    xdp: XdpState,
    /// The last one.
    sweep: Sweep,
    /// The one that is under way.
    sweeping: Option<Sweeping>,
    /// Flows that are being ended.
    endings: VecDeque<Ending>,
    /// What has changed on the host since it was looked at.
    news: HostChange,
    next_look: Instant,
    next_ways: Instant,
    next_round: Instant,
    next_sweep: Instant,
    next_tidying: Instant,
    problems: BTreeSet<String>,
    /// Why the datapath is told of no ways.
    no_ways: Option<String>,
    /// Held for the listener, which ends when this is gone.
    _listened: Arc<()>,
}

/// What the tables are made from, and whether they are made from it yet.
#[derive(Default)]
struct Inputs {
    /// By id.
    services: Option<BTreeMap<String, Arc<Service>>>,
    all_down: AllDown,
    /// Backends that new flows avoid, and why.
    ejected: BTreeMap<Suspect, Doubt>,
    hosts: BTreeSet<IpAddr>,
    routes: Routes,
    own: OwnAddresses,
    /// The routes may have changed since they were asked for.
    is_stale: bool,
    /// Which routes the programs can take may have changed.
    is_unjudged: bool,
    /// The tables differ, or may differ.
    is_open: bool,
    /// Ports were changed one by one: what only a look at all of them can take away is still there.
    /// Since when, and when it was made so last.
    untidy: Option<[Instant; 2]>,
}

impl Inputs {
    fn host_view(&self) -> HostView<'_> {
        HostView {
            routes: &self.routes,
            own: &self.own,
            all_down: self.all_down,
            ejected: &self.ejected,
        }
    }
}

impl Forwarder {
    /// Loads the programs, reads what the kernel holds and attaches. News of the host come in as
    /// requests by `inbox`.
    pub(super) fn start(
        settings: Settings,
        inbox: Sender<Request>,
        testimony: Testimony,
    ) -> Result<Self, DatapathError> {
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
        let now = Instant::now();
        let flows = Arc::new(FlowTables::open(&pins)?);
        let mut forwarder = Self {
            capacity: flows.capacity()?,
            flows,
            clients: ClientTable::open(&pins)?,
            shares: ShareTable::open(&pins)?,
            own_shares: Vec::new(),
            hold: Duration::ZERO,
            terms: settings.terms,
            carrier: carry(&pins, &settings.options()),
            counters: Counters::open(&pins)?,
            sightings: Sightings::open(&pins)?,
            news_of_backends: testimony,
            doubts: Doubts::default(),
            heart: Heart::open(&pins, &settings.terms)?,
            ways: RouteTables::open(&pins)?,
            explainer: None,
            taking_over: TakingOver::of(&datapath)?,
            tracing: None,
            host: Host::connect()?,
            settings,
            datapath,
            tables,
            mirror: TableMirror::open(actual, Capacity::default()),
            snapshot: Snapshot::default(),
            inputs: Inputs::default(),
            attached: BTreeMap::new(),
            put_back: BTreeMap::new(),
            interfaces: InterfaceTable::open(&pins)?,
            xdp: XdpState::default(),
            sweep: Sweep::default(),
            sweeping: None,
            endings: VecDeque::new(),
            news: HostChange::default(),
            next_look: now,
            next_ways: now,
            next_round: now,
            next_sweep: now,
            next_tidying: now,
            problems: BTreeSet::new(),
            no_ways: None,
            _listened: listen(inbox)?,
        };
        forwarder.snapshot = forwarder.host.snapshot()?;
        forwarder.keep_ways();
        forwarder.beat();
        forwarder.take_links()?;
        forwarder.attach();
        Ok(forwarder)
    }

    /// Answers requests until told to stop.
    pub(super) fn run(mut self, requests: &Receiver<Request>) {
        loop {
            match requests.recv_timeout(self.patience()) {
                Ok(Request::Stop(answer)) => {
                    // What stays in the kernel tells of nothing.
                    self.end_trace();
                    drop(self);
                    let _ = answer.send(());
                    return;
                }
                Ok(request) => self.answer(request),
                Err(RecvTimeoutError::Timeout) => self.settle(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.datapath.flush_log();
            self.hear();
            self.end_unread_trace();
            if self.news.is_any() && Instant::now() >= self.next_look {
                self.look();
            }
            if Instant::now() >= self.next_round {
                self.round();
            }
            self.go_through_flows();
            self.take_over();
            if let Err(error) = self.shares.renew() {
                tracing::error!("{error}");
            }
        }
    }

    fn patience(&self) -> Duration {
        if self.is_amid_flows() || self.is_taking_over() {
            return Duration::ZERO;
        }
        match self.news.is_any() {
            true => IDLE.min(self.next_look.saturating_duration_since(Instant::now())),
            false => IDLE,
        }
    }

    pub(super) fn flows(&self) -> Arc<FlowTables> {
        Arc::clone(&self.flows)
    }

    fn answer(&mut self, request: Request) {
        // Whoever asked may have gone: then the answer is of no use to anybody.
        match request {
            Request::Apply(services, all_down, answer) => {
                self.wish(services, all_down);
                let _ = answer.send(self.reconcile().map_err(ForwardingError::from));
            }
            Request::Change(changes, answer) => {
                let _ = answer.send(self.change(changes).map_err(ForwardingError::from));
            }
            Request::EndFlows(filter, answer) => {
                let those = Those::Named(filter, answer);
                self.endings.push_back(Ending::of(those));
            }
            Request::Settled(answer) => self.endings.push_back(Ending::of(Those::None(answer))),
            Request::Explain(question, answer) => {
                let _ = answer.send(self.explain(&question).map_err(ForwardingError::from));
            }
            Request::Frontends(scope, answer) => {
                let _ = answer.send(self.frontends(&scope).map_err(ForwardingError::from));
            }
            Request::Backends(scope, which, answer) => {
                let found = self.backends(&scope, which);
                let _ = answer.send(found.map_err(ForwardingError::from));
            }
            Request::Served(answer) => {
                let _ = answer.send(Ok(self.mirror.actual.frontends.keys().copied().collect()));
            }
            Request::Eject(suspect, doubt) => self.eject(&suspect, doubt),
            Request::Report(answer) => {
                // What others have taken off is put back first: nobody is told of what is not so.
                self.attach();
                let _ = answer.send(self.report().map_err(ForwardingError::from));
            }
            Request::Verify(repair, answer) => {
                let _ = answer.send(self.verify(repair).map_err(ForwardingError::from));
            }
            Request::Full(answer) => {
                let _ = answer.send(self.full().map_err(ForwardingError::from));
            }
            Request::SetLog(level, answer) => {
                let _ = answer.send(self.set_log(level).map_err(ForwardingError::from));
            }
            Request::SetTerms(terms, answer) => {
                self.terms = terms;
                self.judge_anew();
                self.heart.set_terms(&terms);
                let _ = answer.send(self.heart.beat().map_err(ForwardingError::from));
            }
            Request::Adopt(copies, answer) => {
                let _ = answer.send(self.adopt(&copies).map_err(ForwardingError::from));
            }
            Request::SetShares(shares, hold, answer) => {
                let set = self.set_shares(shares, hold);
                let _ = answer.send(set.map_err(ForwardingError::from));
            }
            Request::Trace(tracing, answer) => {
                let _ = answer.send(self.trace(tracing).map_err(ForwardingError::from));
            }
            Request::HostChanged(change) => self.news.add(change),
            Request::Stop(_) => unreachable!("`run` answers it"),
        }
    }

    /// Looks at the host again and repairs what has changed.
    fn round(&mut self) {
        self.next_round = Instant::now() + ROUND;
        self.beat();
        self.keep_snapshot();
        match self.datapath.restore_pins() {
            Ok(false) => {}
            Ok(true) => tracing::warn!("pins were missing and have been made again"),
            Err(error) => tracing::error!("{error}"),
        }
        self.attach();
        if Instant::now() >= self.next_ways {
            self.inputs.is_stale = true;
            self.keep_ways();
        }
        let is_untidy = self
            .inputs
            .untidy
            .is_some_and(|[since, last]| last.elapsed() >= QUIET || since.elapsed() >= UNTIDY);
        if is_untidy && Instant::now() >= self.next_tidying {
            self.next_tidying = Instant::now() + TIDYING;
            self.inputs.is_open = true;
        }
        if let Err(error) = self.reconcile() {
            tracing::error!("cannot bring the tables up to date: {error}");
        }
    }

    fn set_log(&mut self, level: log::LevelFilter) -> Result<(), DatapathError> {
        self.settings.log = level;
        self.replace(&self.settings.options())
    }
}

/// Starts the carrier; without one the rest works as well.
fn carry(pins: &Pins, options: &Options) -> Result<Carrier, String> {
    let carrier = Carrier::start(pins, options);
    carrier
        .map_err(|error| format!("datagrams whose fragments come out of order are lost: {error}"))
}

/// Has news of the host sent to the inbox for as long as what is answered lives.
fn listen(inbox: Sender<Request>) -> Result<Arc<()>, DatapathError> {
    let listened = Arc::new(());
    let is_listened = Arc::downgrade(&listened);
    datapath::listen(move |change| {
        if change.is_any() && inbox.send(Request::HostChanged(change)).is_err() {
            return false;
        }
        is_listened.strong_count() > 0
    })?;
    Ok(listened)
}
