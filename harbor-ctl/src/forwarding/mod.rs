//! The engines that forward: the programs in the kernel, and the proxy for what they leave.
//!
//! One contract, two engines: changes go to both, and what they have counted is added up. The proxy
//! always runs: it holds the numbers, and whatever the kernel passes to the host it serves.

mod attach;
pub(super) mod flow_reader;
pub(super) mod heap;
mod kept_counts;
pub(super) mod kernel;
mod kernel_engine;
mod missed;
mod remains;
pub(super) mod settings;
mod thread;

pub(crate) use attach::attach_without_agent;
pub(crate) use kernel_engine::{KernelEngine, StartError};
pub(crate) use remains::Remains;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

pub(crate) use crate::datapath::{FlowExport, FormerPlace as FlowPlace, TraceReader};
use crate::{
    config::Config,
    forwarding::kept_counts::KeptCounts,
    model::{
        AllDown, BackendReport, DatapathReport, Doubt, Evidence, Filled, Finding, FlowCopy,
        FlowFilter, FrontendReport, Mode, OwnShare, Protocol, Question, Refusal, RefusalKind,
        Service, Suspect, Tracing, Verification,
    },
    proxy::{Proxy, ProxySettings, Silent},
    reconcile::Scope,
};
use flow_reader::FlowReader;
use kernel::{Change, Forwarding};
pub(crate) use kernel::{ForwardingError, WhichBackends};
use missed::Missed;

impl From<Silent> for ForwardingError {
    fn from(_: Silent) -> Self {
        Self::Silent("a thread of the proxy")
    }
}

/// An engine's failure as an answer.
pub(crate) fn not_ready(error: ForwardingError) -> Refusal {
    Refusal::new(RefusalKind::NotReady, error.to_string()).fix("harbor-ctl status")
}

/// Both of them; a copy leads to the same ones.
#[derive(Clone, Debug)]
pub(crate) struct Engines {
    pub(super) mode: Mode,
    pub(super) kernel: KernelEngine,
    pub(super) proxy: Proxy,
    pub(super) kept_counts: KeptCounts,
    missed: Missed,
}

impl Engines {
    pub(super) async fn start(config: &Config) -> Result<Self, StartError> {
        let proxy = Proxy::start(proxy_settings(config)).map_err(StartError::Proxy)?;
        Ok(Self {
            mode: config.mode,
            kernel: KernelEngine::start(config).await?,
            proxy,
            kept_counts: KeptCounts::default(),
            missed: Missed::default(),
        })
    }

    fn kernel(&self) -> Option<&Forwarding> {
        match &self.kernel {
            KernelEngine::Up(forwarding) => Some(forwarding),
            KernelEngine::Off(_) | KernelEngine::Down { .. } => None,
        }
    }

    /// Whether the kernel's tables could not be read lately.
    pub(super) fn are_silent(&self) -> bool {
        self.kernel().is_some_and(Forwarding::is_silent)
    }

    /// Whether new ports can be served as the operator wants it.
    pub(crate) fn is_ready(&self) -> bool {
        match &self.kernel {
            KernelEngine::Up(_) | KernelEngine::Off(_) => true,
            KernelEngine::Down { .. } => !matches!(self.mode, Mode::Tc | Mode::Xdp),
        }
    }

    /// Makes both serve exactly these services; the numbers are held before the kernel forwards.
    pub(super) async fn apply(
        &self,
        services: Vec<Arc<Service>>,
        all_down: AllDown,
    ) -> Result<(), ForwardingError> {
        let (proxy, copies) = (self.proxy.clone(), services.clone());
        in_background(move || proxy.apply(copies, all_down)).await?;
        match self.kernel() {
            Some(forwarding) => forwarding.apply(services, all_down).await,
            None => Ok(()),
        }
    }

    /// As [`Self::apply`], and the kernel keeps what it has. What it has not was given up since: the proxy does
    /// not serve that in its place.
    pub(super) async fn hold(
        &self,
        mut services: Vec<Arc<Service>>,
        all_down: AllDown,
    ) -> Result<(), ForwardingError> {
        if let Some(forwarding) = self.kernel() {
            let reports = forwarding.frontends(Scope::Whole).await?;
            let held = reports.iter().map(|r| (r.protocol, r.port));
            let held: BTreeSet<(Protocol, u16)> = held.collect();
            let has = |service: &Service, half| held.contains(&(half, service.port));
            services.retain(|service| {
                let mut each = service.protocols.each().iter().copied();
                each.all(|half| service.needs_proxy(half) || has(service, half))
            });
        }
        let proxy = self.proxy.clone();
        in_background(move || proxy.apply(services, all_down)).await
    }

    /// How long silence may last from now on, how long a backend may take to accept, and what else flows
    /// live by.
    pub(super) async fn set_terms(&self, config: &Config) -> Result<(), ForwardingError> {
        self.proxy.set_terms(&proxy_settings(config));
        match self.kernel() {
            Some(forwarding) => forwarding.set_terms(settings::terms(config)).await,
            None => Ok(()),
        }
    }

