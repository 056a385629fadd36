//! Nodes that share a registry: who they are, and how this one joins and leaves.
//!
//! Attaching and detaching write the configuration; the agent that runs stays with the registry
//! that it was started with until it is restarted.

use std::{
    collections::BTreeSet,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Controller, background::in_background, emptied, error::refused, shared_registry};
use crate::{
    api::{AttachNode, DetachNode, NodeItem, NodeMoved, ServiceCount},
    config::{self, Key, Loaded, RegistryConfig, Source},
    model::{NodeRecord, RedisUrl, Refusal, RefusalKind, Service, core_url, counted},
    registry::{self, EmbeddedRegistry, Registry, RegistryError},
};

impl<R: Registry> Controller<R> {
    pub(super) async fn nodes(&self) -> Result<Vec<NodeItem>, Refusal> {
        let mut records = self
            .registry
            .nodes()
            .await
            .map_err(|error| refused(&error))?;
        if !R::IS_SHARED {
            records.push(NodeRecord {
                id: self.running.config.node.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                seen_ms_ago: Some(0),
                addresses: Vec::new(),
                sync: None,
                drained: false,
            });
        }
        Ok(records
            .into_iter()
            .map(|record| self.node_item(record))
            .collect())
    }

    pub(super) async fn node_named(&self, id: &str) -> Result<NodeItem, Refusal> {
        let found = self.nodes().await?.into_iter().find(|node| node.id == id);
        found.ok_or_else(|| no_node(id))
    }

    fn node_item(&self, record: NodeRecord) -> NodeItem {
        let is_its =
            |service: &&Arc<Service>| !R::IS_SHARED || service.is_of(&record.id, &self.pools);
        NodeItem {
            state: record.state().to_owned(),
            this: record.id == self.running.config.node,
            ports: self.services.iter().filter(is_its).count(),
            seen_ms_ago: record.seen_ms_ago,
            version: record.version,
            id: record.id,
        }
    }

    pub(super) async fn drain_node(
        &mut self,
        id: &str,
        draining: bool,
    ) -> Result<NodeItem, Refusal> {
        self.must_share()?;
        let done = self.registry.drain_node(id, draining).await;
        match done.map_err(|error| refused(&error))? {
            true => self.node_named(id).await,
            false => Err(no_node(id)),
        }
    }

    /// Releases what a lost node served, and forgets it. One that lives is left alone.
    pub(super) async fn forget_node(&mut self, id: &str) -> Result<ServiceCount, Refusal> {
        self.must_share()?;
        let node = self.node_named(id).await?;
        if node.state != "away" {
            let text = format!(
                "node {id} is {}: only one that is away is forgotten",
                node.state
            );
            return Err(Refusal::new(RefusalKind::Conflict, text)
                .fix("on that node: harbor-ctl node detach"));
        }
        // What other nodes of a pool serve stays.
        let is_alone = |service: &&Arc<Service>| {
            let pool = self.pools.get(&service.pool);
            pool.is_none_or(|pool| pool.members().iter().all(|member| *member == id))
        };
        let lost = self
            .services
            .iter()
            .filter(|service| service.is_of(id, &self.pools));
        let lost = lost.filter(is_alone);
        let lost: Vec<String> = lost.map(|service| service.id.clone()).collect();
        let rest = self.running.config.rest;
        for service in &lost {
            let released = self.registry.release(service, rest).await;
            released.map_err(|error| refused(&error))?;
            self.forget(service);
        }
        let forgotten = self.registry.forget_node(id).await;
        forgotten.map_err(|error| refused(&error))?;
        tracing::info!(id, ports = lost.len(), "node forgotten");
        Ok(ServiceCount {
            services: lost.len(),
            missing: Vec::new(),
        })
    }

    fn must_share(&self) -> Result<(), Refusal> {
        match R::IS_SHARED {
            true => Ok(()),
            false => Err(Refusal::new(
                RefusalKind::Conflict,
                "this node shares its registry with nobody",
            )
            .fix("harbor-ctl node attach CORE")),
        }
    }

    /// What this node asks a shared registry before it joins it.
    pub(super) fn join(&self, request: &AttachNode) -> Result<Joining, Refusal> {
        if R::IS_SHARED {
            let text = format!(
                "this node is attached already: {}",
                self.registry.describe()
            );
            return Err(Refusal::new(RefusalKind::Conflict, text).fix("harbor-ctl node detach"));
        }
        // What its own registry does not hold would not go along.
        if let Some(emptied) = self.registry.condition().emptied {
            return Err(refused(&RegistryError::Emptied(emptied)));
        }
        let url = core_url(&request.core);
        let parsed: Result<RedisUrl, String> = url.parse();
        let core = parsed.map_err(|text| Refusal::invalid("core", text))?;
        if !self.services.is_empty() && !request.import {
            let text = format!(
                "this node has {} in its own registry",
                counted(self.services.len(), "port")
            );
            return Err(Refusal::new(RefusalKind::Conflict, text)
                .fix("take them along: add --import; or delete them first"));
        }
        let config = &self.running.config;
        Ok(Joining {
            url,
            core,
            registry: config.registry.clone(),
            journal: shared_registry::journal(config),
            source: self.running.source.clone(),
            own: self.services().cloned().collect(),
        })
    }

    /// Uses the configuration that names the shared registry.
    pub(super) async fn joined(&mut self, url: String, written: Loaded) -> NodeMoved {
        let ports = self.services.len();
        let change = self.use_written(written, registry_key()).await;
        NodeMoved {
            url,
            file: change.file,
            ports,
        }
    }

