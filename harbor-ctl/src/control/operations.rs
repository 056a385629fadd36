//! What can be asked of the agent; the server knows nothing else about it.

use std::future::Future;

use super::wire::{
    AddBackend, AppHostItem, BackendItem, CheckBackends, CheckItem, ConfigChange, CreatePort,
    DeletedPort, ExplainPacket, ExplainReport, FlowItem, Heard, KillFlows, KilledFlows,
    NameBackend, PortItem, RangeReport, ServiceItem, StatusReport,
};
use crate::{
    discovery::Message,
    model::{ConfigItem, PortRef, Refusal, SettingValues},
};

/// The outcome of a request.
pub(crate) type Answer<T> = Result<T, Refusal>;

/// Every operation of the control API. Changes are durable before they are answered.
pub(crate) trait Operations: Clone + Send + Sync + 'static {
    fn services(&self) -> impl Future<Output = Answer<Vec<ServiceItem>>> + Send;
    fn ports(&self) -> impl Future<Output = Answer<Vec<PortItem>>> + Send;
    fn port(&self, port: PortRef) -> impl Future<Output = Answer<PortItem>> + Send;
    fn create_port(&self, request: CreatePort) -> impl Future<Output = Answer<PortItem>> + Send;
    fn set_port(
        &self,
        port: PortRef,
        settings: SettingValues,
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

    /// Of one port, or of all.
    fn flows(&self, port: Option<PortRef>) -> impl Future<Output = Answer<Vec<FlowItem>>> + Send;

    /// What an app host says.
    fn hear(&self, message: Message) -> impl Future<Output = Answer<Heard>> + Send;
    fn app_hosts(&self) -> impl Future<Output = Answer<Vec<AppHostItem>>> + Send;

    fn kill_flows(&self, request: KillFlows) -> impl Future<Output = Answer<KilledFlows>> + Send;

    /// What would become of a packet.
    fn explain(&self, packet: ExplainPacket) -> impl Future<Output = Answer<ExplainReport>> + Send;

    fn config(&self) -> impl Future<Output = Answer<Vec<ConfigItem>>> + Send;
    fn set_config(
        &self,
        key: String,
        value: String,
    ) -> impl Future<Output = Answer<ConfigChange>> + Send;

    fn status(&self) -> impl Future<Output = Answer<StatusReport>> + Send;
    /// Whether ports are served.
    fn is_ready(&self) -> impl Future<Output = bool> + Send;
}
