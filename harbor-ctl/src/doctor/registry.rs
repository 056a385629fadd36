//! The registry: this node's own file, or a Redis that answers and lets this node in.

use std::{fs, io, path::Path};

use super::{finding::Finding, patient::Patient};
use crate::{
    config::RegistryConfig,
    model::{RedisUrl, RegistryUrl, Secret},
    registry::{self, Password, Target},
};

pub(super) fn registry(patient: &Patient) -> Vec<Finding> {
    let Some(config) = patient.config() else {
        return vec![Finding::skipped("the configuration does not say which")];
    };
    if let RegistryUrl::Embedded = config.registry.url {
        return vec![own(&config.paths.state.join("harbor.redb"))];
    }
    let fix = "redis-cli -u URL ping; registry.url, registry.password_file, registry.ca_file";
    match &patient.redis {
        Some(Ok(text)) => vec![Finding::ok(text.clone())],
        Some(Err(text)) => vec![Finding::fault(text.clone()).fix(fix)],
        None => vec![Finding::skipped("it was not asked")],
    }
}

/// The file is an agent's while one runs: it is not opened here.
fn own(file: &Path) -> Finding {
    let shown = file.display();
    match fs::metadata(file) {
        Ok(about) if !about.is_file() => Finding::fault(format!("{shown} is no file"))
            .fix("move it away, or put a backup in its place"),
        Ok(about) if about.len() == 0 => Finding::fault(format!("{shown} is empty"))
            .fix("remove it, or put a backup in its place: harbor-ctl state backup makes them"),
        Ok(about) => Finding::ok(format!("{shown}, {} KiB", about.len() >> 10)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Finding::ok(format!("{shown} is made when the agent first starts"))
        }
        Err(error) => Finding::fault(format!("{shown}: {error}")).fix("run this as root"),
    }
}

/// Asks a Redis for what it holds of the cluster; in words.
pub(crate) async fn ask(config: &RegistryConfig, url: RedisUrl) -> Result<String, String> {
    let shown = url.to_string();
    let target = target(config, url)?;
    match registry::probe(target, &config.cluster).await {
        Ok(services) => Ok(format!(
            "{shown} has {} of cluster {}",
            services.len(),
            config.cluster
        )),
        Err(error) => Err(error.to_string()),
    }
}

fn target(config: &RegistryConfig, url: RedisUrl) -> Result<Target, String> {
    let read = |path: &Path| fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    let secret = |bytes: Vec<u8>| Secret::from_file(&String::from_utf8_lossy(&bytes));
    let password = config.password_file.as_deref().map(read).transpose()?;
    Ok(Target {
        url,
        password: password.map(|bytes| Password::new(secret(bytes), || None)),
        authorities: config.ca_file.as_deref().map(read).transpose()?,
        timeout: config.timeout,
    })
}
