//! Export, import, check, copy and confirmation of the whole state.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Controller, error::refused};
use crate::{
    api::{API_VERSION, BackupItem, RestingItem, ServiceCount, StateCheck, StateDocument},
    forwarding::{KernelEngine, Remains},
    model::{BackendRule, FrontendReport, Protocol, Refusal, RefusalKind, Service, now},
    reconcile::Scope,
    registry::{Registry, check_record},
    views::registry::registry_part,
};

const KIND: &str = "State";

impl<R: Registry> Controller<R> {
    /// Refused while there are ports that it would lack.
    pub(super) fn export_state(&self) -> Result<StateDocument, Refusal> {
        self.unless_nameless()?;
        let rest = |(&(protocol, port), &until): (&(Protocol, u16), &u64)| RestingItem {
            port,
            protocol,
            until,
        };
        let mut services: Vec<Service> = self.services().cloned().collect();
        services.sort_by(|a, b| (a.port, &a.id).cmp(&(b.port, &b.id)));
        Ok(StateDocument {
            api_version: API_VERSION.into(),
            kind: KIND.into(),
            exported_at: now(),
            services,
            pools: self.pools.0.clone(),
            resting: self.resting.iter().map(rest).collect(),
        })
    }

    /// Takes a document in, whole or not at all.
    pub(super) async fn import_state(
        &mut self,
        mut document: StateDocument,
    ) -> Result<ServiceCount, Refusal> {
        // A port of a pool is served by the nodes of its pool, so that comes first.
        let added = self
            .import_pools(std::mem::take(&mut document.pools))
            .await?;
        let imported = self.import_services(document).await;
        if imported.is_err() {
            self.take_pools_out(&added).await;
        }
        imported
    }

    async fn import_services(&mut self, document: StateDocument) -> Result<ServiceCount, Refusal> {
        self.know_nodes_of(&document.services).await?;
        let services = self.checked(document)?;
        let served = self.refuse_hollow(&services)?;
        let imported = self.registry.import(&services).await;
        imported.map_err(|error| refused(&error))?;
        self.follow_decision();
        self.look_again().await?;
        self.apply_change().await;
        tracing::info!(services = services.len(), "state imported");
        Ok(ServiceCount {
            services: services.len(),
            missing: self.still_missing(&served, &services),
        })
    }

    /// Refuses services of nodes that nobody has heard of: nobody would serve them.
    async fn know_nodes_of(&self, services: &[Service]) -> Result<(), Refusal> {
        let records = self.registry.nodes().await;
        let records = records.map_err(|error| refused(&error))?;
        let own = &self.running.config.node;
        let is_known = |service: &&Service| {
            let node = &service.node;
            let is_pooled = self.pools.get(&service.pool).is_some();
            is_pooled
                || node.is_empty()
                || node == own
                || records.iter().any(|record| record.id == *node)
        };
        let Some(stray) = services.iter().find(|service| !is_known(service)) else {
            return Ok(());
        };
        let (name, node) = (stray.name.escape_default(), stray.node.escape_default());
        let text = format!("service {name}: no node {node} shares this registry");
        Err(Refusal::invalid("services", text).fix(match R::IS_SHARED {
            true => {
                "start the agent of that node first, or name another in the document: harbor-ctl node list"
                    .to_owned()
            }
            false => format!(
                "this node keeps its ports for itself: name it in the document (\"node\": {own:?}), or leave \
                 `node` out there; services of other nodes belong into the registry that those share"
            ),
        }))
    }

    /// Every service of a document, as this registry would keep it.
    fn checked(&self, document: StateDocument) -> Result<Vec<Service>, Refusal> {
        if document.kind != KIND || document.api_version != API_VERSION {
            let text = format!("this is no {KIND} of version {API_VERSION}");
            return Err(Refusal::invalid("kind", text).fix("harbor-ctl state export"));
        }
        let rule = self.backend_rule();
        let of_others = BackendRule {
            allowed: rule.allowed.clone(),
            ..BackendRule::default()
        };
        let (mut ids, mut names, mut halves) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut services = Vec::new();
        for mut service in document.services {
            match R::IS_SHARED {
                true if service.node.is_empty() => service.node = self.node(),
                true => {}
                false => service.node = String::new(),
            }
            let rule = if self.serves(&service) {
                &rule
            } else {
                &of_others
            };
            check_record(&service, rule).map_err(|refusal| {
                let text = format!(
                    "service {}: {}",
                    service.name.escape_default(),
                    refusal.description
                );
                Refusal::invalid("services", text)
            })?;
            // Platforms may repeat names; operators may not.
            let is_operators = service.provisioned.is_none();
            let same_name = |known: &Service| known.name == service.name && known.id != service.id;
            let is_other = is_operators && self.services().any(same_name);
            let is_new_name = names.insert(service.name.clone()) || !is_operators;
            let is_new = ids.insert(service.id.clone()) && is_new_name && !is_other;
            let each = service.protocols.each().iter();
            let has_numbers = each
                .map(|&p| (p, service.port))
                .all(|half| halves.insert(half));
            if !is_new || !has_numbers {
                let text = format!(
                    "service {}: its name, id or number is there twice",
                    service.name
                );
                return Err(Refusal::new(RefusalKind::Conflict, text).field("services"));
            }
            services.push(service);
        }
        Ok(services)
    }

