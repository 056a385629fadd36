//! The datapath as the rest of the agent sees it: one handle, and one thread behind it that owns
//! the kernel's maps and does every blocking call.
//!
//! All changes go through [`Forwarding::apply`]: desired state in, and back only when the kernel
//! has it. Nobody else writes a map.

use std::{
    net::IpAddr,
    ops::RangeInclusive,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc,
    },
    time::Duration,
};

use tokio::sync::oneshot;

use super::thread::Forwarder;
use crate::{
    datapath::{
        Datapath, DatapathError, FlowCursor, FlowExport, FlowTables, Hook, HostChange, Pins,
        TraceReader,
    },
    model::{
        AllDown, BackendReport, DatapathReport, Doubt, Evidence, Filled, Finding, FlowCopy,
        FlowFilter, FrontendReport, Mode, OwnShare, Question, Service, Suspect, Terms, Testimony,
        Tracing, Verification,
    },
    reconcile::{FrontendKey, Scope},
};

/// Frontends whose backends are read at once.
const PART: usize = 64;

/// What the datapath needs to know from the configuration.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// `[paths].bpf`
    pub(crate) bpf: PathBuf,
    /// `[node].interfaces`; empty = choose: every Ethernet-like interface that is up, not loopback.
    pub(crate) interfaces: Vec<String>,
    /// `[node].addresses`; empty = every address of the chosen interfaces.
    pub(crate) addresses: Vec<IpAddr>,
    /// `[datapath].hook`; `None` = tcx where the kernel has it, else clsact.
    pub(crate) hook: Option<Hook>,
    /// `[datapath].mode`: which interfaces have the XDP program too.
    pub(crate) mode: Mode,
    /// `[datapath].flows`: capacity in flows.
    pub(crate) flows: u32,
    /// `[datapath].source_ports`: the translation range.
    pub(crate) source_ports: RangeInclusive<u16>,
    /// `[datapath].source_addresses`: more addresses that translated packets may carry.
    pub(crate) source_addresses: Vec<IpAddr>,
    /// `[log].datapath`: off, error, warn, info, debug or trace.
    pub(crate) log: log::LevelFilter,
    pub(crate) terms: Terms,
}

/// How long somebody waits for what the thread only has to look up. It may be loading programs.
const PATIENCE: Duration = Duration::from_secs(4);
/// The same, where nobody had an answer lately.
pub(crate) const HARDLY: Duration = Duration::from_millis(200);
const THREAD: &str = "the thread that keeps the datapath";

/// Why forwarding could not start, or a change could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ForwardingError {
    #[error("this binary was built without the eBPF object")]
    NoObject,
    #[error("the forwarding thread has ended: see harbor_node.log")]
    Ended,
    /// It is there, and hangs or has much to do.
    #[error("{0} does not answer")]
    Silent(&'static str),
    #[error(transparent)]
    Datapath(#[from] DatapathError),
}

/// A handle to the forwarding thread.
#[derive(Clone, Debug)]
pub(crate) struct Forwarding {
    requests: mpsc::Sender<Request>,
    testimony: Testimony,
    /// Read without the thread: nobody's change waits for a reader.
    flows: Arc<FlowTables>,
    pins: Pins,
    /// Whoever read last had no answer.
    is_silent: Arc<AtomicBool>,
}

pub(super) type Answer<T> = oneshot::Sender<Result<T, ForwardingError>>;

/// A service that was changed, by its id: as it is now, or `None` when it is no longer served.
pub(crate) type Change = (String, Option<Arc<Service>>);

/// Which backends are asked for. Those that are avoided are few: whoever needs no more reads no
/// counters of a hundred thousand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhichBackends {
    Every,
    Avoided,
}

impl WhichBackends {
    pub(super) fn means(self, report: &BackendReport) -> bool {
        self == Self::Every || report.is_suspect || report.is_ejected || report.is_unrouted
    }
}

