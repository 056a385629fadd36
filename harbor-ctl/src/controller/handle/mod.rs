//! The agent's answer to every operation: changes go to the one controller, one after the other; reads
//! work on a copy.
//!
//! A change runs in a task of its own, so a client that hangs up cannot stop it half way.

mod cluster;
mod datapath;
mod files;
mod gateway;
mod items;
mod listeners;
mod metrics;
mod pools;
mod reading;
mod summary;
mod trace;

use std::{collections::BTreeSet, sync::Arc};

use tokio::sync::{Mutex, OwnedMutexGuard};

use super::{
    Controller, addresses::host_addresses, certificates::Certificates, error::AgentError,
    flow_filter::flow_filter, share_state::Readiness,
};
use reading::{loads, port_items};

use crate::{
    api::{
        AddBackend, AppHostItem, BackendItem, CheckBackends, CheckItem, ConfigChange, CreatePort,
        DeletedPort, ExplainPacket, ExplainReport, FlowQuery, Heard, KillFlows, KilledFlows,
        NameBackend, PortItem, RangeReport, ServiceItem, StatusReport,
    },
    control::{Answer, EventLog, Operations},
    discovery::{Message, Sender},
    forwarding::not_ready,
    http::{asked_by, requester},
    metrics::OneAtATime,
    model::{
        ConfigItem, EventKind, Happening, PortRef, Protocol, Question, Refusal, Seen, Service,
        SettingValues, Subject, counted, now,
    },
    reconcile::Scope,
    registry::Registry,
    views::{Snapshot, backends, explain, flows::FlowList, readiness, status},
};

/// Settings that end flows which they no longer allow.
const LISTS: [&str; 2] = ["allowed_cidrs", "denied_cidrs"];

/// A handle to the controller, to the events that it tells, and to who scrapes it.
#[derive(Debug)]
pub(crate) struct Handle<R> {
    controller: Arc<Mutex<Controller<R>>>,
    events: EventLog,
    scrapes: OneAtATime,
    /// Whose turn it is with the file of the configuration: what is read is in force before another reads.
    config_turn: Arc<Mutex<()>>,
    certificates: Certificates,
    readiness: Readiness,
}

impl<R> Clone for Handle<R> {
    fn clone(&self) -> Self {
        Self {
            controller: Arc::clone(&self.controller),
            events: self.events.clone(),
            scrapes: self.scrapes.clone(),
            config_turn: Arc::clone(&self.config_turn),
            certificates: self.certificates.clone(),
            readiness: self.readiness.clone(),
        }
    }
}

impl<R: Registry> Handle<R> {
    pub(crate) fn new(controller: Controller<R>) -> Self {
        Self {
            events: controller.told.log.clone(),
            certificates: controller.certificates.clone(),
            readiness: controller.shares.readiness.clone(),
            controller: Arc::new(Mutex::new(controller)),
            scrapes: OneAtATime::default(),
            config_turn: Arc::default(),
        }
    }

    pub(crate) fn scrapes(&self) -> &OneAtATime {
        &self.scrapes
    }

    pub(super) async fn lock(&self) -> OwnedMutexGuard<Controller<R>> {
        Arc::clone(&self.controller).lock_owned().await
    }

    pub(super) async fn snapshot(&self) -> Snapshot {
        self.lock().await.snapshot()
    }

    pub(crate) async fn headline(&self) -> String {
        let controller = self.lock().await;
        status::headline(controller.services.len(), &controller.engines)
    }

    /// Waits for the flows that a change ends, while others change what they like.
    async fn settled(&self) {
        let engines = self.lock().await.engines.clone();
        engines.settled().await;
    }

    /// Ends the engines; what is in the kernel stays.
    pub(crate) async fn stop_forwarding(&self) {
        let engines = self.lock().await.engines.clone();
        engines.stop().await;
    }

    /// Tells that the agent ends, and why.
    pub(crate) fn tell_end(&self, why: &Result<&str, AgentError>) {
        let text = match why {
            Ok(signal) => format!("the agent stops, by {signal}; the datapath stays"),
            Err(error) => format!("the agent stops: {error}; the datapath stays"),
        };
        let happening = Happening::new(EventKind::AgentStopped, Subject::default(), text);
        self.events.tell(happening);
    }

