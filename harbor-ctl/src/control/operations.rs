//! The operations that the server calls; it knows nothing else of the agent.

use std::{future::Future, sync::Arc};

use super::event_log::EventLog;
use crate::{
    api::{
        AddBackend, AddShare, AppHostItem, AttachNode, BackendItem, BackupItem, BindingItem,
        CertificateItem, CheckBackends, CheckItem, ConfigChange, CreatePool, CreatePort,
        DeletedPort, DetachNode, EngineText, ExplainPacket, ExplainReport, FlowItem, FlowQuery,
        Heard, JoinPool, KillFlows, KilledFlows, MoveShare, NameBackend, NodeItem, NodeMoved,
        PoolItem, PortItem, RangeReport, ServiceCount, ServiceItem, ShareReady, StateCheck,
        StateDocument, StatusReport, TracePackets,
    },
    discovery::{Message, Sender},
    metrics,
    model::{
        ConfigItem, PortRef, PortState, Refusal, Seen, Service, SettingValues, Throughput,
        TraceLine, Verification,
    },
};

/// The outcome of a request.
pub(crate) type Answer<T> = Result<T, Refusal>;

/// Every operation of the control API. Changes are durable before they are answered.
pub(crate) trait Operations:
    SharedOperations
    + PoolOperations
    + BindingOperations
    + DatapathOperations
    + SummaryOperations
    + metrics::Source
{
    type Flows: FlowSource;

    fn services(&self) -> impl Future<Output = Answer<Vec<ServiceItem>>> + Send;
    fn ports(&self) -> impl Future<Output = Answer<Vec<PortItem>>> + Send;
    /// Ports that are served and that no list can name, and what to do about them.
    fn unlisted(&self) -> impl Future<Output = Option<String>> + Send;
    fn port(&self, port: PortRef) -> impl Future<Output = Answer<PortItem>> + Send;
    fn create_port(&self, request: CreatePort) -> impl Future<Output = Answer<PortItem>> + Send;
    /// Refused where a value that is changed is no more the one that was seen.
    fn set_port(
        &self,
        port: PortRef,
        settings: SettingValues,
        seen: Seen,
    ) -> impl Future<Output = Answer<PortItem>> + Send;
    fn drain_port(
        &self,
        port: PortRef,
        draining: bool,
    ) -> impl Future<Output = Answer<PortItem>> + Send;
    fn delete_port(&self, port: PortRef) -> impl Future<Output = Answer<DeletedPort>> + Send;
    fn range(&self) -> impl Future<Output = Answer<RangeReport>> + Send;

    /// Of one port, or of all.
    fn backends(
        &self,
        port: Option<PortRef>,
    ) -> impl Future<Output = Answer<Vec<BackendItem>>> + Send;
    fn add_backend(&self, request: AddBackend) -> impl Future<Output = Answer<BackendItem>> + Send;
    fn remove_backend(
        &self,
        request: NameBackend,
    ) -> impl Future<Output = Answer<BackendItem>> + Send;
    fn drain_backend(
        &self,
        request: NameBackend,
    ) -> impl Future<Output = Answer<BackendItem>> + Send;

    /// Asks every backend of a port whether it is well; changes nothing.
    fn check_backends(
        &self,
        request: CheckBackends,
    ) -> impl Future<Output = Answer<Vec<CheckItem>>> + Send;

    /// Begins to read those that are asked for.
    fn flows(&self, which: FlowQuery) -> impl Future<Output = Answer<Self::Flows>> + Send;
    fn count_flows(&self, which: FlowQuery) -> impl Future<Output = Answer<u64>> + Send;

    /// What an app host says.
    fn hear(&self, message: Message, sender: Sender) -> impl Future<Output = Answer<Heard>> + Send;
    /// Forgets how far an app host has spoken.
    fn forget_app_host(&self, dea: String) -> impl Future<Output = Answer<()>> + Send;
    fn app_hosts(&self) -> impl Future<Output = Answer<Vec<AppHostItem>>> + Send;

    fn kill_flows(&self, request: KillFlows) -> impl Future<Output = Answer<KilledFlows>> + Send;

    /// What would become of a packet.
    fn explain(&self, packet: ExplainPacket) -> impl Future<Output = Answer<ExplainReport>> + Send;

    fn config(&self) -> impl Future<Output = Answer<Vec<ConfigItem>>> + Send;
    /// Refused where the value is no more the one that was seen.
    fn set_config(
        &self,
        key: String,
        value: String,
        seen: Option<String>,
    ) -> impl Future<Output = Answer<ConfigChange>> + Send;

    /// Takes a value out of the file.
    fn unset_config(&self, key: String) -> impl Future<Output = Answer<ConfigChange>> + Send;
    /// What happens.
    fn events(&self) -> EventLog;

    fn status(&self) -> impl Future<Output = Answer<StatusReport>> + Send;
    /// Why this node is not ready, if it is not: ports are not served as they should be, or no change is taken.
    fn not_ready(&self) -> impl Future<Output = Option<String>> + Send;
}

/// What pages show of many things: read at a cost that does not depend on how many there are, or once
/// for all who look.
pub(crate) trait SummaryOperations {
    /// Every port, with what a list of them shows alone.
    fn port_rows(&self) -> impl Future<Output = Answer<Vec<PortRow>>> + Send;
    /// What this node's ports carry, as of the last look at the counters, a second ago at most.
    fn traffic(&self) -> impl Future<Output = Traffic> + Send;
    /// Backends about which this is said somewhere, `most` of them; all are meant by no text.
    fn find_backends(
        &self,
        text: String,
        most: usize,
    ) -> impl Future<Output = Answer<FoundBackends>> + Send;
}