/// What the thread can be asked for.
pub(super) enum Request {
    Apply(Vec<Arc<Service>>, AllDown, Answer<()>),
    Change(Vec<Change>, Answer<()>),
    EndFlows(FlowFilter, Answer<u64>),
    /// Once the flows are ended that changes before have ended.
    Settled(Answer<()>),
    Explain(Question, Answer<Finding>),
    Frontends(Scope, Answer<Vec<FrontendReport>>),
    Backends(Scope, WhichBackends, Answer<Vec<BackendReport>>),
    /// Which frontends there are.
    Served(Answer<Vec<FrontendKey>>),
    /// Nobody waits.
    Eject(Suspect, Option<Doubt>),
    Report(Answer<DatapathReport>),
    Verify(bool, Answer<Verification>),
    Full(Answer<Vec<Filled>>),
    SetLog(log::LevelFilter, Answer<()>),
    SetTerms(Terms, Answer<()>),
    /// Flows of shares, as another node tells of them; for how many there was room.
    Adopt(Vec<FlowCopy>, Answer<usize>),
    /// Shares of pools that this node may have, and how long they are held once they come.
    SetShares(Vec<OwnShare>, Duration, Answer<()>),
    Trace(Tracing, Answer<TraceReader>),
    /// The kernel told of it; nobody waits.
    HostChanged(HostChange),
    Stop(oneshot::Sender<()>),
}

impl Forwarding {
    /// Loads or adopts the datapath and starts the thread that keeps it.
    pub(crate) async fn start(settings: Settings) -> Result<Self, ForwardingError> {
        if !Datapath::is_built_in() {
            return Err(ForwardingError::NoObject);
        }
        let pins = Pins::new(&settings.bpf);
        let (requests, queue) = mpsc::channel();
        let (ready, started) = oneshot::channel();
        let inbox = requests.clone();
        let testimony = Testimony::default();
        let own = testimony.clone();
        let run = move || match Forwarder::start(settings, inbox, own) {
            Ok(forwarder) => {
                let _ = ready.send(Ok(forwarder.flows()));
                forwarder.run(&queue);
            }
            Err(error) => {
                let _ = ready.send(Err(error.into()));
            }
        };
        let thread = std::thread::Builder::new()
            .name("forwarding".into())
            .spawn(run);
        thread.map_err(|_| ForwardingError::Ended)?;
        let flows = started.await.unwrap_or(Err(ForwardingError::Ended))?;
        Ok(Self {
            requests,
            testimony,
            flows,
            pins,
            is_silent: Arc::default(),
        })
    }

    /// Makes the datapath serve exactly these services; returns once the kernel has them.
    pub(crate) async fn apply(
        &self,
        services: Vec<Arc<Service>>,
        all_down: AllDown,
    ) -> Result<(), ForwardingError> {
        self.ask(|answer| Request::Apply(services, all_down, answer))
            .await
    }

    /// Takes over changed services; returns once the kernel has them.
    pub(crate) async fn change(&self, changes: Vec<Change>) -> Result<(), ForwardingError> {
        self.ask(|answer| Request::Change(changes, answer)).await
    }

    /// Begins to read the flows that are meant. Reading them blocks.
    pub(crate) fn flows(&self, filter: FlowFilter) -> FlowCursor {
        FlowCursor::new(Arc::clone(&self.flows), filter)
    }

    /// Ends flows; answers with their number.
    pub(crate) async fn end_flows(&self, filter: FlowFilter) -> Result<u64, ForwardingError> {
        self.ask(|answer| Request::EndFlows(filter, answer)).await
    }

    /// Waits until the flows are ended that a change of lists of networks has ended.
    pub(crate) async fn settled(&self) -> Result<(), ForwardingError> {
        self.ask(Request::Settled).await
    }

    /// What would become of a packet.
    pub(crate) async fn explain(&self, question: Question) -> Result<Finding, ForwardingError> {
        self.ask(|answer| Request::Explain(question, answer)).await
    }

    /// Counters of frontends; the number of their flows is at most one sweep old.
    pub(crate) async fn frontends(
        &self,
        scope: Scope,
    ) -> Result<Vec<FrontendReport>, ForwardingError> {
        self.ask(|answer| Request::Frontends(scope, answer)).await
    }

    /// Counters of the backends of frontends; at most one sweep old. Those of all are asked for in parts:
    /// each is a call to the kernel, and a change that comes meanwhile waits for one part.
    pub(crate) async fn backends(
        &self,
        scope: Scope,
        which: WhichBackends,
    ) -> Result<Vec<BackendReport>, ForwardingError> {
        if scope != Scope::Whole || which != WhichBackends::Every {
            return self.backends_of(scope, which).await;
        }
        let served = self.ask(Request::Served).await?;
        let mut reports = Vec::new();
        for part in served.chunks(PART) {
            let part = Scope::Part(part.iter().copied().collect());
            reports.extend(self.backends_of(part, which).await?);
        }
        Ok(reports)
    }

