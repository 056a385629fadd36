//! The userspace forwarder: what the kernel path cannot serve, and everything where there is no BPF.
//!
//! Holds a socket for every number that is allocated, and carries connections and datagrams to the
//! backends by the same rules as the datapath. It runs on threads of its own and knows only `model`:
//! it is told which services there are, and answers what it sees of them. Every method returns
//! without waiting for anybody on the network, so that it may be called under the agent's lock.

mod explain;
mod flows;
mod ports;
mod report;
mod select;
mod settings;
mod tcp;
mod udp;
mod worker;

use std::{
    collections::BTreeMap,
    io,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicUsize, mpsc::sync_channel},
    thread::{self, JoinHandle},
};

use crate::model::{
    AllDown, BackendReport, Doubt, Evidence, Filled, Finding, FlowFilter, FrontendReport, Protocol,
    Protocols, Question, Service, Suspect,
};
use ports::PortTable;
use settings::ANSWER;
use worker::{
    Worker,
    descriptors::Ledger,
    mailbox::{Command, Inbox},
    shared::Common,
};

pub(crate) use flows::{
    listing::{FlowListing, FlowPlace},
    shares::ShareReport,
};
pub(crate) use ports::{socket_store::Keeper, unheld::Unheld};
pub(crate) use report::ProxyReport;
pub(crate) use settings::ProxySettings;

/// One of its threads hangs, or has much to do: what flows there are nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Silent;