/// A port among many.
#[derive(Clone, Debug)]
pub(crate) struct PortRow {
    pub(crate) service: Arc<Service>,
    pub(crate) state: PortState,
    pub(crate) reason: Option<String>,
    pub(crate) path: String,
    /// Backends that are up; unknown of a port that another node serves.
    pub(crate) up: Option<usize>,
    pub(crate) flows: Option<u64>,
    pub(crate) rate_bps: Option<u64>,
    pub(crate) certificate: Option<Box<CertificateItem>>,
}

/// What ports carry.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traffic {
    /// The engines do not answer.
    pub(crate) is_unknown: bool,
    pub(crate) all: Throughput,
    /// By the service's id, those alone that carry something.
    pub(crate) ports: Vec<(String, Throughput)>,
}

/// The first of the backends that were looked for.
#[derive(Clone, Debug)]
pub(crate) struct FoundBackends {
    pub(crate) items: Vec<BackendItem>,
    /// How many were found, and how many there are.
    pub(crate) found: usize,
    pub(crate) all: usize,
}

/// What is in the kernel.
pub(crate) trait DatapathOperations {
    /// Compares the kernel's tables with what was written there; `repair` writes what differs anew.
    fn verify(&self, repair: bool) -> impl Future<Output = Answer<Verification>> + Send;

    type Packets: PacketSource;
    /// Has the programs tell of packets until what is answered is dropped.
    fn trace(&self, request: TracePackets) -> impl Future<Output = Answer<Self::Packets>> + Send;
}

/// Packets as the programs tell of them.
pub(crate) trait PacketSource: Send + 'static {
    /// The next ones; `None` when no more can come.
    fn next(&mut self) -> impl Future<Output = Option<Vec<TraceLine>>> + Send;
}

/// Flows that are read while they are sent: dropped, it reads no more.
pub(crate) trait FlowSource: Send + 'static {
    /// Where the next few thousand begin, in words without spaces; `None` at the end.
    fn place(&self) -> Option<String>;

    /// Goes on at such a place; whether it is one.
    fn go_to(&mut self, place: &str) -> bool;

    /// The next few thousand; `None` at the end. Those of one answer are in the order of port, protocol,
    /// client and source.
    fn next(&mut self) -> impl Future<Output = Answer<Option<Vec<FlowItem>>>> + Send;
}

/// What platforms were promised.
pub(crate) trait BindingOperations {
    fn bindings(&self) -> impl Future<Output = Answer<Vec<BindingItem>>> + Send;
    fn binding(&self, id: String) -> impl Future<Output = Answer<BindingItem>> + Send;
}

/// Pools, and the shares of addresses that move between their nodes.
pub(crate) trait PoolOperations {
    fn pools(&self) -> impl Future<Output = Answer<Vec<PoolItem>>> + Send;
    fn pool(&self, name: String) -> impl Future<Output = Answer<PoolItem>> + Send;
    fn create_pool(&self, request: CreatePool) -> impl Future<Output = Answer<PoolItem>> + Send;
    fn delete_pool(&self, name: String) -> impl Future<Output = Answer<PoolItem>> + Send;
    fn join_pool(
        &self,
        name: String,
        request: JoinPool,
    ) -> impl Future<Output = Answer<PoolItem>> + Send;
    fn leave_pool(
        &self,
        name: String,
        request: JoinPool,
    ) -> impl Future<Output = Answer<PoolItem>> + Send;
    fn add_share(
        &self,
        name: String,
        request: AddShare,
    ) -> impl Future<Output = Answer<PoolItem>> + Send;
    fn remove_share(
        &self,
        name: String,
        id: String,
    ) -> impl Future<Output = Answer<PoolItem>> + Send;
    fn move_share(
        &self,
        id: String,
        request: MoveShare,
    ) -> impl Future<Output = Answer<PoolItem>> + Send;
    /// Whether this node may have a share now.
    fn ready_share(&self, id: String) -> impl Future<Output = Answer<ShareReady>> + Send;
    /// A configuration for what moves addresses.
    fn engine_of_pool(
        &self,
        name: String,
        engine: String,
    ) -> impl Future<Output = Answer<EngineText>> + Send;
}

/// Operations on nodes that share a registry, and on the state as a whole.
pub(crate) trait SharedOperations: Clone + Send + Sync + 'static {
    /// Every node that shares the registry; this one alone when none does.
    fn nodes(&self) -> impl Future<Output = Answer<Vec<NodeItem>>> + Send;
    fn node(&self, id: String) -> impl Future<Output = Answer<NodeItem>> + Send;
    fn drain_node(
        &self,
        id: String,
        draining: bool,
    ) -> impl Future<Output = Answer<NodeItem>> + Send;
    /// Releases the ports of a node that is away for good, and forgets it.
    fn forget_node(&self, id: String) -> impl Future<Output = Answer<ServiceCount>> + Send;
    fn attach(&self, request: AttachNode) -> impl Future<Output = Answer<NodeMoved>> + Send;
    fn detach(&self, request: DetachNode) -> impl Future<Output = Answer<NodeMoved>> + Send;

    fn export_state(&self) -> impl Future<Output = Answer<StateDocument>> + Send;
    /// All of it, or nothing.
    fn import_state(
        &self,
        document: StateDocument,
    ) -> impl Future<Output = Answer<ServiceCount>> + Send;
    /// Compares registry, journal and kernel.
    fn check_state(&self) -> impl Future<Output = Answer<StateCheck>> + Send;
    fn backup_state(&self) -> impl Future<Output = Answer<BackupItem>> + Send;
    /// Removes what the registry does not have any more.
    fn confirm_state(&self) -> impl Future<Output = Answer<ServiceCount>> + Send;
}