    async fn backends_of(
        &self,
        scope: Scope,
        which: WhichBackends,
    ) -> Result<Vec<BackendReport>, ForwardingError> {
        self.ask(|answer| Request::Backends(scope, which, answer))
            .await
    }

    /// What was seen of backends since this was last asked.
    pub(crate) fn evidence(&self) -> Vec<Evidence> {
        self.testimony.take()
    }

    /// Has new flows avoid a backend for this reason while another can take them, or no longer.
    pub(crate) fn eject(&self, suspect: Suspect, doubt: Option<Doubt>) {
        // A thread that has ended forwards by what the kernel has.
        let _ = self.requests.send(Request::Eject(suspect, doubt));
    }

    /// Links, verdict counts, problems.
    pub(crate) async fn report(&self) -> Result<DatapathReport, ForwardingError> {
        self.ask(Request::Report).await
    }

    /// Compares the kernel's tables with what was written there, and repairs them if told to.
    pub(crate) async fn verify(&self, repair: bool) -> Result<Verification, ForwardingError> {
        self.ask(|answer| Request::Verify(repair, answer)).await
    }

    /// What has as many flows as it may, or nearly so; at most one sweep old.
    pub(crate) async fn full(&self) -> Result<Vec<Filled>, ForwardingError> {
        self.ask(Request::Full).await
    }

    /// Has the programs tell of packets until what is answered is dropped.
    pub(crate) async fn trace(&self, tracing: Tracing) -> Result<TraceReader, ForwardingError> {
        self.ask(|answer| Request::Trace(tracing, answer)).await
    }

    /// Changes the log level of the programs by replacing them in place.
    pub(crate) async fn set_log(&self, level: log::LevelFilter) -> Result<(), ForwardingError> {
        self.ask(|answer| Request::SetLog(level, answer)).await
    }

    /// Changes what flows live by.
    pub(crate) async fn set_terms(&self, terms: Terms) -> Result<(), ForwardingError> {
        self.ask(|answer| Request::SetTerms(terms, answer)).await
    }

    /// Enters flows that another node tells of; for how many there was room, and a port and backend.
    pub(crate) async fn adopt(&self, copies: Vec<FlowCopy>) -> Result<usize, ForwardingError> {
        self.ask(|answer| Request::Adopt(copies, answer)).await
    }

    /// Begins to read flows for other nodes. Reading them blocks.
    pub(crate) fn export(&self) -> Result<FlowExport, ForwardingError> {
        Ok(FlowExport::open(&self.pins)?)
    }

    /// Tells of the shares of pools that this node may have.
    pub(crate) async fn set_shares(
        &self,
        shares: Vec<OwnShare>,
        hold: Duration,
    ) -> Result<(), ForwardingError> {
        self.ask(|answer| Request::SetShares(shares, hold, answer))
            .await
    }

    /// Ends the thread; programs, maps and links stay in the kernel.
    pub(crate) async fn stop(&self) {
        let (answer, stopped) = oneshot::channel();
        if self.requests.send(Request::Stop(answer)).is_ok() {
            let _ = stopped.await;
        }
    }

    /// Whether whoever read last had no answer.
    pub(crate) fn is_silent(&self) -> bool {
        self.is_silent.load(Relaxed)
    }

    /// What is only looked at, for who would rather know nothing than wait: once the thread is known to
    /// hang, hardly at all.
    pub(crate) async fn soon<T>(
        &self,
        answer: impl Future<Output = Result<T, ForwardingError>>,
    ) -> Result<T, ForwardingError> {
        let patience = match self.is_silent() {
            true => HARDLY,
            false => PATIENCE,
        };
        let answered = tokio::time::timeout(patience, answer).await;
        self.is_silent.store(answered.is_err(), Relaxed);
        answered.unwrap_or(Err(ForwardingError::Silent(THREAD)))
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(Answer<T>) -> Request,
    ) -> Result<T, ForwardingError> {
        let (answer, answered) = oneshot::channel();
        self.requests
            .send(request(answer))
            .map_err(|_| ForwardingError::Ended)?;
        answered.await.unwrap_or(Err(ForwardingError::Ended))
    }
}