    /// Enters flows that another node tells of; for how many there was room, and a port and a backend.
    pub(crate) async fn adopt(&self, copies: Vec<FlowCopy>) -> Result<usize, ForwardingError> {
        match self.kernel() {
            Some(forwarding) => forwarding.adopt(copies).await,
            None => Ok(0),
        }
    }

    /// Begins to read flows for other nodes; `None` without programs. Reading them blocks.
    pub(crate) fn export(&self) -> Option<Result<FlowExport, ForwardingError>> {
        Some(self.kernel()?.export())
    }

    /// Tells of the shares of pools that this node may have, and how long they are held once they come.
    pub(super) async fn set_shares(
        &self,
        shares: Vec<OwnShare>,
        hold: Duration,
    ) -> Result<(), ForwardingError> {
        match self.kernel() {
            Some(forwarding) => forwarding.set_shares(shares, hold).await,
            None => Ok(()),
        }
    }

    /// Takes over changed services.
    pub(super) async fn change(&self, changes: Vec<Change>) -> Result<(), ForwardingError> {
        let (proxy, copies) = (self.proxy.clone(), changes.clone());
        in_background(move || proxy.change(copies)).await?;
        match self.kernel() {
            Some(forwarding) => forwarding.change(changes).await,
            None => Ok(()),
        }
    }

    /// Counters of frontends. One that the proxy cannot hold is the kernel's alone.
    pub(super) async fn frontends(
        &self,
        scope: Scope,
    ) -> Result<Vec<FrontendReport>, ForwardingError> {
        let unheld = self.proxy.unheld();
        let key = |report: &FrontendReport| (report.protocol, report.port);
        let proxied = self.proxy.frontends(keys(&scope).as_deref());
        let proxied = proxied.into_iter().map(|report| (key(&report), report));
        let mut proxied: BTreeMap<_, FrontendReport> = proxied.collect();
        let mut reports = match self.kernel() {
            Some(forwarding) => forwarding.soon(forwarding.frontends(scope)).await?,
            None => Vec::new(),
        };
        for report in &mut reports {
            self.kept_counts.add_to_kernel(report);
            if let Some(more) = proxied.remove(&key(report)) {
                report.add(&more);
            }
        }
        proxied.retain(|key, _| !unheld.contains_key(key));
        for report in proxied.values_mut() {
            self.kept_counts.add_to_proxy(report);
        }
        reports.extend(proxied.into_values());
        Ok(reports)
    }

    /// Counters of the backends of frontends. What one engine says of a backend that only the other
    /// avoids is left out where those that are avoided are asked for.
    pub(super) async fn backends(
        &self,
        scope: Scope,
        which: WhichBackends,
    ) -> Result<Vec<BackendReport>, ForwardingError> {
        let key = |report: &BackendReport| (report.protocol, report.port, report.address);
        let keys = keys(&scope);
        let proxied = match which {
            WhichBackends::Every => self.proxy.backends(keys.as_deref()),
            WhichBackends::Avoided => self.proxy.ejected(keys.as_deref()),
        };
        let proxied = proxied.into_iter().map(|report| (key(&report), report));
        let mut proxied: BTreeMap<_, BackendReport> = proxied.collect();
        let mut reports = match self.kernel() {
            Some(forwarding) => {
                let backends = forwarding.backends(scope.clone(), which);
                forwarding.soon(backends).await?
            }
            None => Vec::new(),
        };
        for report in &mut reports {
            if let Some(more) = proxied.remove(&key(report)) {
                report.add(&more);
            }
        }
        reports.extend(proxied.into_values());
        self.missed.add_to(&mut reports, &scope);
        Ok(reports)
    }

    /// Begins to read the flows that are meant.
    pub(super) fn flows(&self, filter: &FlowFilter) -> FlowReader {
        let kernel = self.kernel();
        FlowReader::new(
            kernel.map(|forwarding| forwarding.flows(filter.clone())),
            self.proxy.flows(filter.clone()),
        )
    }

    /// How many flows are meant.
    pub(super) async fn count_flows(&self, filter: FlowFilter) -> Result<u64, ForwardingError> {
        let kernel = self.kernel();
        let kernel = kernel.map(|forwarding| forwarding.flows(filter.clone()));
        let in_kernel = match kernel {
            Some(cursor) => flow_reader::count(cursor).await?,
            None => 0,
        };
        let proxy = self.proxy.clone();
        let proxied = flow_reader::blocking(move || proxy.count_flows(&filter)).await?;
        Ok(in_kernel + proxied?)
    }