    /// Takes this node out of the shared registry, and writes that into the configuration.
    pub(super) async fn detach(&mut self, request: DetachNode) -> Result<NodeMoved, Refusal> {
        self.must_share()?;
        let mut own = self.served();
        own.retain(|service| self.pools.get(&service.pool).is_none());
        if !own.is_empty() && !request.keep {
            let text = format!(
                "this node serves {} of the shared registry",
                counted(own.len(), "port")
            );
            return Err(Refusal::new(RefusalKind::Conflict, text)
                .fix("take them along: add --keep; or delete them first"));
        }
        if let Some(away) = self.registry.condition().away {
            let text = format!("the registry is away: {}", away.reason);
            return Err(Refusal::new(RefusalKind::NotReady, text).fix("try again when it is back"));
        }
        let alone = own.into_iter().map(|service| Service {
            node: String::new(),
            ..Arc::unwrap_or_clone(service)
        });
        let alone: Vec<Service> = alone.collect();
        let state = &self.running.config.paths.state;
        // That of the time before this node joined: it would be believed, for it has seen more changes.
        gone(&state.join(emptied::JOURNAL))?;
        let path = state.join("harbor.redb");
        let local = EmbeddedRegistry::open(&path).map_err(|error| refused(&error))?;
        local
            .import(&alone)
            .await
            .map_err(|error| refused(&error))?;
        drop(local);
        let url = "embedded".to_owned();
        let change = self.set_config(registry_key(), &url).await?;
        self.registry
            .leave()
            .await
            .map_err(|error| refused(&error))?;
        let _ = std::fs::remove_file(shared_registry::journal(&self.running.config));
        tracing::info!(
            ports = alone.len(),
            "this node has left the shared registry"
        );
        Ok(NodeMoved {
            url,
            file: change.file,
            ports: alone.len(),
        })
    }
}

/// A node that joins a shared registry: it asks that, and writes the configuration, while others change
/// what they like.
pub(super) struct Joining {
    url: String,
    core: RedisUrl,
    registry: RegistryConfig,
    journal: PathBuf,
    source: Source,
    own: Vec<Service>,
}

impl Joining {
    /// Writes the address of the shared registry into the configuration, after it has answered.
    pub(super) async fn write(self) -> Result<(String, Loaded), Refusal> {
        let Self {
            url,
            core,
            registry,
            journal,
            source,
            own,
        } = self;
        let cluster = registry.cluster.clone();
        let target = in_background(move || shared_registry::target(&registry, core)).await?;
        let theirs = registry::probe(target.map_err(Refusal::from)?, &cluster).await;
        let theirs = theirs.map_err(|error| refused(&error))?;
        no_clash(own.iter(), &theirs)?;
        let written = in_background(move || {
            // One of an earlier time would put back what this node has no more. The ports of its own
            // registry are taken along by the next start: until then they may change.
            gone(&journal)?;
            let written = config::set_value(&source, registry_key(), &url);
            written.map(|written| (url, written)).map_err(Refusal::from)
        });
        written.await?
    }
}

/// Removes an old journal, if there is one.
fn gone(journal: &Path) -> Result<(), Refusal> {
    match std::fs::remove_file(journal) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Refusal::failed(format!("the old journal stays: {error}")))
        }
        _ => Ok(()),
    }
}

fn registry_key() -> &'static Key {
    let key = config::find_key("registry.url");
    key.unwrap_or_else(|| unreachable!("it is in the table of keys"))
}

/// Refuses to join with ports that somebody there has already.
fn no_clash<'a>(own: impl Iterator<Item = &'a Service>, theirs: &[Service]) -> Result<(), Refusal> {
    let halves = |service: &Service| -> Vec<_> {
        let port = service.port;
        service
            .protocols
            .each()
            .iter()
            .map(|&protocol| (protocol, port))
            .collect()
    };
    let taken: BTreeSet<_> = theirs.iter().flat_map(halves).collect();
    let names: BTreeSet<&str> = theirs.iter().map(|service| service.name.as_str()).collect();
    let clashes = |service: &&Service| {
        let is_there = theirs.iter().any(|other| other.id == service.id);
        let is_taken = halves(service).iter().any(|half| taken.contains(half));
        !is_there && (is_taken || names.contains(service.name.as_str()))
    };
    let clashing: Vec<String> = own
        .filter(clashes)
        .map(|service| format!("{} ({})", service.port, service.name))
        .collect();
    if clashing.is_empty() {
        return Ok(());
    }
    let text = format!(
        "other nodes have these numbers or names: {}",
        clashing.join(", ")
    );
    let fix = "delete them, or make them anew under other names and numbers";
    Err(Refusal::new(RefusalKind::Conflict, text).fix(fix))
}

fn no_node(id: &str) -> Refusal {
    let shown: String = id.chars().take(64).collect();
    let refusal = Refusal::new(RefusalKind::NotFound, format!("no node {shown:?}"));
    refusal.field("id").fix("harbor-ctl node list")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Protocols, testing::service};

    #[test]
    fn what_somebody_has_already_is_named() {
        let own = [
            service("web", 35_000, Protocols::Tcp),
            service("dns", 35_001, Protocols::Udp),
        ];
        let other = [
            service("x", 35_000, Protocols::Udp),
            service("dns2", 35_001, Protocols::Both),
        ];
        let refusal = no_clash(own.iter(), &other).unwrap_err();
        assert!(refusal.description.contains("35001 (dns)"), "{refusal}");
        assert!(!refusal.description.contains("web"), "{refusal}");
        no_clash(own.iter(), &own).unwrap();
    }
}
