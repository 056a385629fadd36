//! Certificates of ports that terminate TLS: loaded, and reloaded when their files change.
//!
//! A pair that cannot be used is told and tried again when its files change; what was in force stays
//! in force meanwhile.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use super::{Controller, services::Mark};
use crate::{
    model::{CertificateFiles, Refusal, Service, Tls, now},
    proxy::Proxy,
    registry::Registry,
    telemetry::TARGET_PROXY,
    tls::{self, Identity},
    views::facts::CertificateFacts,
};

/// Of the services of this node that end TLS, by id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Certificates(Arc<Mutex<BTreeMap<String, Held>>>);

/// What is known of one service's certificates.
#[derive(Clone, Debug, Default)]
struct Held {
    port: u16,
    /// The files that were read last, with what they looked like; empty: none were found.
    read: Vec<(CertificateFiles, [Stamp; 2])>,
    shown: CertificateFacts,
}

/// What tells that a file has changed: device, inode, size, and when it was written.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

impl Certificates {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Held>> {
        // Nobody panics while it is held; and a panic ends the agent anyway.
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// By the service's id.
    pub(crate) fn shown(&self) -> BTreeMap<String, CertificateFacts> {
        let each = self.lock();
        let shown = each
            .iter()
            .map(|(id, held)| (id.clone(), held.shown.clone()));
        shown.collect()
    }

    /// Brings the proxy to what these services and their files say. Reads files: it may block.
    fn follow(&self, services: Vec<Wanted>, folder: &Path, proxy: &Proxy) {
        let mut known = self.lock();
        let mut gone = std::mem::take(&mut *known);
        for wanted in services {
            let mut held = gone.remove(&wanted.id).unwrap_or_default();
            held.port = wanted.port;
            held.follow(&wanted, folder, proxy);
            known.insert(wanted.id, held);
        }
        for held in gone.into_values() {
            proxy.set_tls(held.port, None);
        }
    }
}

/// A service that ends TLS.
struct Wanted {
    id: String,
    name: String,
    port: u16,
    tls: Tls,
}

impl Wanted {
    fn of(service: &Service) -> Self {
        Self {
            id: service.id.clone(),
            name: service.name.clone(),
            port: service.port,
            tls: service.settings.tls.clone(),
        }
    }
}

impl Held {
    fn follow(&mut self, wanted: &Wanted, folder: &Path, proxy: &Proxy) {
        let files = files_of(wanted, folder);
        let seen: Vec<(CertificateFiles, [Stamp; 2])> = files
            .into_iter()
            .map(|files| {
                let stamps = [stamp(&files.certificate), stamp(&files.key)];
                (files, stamps)
            })
            .collect();
        let is_first = self.shown == CertificateFacts::default();
        if !is_first && seen == self.read {
            return;
        }
        self.read = seen;
        let (name, port) = (&wanted.name, wanted.port);
        match self.load(wanted, folder) {
            Ok((names, expires_at, config)) => {
                proxy.set_tls(port, Some(config));
                tracing::info!(
                    target: TARGET_PROXY, port, name, expires_at, ?names,
                    "certificate in force"
                );
                self.shown = CertificateFacts {
                    names,
                    expires_at: Some(expires_at),
                    problem: None,
                };
            }
            Err(problem) => {
                let stays = match self.shown.expires_at {
                    Some(_) => "the one before stays in force",
                    None => "connections are reset",
                };
                tracing::error!(target: TARGET_PROXY, port, name, "{problem}; {stays}");
                self.shown.problem = Some(problem);
            }
        }
    }

    fn load(
        &self,
        wanted: &Wanted,
        folder: &Path,
    ) -> Result<(Vec<String>, u64, Arc<rustls::ServerConfig>), String> {
        if self.read.is_empty() {
            let (name, folder) = (&wanted.name, folder.display());
            return Err(format!(
                "no certificate: put {name}.crt and {name}.key into {folder}, or: harbor-ctl ports \
                 set {name} tls=CERT,KEY"
            ));
        }
        let identities = load(self.read.iter().map(|(files, _)| files))?;
        let names = identities.iter().flat_map(|one| one.names.clone());
        let first = identities.iter().map(|one| one.not_after).min();
        let (names, expires_at) = (names.collect(), first.unwrap_or_default());
        Ok((names, expires_at, tls::server(identities)?))
    }
}

fn load<'a>(files: impl Iterator<Item = &'a CertificateFiles>) -> Result<Vec<Identity>, String> {
    let time = now();
    files
        .map(|files| Identity::load(&files.certificate, &files.key, time))
        .collect()
}

/// The service's own pair, then that of the node.
fn files_of(wanted: &Wanted, folder: &Path) -> Vec<CertificateFiles> {
    if let Tls::Files(pairs) = &wanted.tls {
        return pairs.clone();
    }
    let pair = |name: &str| CertificateFiles {
        certificate: folder.join(format!("{name}.crt")),
        key: folder.join(format!("{name}.key")),
    };
    let pairs = [pair(&wanted.name), pair("harbor")];
    let found = pairs.into_iter().find(|pair| pair.certificate.exists());
    found.into_iter().collect()
}

fn stamp(path: &Path) -> Stamp {
    let data = fs::metadata(path).ok()?;
    Some((
        data.dev(),
        data.ino(),
        data.size(),
        data.mtime(),
        data.mtime_nsec(),
    ))
}

impl<R: Registry> Controller<R> {
    /// Gives the proxy the certificates of this node's ports as they are now.
    pub(crate) async fn keep_certificates(&self) {
        let ending = self.services.with(Mark::EndsTls);
        let own = ending.filter(|service| self.serves(service));
        let wanted: Vec<Wanted> = own.map(|service| Wanted::of(service)).collect();
        if wanted.is_empty() && self.certificates.lock().is_empty() {
            return;
        }
        let (certificates, proxy) = (self.certificates.clone(), self.engines.proxy.clone());
        let folder: PathBuf = self.running.config.certificates.clone();
        let follow = move || certificates.follow(wanted, &folder, &proxy);
        if let Err(error) = tokio::task::spawn_blocking(follow).await {
            tracing::error!("certificates were not read: {error}");
        }
    }

    /// Refuses to end TLS without a certificate in the folder of this node.
    fn check_folder(&self, service: &Service) -> Result<(), Refusal> {
        let folder = &self.running.config.certificates;
        let wanted = Wanted::of(service);
        if !self.serves(service) || !files_of(&wanted, folder).is_empty() {
            return Ok(());
        }
        let (name, folder) = (&service.name, folder.display());
        Err(
            Refusal::invalid("tls", "tls: there is no certificate").fix(format!(
                "put {name}.crt and {name}.key into {folder} first, or: tls=CERT,KEY"
            )),
        )
    }

    /// Refuses certificates that cannot be used, before anything is changed.
    pub(super) fn check_certificates(&self, service: &Service) -> Result<(), Refusal> {
        let pairs = match &service.settings.tls {
            Tls::Files(pairs) => pairs,
            Tls::On => return self.check_folder(service),
            Tls::Off | Tls::ByName => return Ok(()),
        };
        if !self.serves(service) {
            let text = format!("tls: the files are those of node {}", service.node);
            return Err(Refusal::invalid("tls", text).fix("set it on that node"));
        }
        load(pairs.iter()).map(drop).map_err(|text| {
            Refusal::invalid("tls", format!("tls: {text}"))
                .fix("a PEM file with the certificate and its chain, and one with its key")
        })
    }
}