    /// Runs a change to its end, whatever becomes of the one who asked.
    pub(super) async fn change<T: Send + 'static, F>(
        &self,
        change: impl FnOnce(OwnedMutexGuard<Controller<R>>) -> F + Send + 'static,
    ) -> Answer<T>
    where
        F: Future<Output = Answer<T>> + Send + 'static,
    {
        let handle = self.clone();
        let work = async move {
            let controller = handle.lock().await;
            let asked = handle.certificates.asked();
            let done = change(controller).await;
            // Whoever is told that a port ends TLS finds that it does.
            if handle.certificates.asked() != asked {
                handle.keep_certificates().await;
            }
            done
        };
        self.to_its_end(work).await
    }

    /// As whoever asks, and without him.
    async fn to_its_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Answer<T>> + Send + 'static,
    ) -> Answer<T> {
        let task = tokio::spawn(asked_by(requester(), work));
        task.await
            .unwrap_or_else(|error| Err(Refusal::failed(error.to_string())))
    }
}

impl<R: Registry> Operations for Handle<R> {
    type Flows = FlowList;

    async fn services(&self) -> Answer<Vec<ServiceItem>> {
        Ok(self
            .snapshot()
            .await
            .services
            .iter()
            .map(|service| backends::service_item(service))
            .collect())
    }

    async fn ports(&self) -> Answer<Vec<PortItem>> {
        Ok(port_items(&self.snapshot().await).await)
    }

    async fn unlisted(&self) -> Option<String> {
        let (text, fix) = self.lock().await.nameless()?;
        Some(format!("{text}; {fix}"))
    }

    async fn port(&self, port: PortRef) -> Answer<PortItem> {
        let id = self.lock().await.find(&port)?.id.clone();
        self.item(&id).await
    }

    async fn create_port(&self, request: CreatePort) -> Answer<PortItem> {
        self.read_named(&request.settings).await;
        let id = self
            .change(|mut controller| async move { controller.create_port(request).await })
            .await?;
        self.item(&id).await
    }

    async fn set_port(
        &self,
        port: PortRef,
        settings: SettingValues,
        seen: Seen,
    ) -> Answer<PortItem> {
        self.read_named(&settings).await;
        let ends_flows = LISTS.iter().any(|key| settings.contains_key(*key));
        let change = |mut controller: OwnedMutexGuard<Controller<R>>| async move {
            controller.set_port(&port, settings, &seen).await
        };
        let id = self.change(change).await?;
        if ends_flows {
            self.settled().await;
        }
        self.item(&id).await
    }

    async fn drain_port(&self, port: PortRef, draining: bool) -> Answer<PortItem> {
        let change = move |mut controller: OwnedMutexGuard<Controller<R>>| async move {
            controller.drain_port(&port, draining).await
        };
        let id = self.change(change).await?;
        self.item(&id).await
    }

    async fn delete_port(&self, port: PortRef) -> Answer<DeletedPort> {
        self.change(|mut controller| async move { controller.delete_port(&port).await })
            .await
    }

    async fn range(&self) -> Answer<RangeReport> {
        Ok(self.snapshot().await.range_report())
    }

    async fn backends(&self, port: Option<PortRef>) -> Answer<Vec<BackendItem>> {
        let snapshot = match &port {
            Some(port) => {
                let id = self.lock().await.find(port)?.id.clone();
                self.of_service(&id).await?.0
            }
            None => self.snapshot().await,
        };
        let scope = match (&port, snapshot.services.first()) {
            (Some(_), Some(service)) => Scope::of(service),
            _ => Scope::Whole,
        };
        let mut wanted: Vec<&Arc<Service>> = snapshot.services.iter().collect();
        wanted.sort_by_key(|s| (s.port, s.protocols.each(), s.id.clone()));
        let (loads, time) = (loads(&snapshot.engines, scope).await, now());
        let mut items = Vec::new();
        for service in wanted {
            let elsewhere = snapshot.elsewhere(service);
            let elsewhere = elsewhere.as_deref();
            let item =
                |backend| backends::backend_item((service, backend), &loads, elsewhere, time);
            items.extend(service.backends.iter().map(item));
        }
        Ok(items)
    }

    async fn add_backend(&self, request: AddBackend) -> Answer<BackendItem> {
        let done = self
            .change(|mut controller| async move { controller.add_backend(request).await })
            .await?;
        self.backend_item(done).await
    }