/// The most threads; the proxy is the slow way, and the node has more to do.
const WORKERS: usize = 4;
/// The running proxy; clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Proxy(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    common: Arc<Common>,
    board: Mutex<PortTable>,
    inboxes: Vec<Arc<Inbox>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Proxy {
    /// Starts its threads; they hold nothing yet. Raises the process's limit on descriptors as far as
    /// it may go.
    pub(crate) fn start(settings: ProxySettings) -> io::Result<Self> {
        Self::start_within(settings, Ledger::of_process())
    }

    fn start_within(settings: ProxySettings, ledger: Ledger) -> io::Result<Self> {
        let ledger = Arc::new(ledger);
        let common = Arc::new(Common::new(settings, Arc::clone(&ledger)));
        let count = thread::available_parallelism().map_or(1, |cores| cores.get().min(WORKERS));
        let pipes = Arc::new(AtomicUsize::new(0));
        let inboxes = (0..count).map(|_| Inbox::new(&ledger).map(Arc::new));
        let inboxes: Vec<Arc<Inbox>> = inboxes.collect::<Result<_, _>>()?;
        common.shares.tell(inboxes.clone());
        let mut threads = Vec::new();
        for (index, inbox) in inboxes.iter().enumerate() {
            let (place, pipes) = ((index, count), Arc::clone(&pipes));
            let worker = Worker::new(place, Arc::clone(&common), Arc::clone(inbox), pipes)?;
            let thread = thread::Builder::new().name(format!("proxy-{index}"));
            threads.push(thread.spawn(move || worker.run())?);
        }
        Ok(Self(Arc::new(Shared {
            board: Mutex::new(PortTable::new(Arc::clone(&common), inboxes.clone())),
            common,
            inboxes,
            threads: Mutex::new(threads),
        })))
    }

    /// Takes over the sockets that an earlier agent has left with a keeper, by their names. He is given
    /// each that is held from now on; those that have no service when services are applied are closed.
    /// To be called before anything is held.
    pub(crate) fn inherit(&self, keeper: Option<Arc<dyn Keeper>>, sockets: Vec<(String, OwnedFd)>) {
        self.board().inherit(keeper, sockets);
    }

    /// Binds a number's sockets now, all or none; what is held stays held. It is held until its
    /// service has ended or, while it has none, until it is let go.
    pub(crate) fn hold(&self, protocols: Protocols, port: u16) -> Result<(), (Protocol, Unheld)> {
        let held = self.board().hold(protocols, port);
        held.map_err(|((protocol, _), why)| (protocol, why))
    }

    /// Closes a number's sockets, but for those that a service has.
    pub(crate) fn let_go(&self, protocols: Protocols, port: u16) {
        self.board().let_go(protocols, port);
    }

    /// Serves exactly these services. What cannot be bound is remembered.
    pub(crate) fn apply(&self, services: Vec<Arc<Service>>, all_down: AllDown) {
        self.board().apply(services, all_down);
    }

    /// Serves these services as they are now, by id; `None` = ended.
    pub(crate) fn change(&self, changes: Vec<(String, Option<Arc<Service>>)>) {
        self.board().change(changes);
    }

    /// Ends the TLS of a port's connections with this from now on; without it a port that is to end
    /// TLS resets them.
    pub(crate) fn set_tls(&self, port: u16, config: Option<Arc<rustls::ServerConfig>>) {
        self.board().set_tls(port, config);
    }

    /// How long is waited from now on, and what shares there are; the most flows stay what they are.
    pub(crate) fn set_terms(&self, settings: &ProxySettings) {
        self.0.common.patience.set(settings);
        self.0.common.shares.set(settings);
    }

    /// Tries again what could not be bound; answers what is held now.
    pub(crate) fn retry_unheld(&self) -> Vec<(Protocol, u16)> {
        self.board().retry_unheld()
    }

    /// Numbers of services without their socket.
    pub(crate) fn unheld(&self) -> BTreeMap<(Protocol, u16), Unheld> {
        self.board().unheld.clone()
    }

    /// What each served (protocol, port) carries, or those of these alone.
    pub(crate) fn frontends(&self, which: Option<&[(Protocol, u16)]>) -> Vec<FrontendReport> {
        let board = self.board();
        let frontends = board.served(which).into_iter();
        frontends.map(report::frontend).collect()
    }

    /// What the backends of each carry.
    pub(crate) fn backends(&self, which: Option<&[(Protocol, u16)]>) -> Vec<BackendReport> {
        let board = self.board();
        let frontends = board.served(which).into_iter();
        frontends.flat_map(report::backends).collect()
    }

    /// Those alone that new flows avoid.
    pub(crate) fn ejected(&self, which: Option<&[(Protocol, u16)]>) -> Vec<BackendReport> {
        let board = self.board();
        let frontends = board.served(which).into_iter();
        let all = frontends.flat_map(report::backends);
        all.filter(|report| report.is_ejected).collect()
    }

    /// Begins to list the flows that the filter means.
    pub(crate) fn flows(&self, filter: FlowFilter) -> FlowListing {
        FlowListing::new(self.clone(), filter)
    }

    /// How many flows the filter means.
    pub(crate) fn count_flows(&self, filter: &FlowFilter) -> Result<u64, Silent> {
        let order = |answer| Command::Count(filter.clone(), answer);
        Ok(self.ask(order)?.into_iter().sum())
    }

    /// Ends the flows that the filter means; how many those were.
    pub(crate) fn end_flows(&self, filter: &FlowFilter) -> Result<u64, Silent> {
        let order = |answer| Command::End(filter.clone(), answer);
        Ok(self.ask(order)?.into_iter().sum())
    }

    /// What flows have met since this was asked last.
    pub(crate) fn evidence(&self) -> Vec<Evidence> {
        self.0.common.take_evidence()
    }

    /// Has new flows avoid a backend for this reason while another can take them, or no longer.
    pub(crate) fn eject(&self, suspect: &Suspect, doubt: Option<Doubt>) {
        self.board().eject(suspect, doubt);
    }

    /// What would become of this packet, which is for this host or not.
    pub(crate) fn explain(&self, question: &Question, is_here: bool) -> Finding {
        explain::explain(self, question, is_here)
    }

    /// How full a port's share of descriptors is.
    pub(crate) fn share_of(&self, protocol: Protocol, port: u16) -> Filled {
        self.0.common.shares.of_port((protocol, port))
    }

    /// The proxy's own state.
    pub(crate) fn report(&self) -> ProxyReport {
        report::proxy(&self.board(), &self.0.common, &self.0.inboxes)
    }

    /// Ends all flows, closes all sockets and waits for its threads.
    pub(crate) fn stop(&self) {
        self.0.stop();
    }

    fn board(&self) -> MutexGuard<'_, PortTable> {
        self.0.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks every worker: what some of them say is not what all of them have.
    fn ask<T>(
        &self,
        order: impl Fn(std::sync::mpsc::SyncSender<T>) -> Command,
    ) -> Result<Vec<T>, Silent> {
        let inboxes = &self.0.inboxes;
        let (answer, answers) = sync_channel(inboxes.len());
        for inbox in inboxes {
            inbox.put([order(answer.clone())]);
        }
        drop(answer);
        let answers = inboxes.iter().map(|_| answers.recv_timeout(ANSWER));
        answers.map(|answer| answer.map_err(|_| Silent)).collect()
    }
}

impl Shared {
    fn stop(&self) {
        for inbox in &self.inboxes {
            inbox.put([Command::Stop]);
        }
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the proxy has died");
            }
        }
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        board.clear();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests;