    /// What differs between the registry, its journal, what this agent knows, and the kernel.
    pub(super) async fn check_state(&self) -> Result<StateCheck, Refusal> {
        let mut differences = self
            .registry
            .audit()
            .await
            .map_err(|error| refused(&error))?;
        let part = registry_part(&self.registry.describe(), &self.registry.condition());
        if part.state != "ok" {
            differences.push(part.text);
        }
        match &self.engines.kernel {
            KernelEngine::Off(Remains::Stuck(reason)) => differences.push(format!(
                "programs of an earlier agent may still forward: {reason}"
            )),
            KernelEngine::Off(_) => {}
            KernelEngine::Down { reason, .. } => {
                differences.push(format!("the proxy forwards alone: {reason}"))
            }
            KernelEngine::Up(forwarding) => {
                match forwarding.soon(forwarding.frontends(Scope::Whole)).await {
                    Ok(reports) => differences.extend(kernel_differs(&self.served(), &reports)),
                    Err(error) => differences.push(format!("the kernel was not read: {error}")),
                }
            }
        }
        differences.extend(self.not_applied.clone());
        let state = if differences.is_empty() {
            "ok"
        } else {
            "degraded"
        };
        Ok(StateCheck {
            state: state.into(),
            services: self.services.len(),
            differences,
        })
    }

    /// Copies what is on this machine into a file of its own, below the state directory.
    pub(super) async fn backup_state(&self) -> Result<BackupItem, Refusal> {
        self.unless_nameless()?;
        let failed = |error: std::io::Error| Refusal::failed(format!("the backup failed: {error}"));
        let file = backup_file(&self.running.config.paths.state).map_err(failed)?;
        let copied = self.registry.backup(&file).await;
        copied.map_err(|error| refused(&error))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        let bytes = fs::metadata(&file).map_err(failed)?.len();
        tracing::info!(bytes, "backup written: {}", file.display());
        Ok(BackupItem { file, bytes })
    }

    pub(super) async fn confirm_state(&mut self) -> Result<ServiceCount, Refusal> {
        let services = self
            .registry
            .confirm()
            .await
            .map_err(|error| refused(&error))?;
        self.follow_decision();
        match self.registry.current() {
            Some(contents) => self.take_all(contents),
            None => self.look_again().await?,
        }
        self.apply_change().await;
        tracing::info!(services, "missing ports confirmed");
        Ok(ServiceCount {
            services,
            missing: Vec::new(),
        })
    }
}

/// A name that no file has.
fn backup_file(state: &Path) -> std::io::Result<PathBuf> {
    let folder = state.join("backups");
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)?;
    let time = now();
    let names = (0..).map(|n| match n {
        0 => folder.join(format!("harbor-{time}.redb")),
        n => folder.join(format!("harbor-{time}-{n}.redb")),
    });
    let mut free = names.filter(|path| !path.exists());
    free.next()
        .ok_or_else(|| std::io::Error::other("no free name"))
}

fn kernel_differs(served: &[Arc<Service>], reports: &[FrontendReport]) -> Vec<String> {
    let halves = |service: &Service| -> Vec<(Protocol, u16)> {
        service
            .protocols
            .each()
            .iter()
            .filter(|&&p| !service.needs_proxy(p))
            .map(|&p| (p, service.port))
            .collect()
    };
    let wanted: BTreeSet<_> = served.iter().flat_map(|service| halves(service)).collect();
    let found: BTreeSet<_> = reports
        .iter()
        .map(|report| (report.protocol, report.port))
        .collect();
    let lacks = wanted
        .difference(&found)
        .map(|(p, port)| format!("the kernel lacks port {port}/{p}"));
    let more = found
        .difference(&wanted)
        .map(|(p, port)| format!("the kernel has port {port}/{p} more"));
    lacks.chain(more).collect()
}
