//! Settings of a shared registry, and moving a node's records into one.

use std::path::{Path, PathBuf};

use super::{
    addresses,
    error::{AgentError, Tried as _},
};
use crate::{
    config::{Config, RegistryConfig},
    model::{RedisUrl, Secret, Service},
    registry::{self, EmbeddedRegistry, Password, RedisSettings, Registry, Target},
};

/// What the engine needs to know, with the secret's file read.
pub(crate) fn settings(config: &Config, url: RedisUrl) -> Result<RedisSettings, AgentError> {
    Ok(RedisSettings {
        target: target(&config.registry, url)?,
        journal: journal(config),
        cluster: config.registry.cluster.clone(),
        node: config.node.clone(),
        rule: addresses::backend_rule(config),
        sync: config.pool.sync.as_ref().map(|sync| sync.listen),
    })
}

/// The journal's file: of this cluster, whatever its address, so that a core that moved gets its
/// ports back.
pub(super) fn journal(config: &Config) -> PathBuf {
    let cluster = &config.registry.cluster;
    config.paths.state.join(format!("journal-{cluster}.redb"))
}

/// Takes the ports of this node's own registry along into a shared one that it joins for the first
/// time: as the journal of a registry that has lost them, so that the engine puts them back. The
/// file is set aside.
pub(crate) async fn bring_along(config: &Config) -> Result<(), AgentError> {
    let (file, journal) = (config.paths.state.join("harbor.redb"), journal(config));
    if journal.exists() || !file.exists() {
        return Ok(());
    }
    let own = EmbeddedRegistry::open(&file)?.load().await?.services;
    if own.is_empty() {
        return Ok(());
    }
    let node = || config.node.clone();
    let own = own.into_iter().map(|service| Service {
        node: node(),
        ..service
    });
    let own: Vec<Service> = own.collect();
    registry::write_journal(&journal, &own)?;
    let aside = file.with_extension("attached");
    std::fs::rename(&file, &aside).tried(|| format!("cannot set {} aside", file.display()))?;
    tracing::info!(
        ports = own.len(),
        "the ports of {} go along",
        aside.display()
    );
    Ok(())
}

/// How a server at `url` is spoken to.
pub(super) fn target(config: &RegistryConfig, url: RedisUrl) -> Result<Target, AgentError> {
    let read =
        |path: &Path| std::fs::read(path).tried(|| format!("cannot read {}", path.display()));
    let secret = |bytes: Vec<u8>| Secret::from_file(&String::from_utf8_lossy(&bytes));
    let password = |path: &Path| -> Result<Password, AgentError> {
        let (first, path) = (secret(read(path)?), path.to_owned());
        let again = move || std::fs::read(&path).ok().map(secret);
        Ok(Password::new(first, again))
    };
    let password = config.password_file.as_deref().map(password).transpose()?;
    Ok(Target {
        url,
        password,
        authorities: config.ca_file.as_deref().map(read).transpose()?,
        timeout: config.timeout,
    })
}