    async fn remove_backend(&self, request: NameBackend) -> Answer<BackendItem> {
        let change = |mut controller: OwnedMutexGuard<Controller<R>>| async move {
            controller.remove_backend(request).await
        };
        let (service, backend) = self.change(change).await?;
        // The service as it is after the change: without this backend unless it drains.
        let is_gone = !service.backends.contains(&backend);
        let mut item = self.backend_item((service, backend)).await?;
        if is_gone {
            item.state = "gone".to_owned();
            item.leaves_in_s = None;
        }
        Ok(item)
    }

    async fn drain_backend(&self, request: NameBackend) -> Answer<BackendItem> {
        let done = self
            .change(|mut controller| async move { controller.drain_backend(request).await })
            .await?;
        self.backend_item(done).await
    }

    async fn check_backends(&self, request: CheckBackends) -> Answer<Vec<CheckItem>> {
        self.check(request).await
    }

    async fn flows(&self, which: FlowQuery) -> Answer<FlowList> {
        let snapshot = self.snapshot().await;
        snapshot.unless_elsewhere(which.port.as_deref())?;
        let filter = flow_filter(&KillFlows::all_of(&which), &snapshot.services)?;
        Ok(FlowList::new(&snapshot, &filter, which.limit))
    }

    async fn count_flows(&self, which: FlowQuery) -> Answer<u64> {
        let snapshot = self.snapshot().await;
        snapshot.unless_elsewhere(which.port.as_deref())?;
        let filter = flow_filter(&KillFlows::all_of(&which), &snapshot.services)?;
        let counted = snapshot.engines.count_flows(filter).await;
        counted.map_err(not_ready)
    }

    async fn hear(&self, message: Message, sender: Sender) -> Answer<Heard> {
        self.change(|mut controller| async move { controller.hear(message, sender).await })
            .await
    }

    async fn forget_app_host(&self, dea: String) -> Answer<()> {
        self.change(|mut controller| async move { controller.forget_app_host(&dea).await })
            .await
    }

    async fn app_hosts(&self) -> Answer<Vec<AppHostItem>> {
        self.lock().await.app_hosts().await
    }

    async fn kill_flows(&self, request: KillFlows) -> Answer<KilledFlows> {
        let snapshot = self.snapshot().await;
        snapshot.unless_elsewhere(request.port.as_deref())?;
        let filter = flow_filter(&request, &snapshot.services)?;
        let ended = snapshot.engines.end_flows(filter).await;
        let flows = ended.map_err(not_ready)?;
        tracing::info!(flows, ?request, "flows ended");
        let text = format!("{} ended: {}", counted(flows, "flow"), request.described());
        let subject = Subject {
            name: request.port,
            address: request.backend,
            ..Subject::default()
        };
        self.events
            .tell(Happening::new(EventKind::FlowsEnded, subject, text));
        Ok(KilledFlows { flows })
    }

    async fn explain(&self, packet: ExplainPacket) -> Answer<ExplainReport> {
        let protocol = packet.proto.unwrap_or(Protocol::Tcp);
        let question = Question::read(&packet.src, &packet.dst, protocol, packet.flags)?;
        let snapshot = self.snapshot().await;
        let own = host_addresses().into_iter().map(|(_, ip)| ip).collect();
        let asked = snapshot.engines.explain(question.clone(), &own).await;
        let found = asked.map_err(not_ready)?;
        // Of one port: all backends' counters take a hundred MiB where there are many.
        let service = explain::service_of(&question, &found, &snapshot);
        let scope = service.map_or_else(|| Scope::Part(BTreeSet::new()), Scope::of);
        let loads = loads(&snapshot.engines, scope).await;
        Ok(explain::report(&question, &found, (&snapshot, &loads)))
    }

    async fn config(&self) -> Answer<Vec<ConfigItem>> {
        self.config_items().await
    }

    async fn set_config(
        &self,
        key: String,
        value: String,
        seen: Option<String>,
    ) -> Answer<ConfigChange> {
        self.write_config(key, Some(value), seen).await
    }

    async fn unset_config(&self, key: String) -> Answer<ConfigChange> {
        self.write_config(key, None, None).await
    }

    fn events(&self) -> EventLog {
        self.events.clone()
    }

    async fn status(&self) -> Answer<StatusReport> {
        let snapshot = self.snapshot().await;
        let mut ports = port_items(&snapshot).await;
        ports.sort_by_key(|p| p.port);
        let report = snapshot.engines.report().await;
        Ok(snapshot.status(&ports, report.map_err(|error| error.to_string())))
    }

    async fn not_ready(&self) -> Option<String> {
        readiness::not_ready(&self.snapshot().await)
    }
}