    /// Ends flows; answers with their number.
    pub(super) async fn end_flows(&self, filter: FlowFilter) -> Result<u64, ForwardingError> {
        let (proxy, those) = (self.proxy.clone(), filter.clone());
        let proxied = flow_reader::blocking(move || proxy.end_flows(&those)).await??;
        match self.kernel() {
            Some(forwarding) => Ok(forwarding.end_flows(filter).await? + proxied),
            None => Ok(proxied),
        }
    }

    /// Waits until nothing goes on of clients that a change no longer allows.
    pub(super) async fn settled(&self) {
        if let Some(forwarding) = self.kernel().filter(|_| !self.are_silent())
            && let Err(error) = forwarding.settled().await
        {
            tracing::error!("flows of clients that are not allowed may go on: {error}");
        }
    }

    /// What was seen of backends since this was last asked.
    pub(super) fn evidence(&self) -> Vec<Evidence> {
        let mut evidence = self.proxy.evidence();
        evidence.extend(self.kernel().into_iter().flat_map(Forwarding::evidence));
        evidence
    }

    /// Has new flows avoid a backend for this reason while another can take them, or no longer.
    pub(super) fn eject(&self, suspect: &Suspect, doubt: Option<Doubt>) {
        self.proxy.eject(suspect, doubt);
        if let Some(forwarding) = self.kernel() {
            forwarding.eject(*suspect, doubt);
        }
    }

    /// Says of a backend that it takes nobody, though new flows go there, or no longer.
    pub(super) fn miss(&self, suspect: &Suspect, doubt: Option<Doubt>) {
        self.missed.note(suspect, doubt);
    }

    /// What would become of a packet. What comes from the node itself no program sees, and what the
    /// programs pass to the host the proxy may serve.
    pub(super) async fn explain(
        &self,
        question: Question,
        own: &BTreeSet<std::net::IpAddr>,
    ) -> Result<Finding, ForwardingError> {
        // What is for another host never comes to a socket of this one.
        let destination = question.destination.ip();
        let is_here = own.contains(&destination) || destination.is_loopback();
        let proxied = || self.proxy.explain(&question, is_here);
        let Some(forwarding) = self.kernel() else {
            return Ok(proxied());
        };
        if own.contains(&question.source.ip()) {
            return Ok(proxied());
        }
        let explain = forwarding.explain(question.clone());
        // Its program is loaded when it is asked for the first time, which takes longer.
        let found = match forwarding.is_silent() {
            true => forwarding.soon(explain).await?,
            false => explain.await?,
        };
        if found.verdict != "pass" {
            return Ok(found);
        }
        let after = proxied();
        Ok(match after.frontend {
            Some(_) => Finding {
                passed_as: Some(found.name),
                ..after
            },
            None => found,
        })
    }

    /// Links, verdict counts, problems; `None` where nothing is loaded.
    pub(super) async fn report(&self) -> Result<Option<DatapathReport>, ForwardingError> {
        match self.kernel() {
            Some(forwarding) => forwarding.soon(forwarding.report()).await.map(Some),
            None => Ok(None),
        }
    }

    /// Compares the kernel's tables with what was written there; `None` without programs.
    pub(super) async fn verify(
        &self,
        repair: bool,
    ) -> Option<Result<Verification, ForwardingError>> {
        Some(self.kernel()?.verify(repair).await)
    }

    /// Packets as the programs tell of them; `None` without programs.
    pub(super) async fn trace(
        &self,
        tracing: Tracing,
    ) -> Option<Result<TraceReader, ForwardingError>> {
        Some(self.kernel()?.trace(tracing).await)
    }

    /// What of the flow table is full, or nearly so.
    pub(super) async fn full(&self) -> Result<Vec<Filled>, ForwardingError> {
        match self.kernel() {
            Some(forwarding) => forwarding.soon(forwarding.full()).await,
            None => Ok(Vec::new()),
        }
    }

    /// Ends both: what is in the kernel stays, what goes through the proxy ends.
    pub(super) async fn stop(&self) {
        if let Some(forwarding) = self.kernel() {
            forwarding.stop().await;
        }
        self.proxy.stop();
    }
}

fn proxy_settings(config: &Config) -> ProxySettings {
    ProxySettings {
        timeouts: config.timeouts,
        connect_timeout: config.proxy.connect_timeout,
        give_up: config.proxy.give_up,
        half_closed: config.proxy.half_closed,
        port_share: config.proxy.descriptors_per_port,
        client_share: config.proxy.descriptors_per_client,
        flows: config.flows,
        addresses: config.addresses.clone(),
    }
}

/// What the proxy knows the frontends of a scope by; `None`: all.
fn keys(scope: &Scope) -> Option<Vec<(Protocol, u16)>> {
    match scope {
        Scope::Whole => None,
        Scope::Part(keys) => Some(keys.iter().map(|key| (key.protocol, key.port)).collect()),
    }
}

/// The proxy's changes open sockets, thousands at the start.
async fn in_background(work: impl FnOnce() + Send + 'static) -> Result<(), ForwardingError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| ForwardingError::Ended)
}
