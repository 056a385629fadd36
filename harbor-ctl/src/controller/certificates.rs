//! Certificates of ports that terminate TLS: loaded, and reloaded when their files change.
//!
//! A pair that cannot be used is told and tried again when its files change; what was in force stays
//! in force meanwhile.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::OwnedMutexGuard;

use super::{Controller, background::Reading, services::Mark};
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
pub(crate) struct Certificates(Arc<Known>);

#[derive(Debug, Default)]
struct Known {
    each: Mutex<BTreeMap<String, Held>>,
    /// Those that end TLS since the last change, and how often they were others than before.
    asked: Mutex<(Vec<Wanted>, u64)>,
    /// Who reads the files has it, for as long as they take to answer.
    turn: Turn,
    reading: Reading,
}

type Turn = Arc<tokio::sync::Mutex<()>>;

/// What is known of one service's certificates.
#[derive(Clone, Debug, Default)]
struct Held {
    wanted: Wanted,
    /// The files that were read last, with what they looked like; empty: none were found.
    read: Vec<(CertificateFiles, [Stamp; 2])>,
    shown: CertificateFacts,
}

/// What tells that a file has changed: device, inode, size, and when it was written.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

impl Certificates {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Held>> {
        // Nobody panics while it is held; and a panic ends the agent anyway.
        let each = self.0.each.lock();
        each.unwrap_or_else(PoisonError::into_inner)
    }

    /// By the service's id.
    pub(crate) fn shown(&self) -> BTreeMap<String, CertificateFacts> {
        let each = self.lock();
        let shown = each
            .iter()
            .map(|(id, held)| (id.clone(), held.shown.clone()));
        shown.collect()
    }

    /// How often other services ended TLS than before, or in another way.
    pub(super) fn asked(&self) -> u64 {
        let asked = self.0.asked.lock();
        asked.unwrap_or_else(PoisonError::into_inner).1
    }

    /// These services end TLS from now on.
    fn ask(&self, wanted: Vec<Wanted>) {
        let asked = self.0.asked.lock();
        let mut asked = asked.unwrap_or_else(PoisonError::into_inner);
        if asked.0 != wanted {
            *asked = (wanted, asked.1 + 1);
        }
    }

    /// For how long the files have not answered.
    pub(super) fn unanswered(&self) -> Option<Duration> {
        self.0.reading.unanswered()
    }

    /// Waits until nobody reads the files.
    pub(super) async fn turn(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.0.turn).lock_owned().await
    }

    /// Brings the proxy to what these services and their files say. Reads files: it may block.
    fn follow(&self, services: Vec<Wanted>, folder: &Path, proxy: &Proxy) {
        let mut gone = self.lock().clone();
        let mut known = BTreeMap::new();
        for wanted in services {
            let mut held = gone.remove(&wanted.id).unwrap_or_default();
            held.wanted = wanted;
            held.follow(folder, proxy);
            known.insert(held.wanted.id.clone(), held);
        }
        for held in gone.into_values() {
            proxy.set_tls(held.wanted.port, None);
        }
        *self.lock() = known;
    }
}

/// Services whose certificates are to be in force, and whose turn it is.
pub(super) struct Following {
    certificates: Certificates,
    services: Vec<Wanted>,
    folder: PathBuf,
    proxy: Proxy,
    turn: OwnedMutexGuard<()>,
}

impl Following {
    /// Reads the files as soon as they answer.
    pub(super) async fn run(self) {
        if self.services.is_empty() && self.certificates.lock().is_empty() {
            return;
        }
        let follow = move || {
            let Self {
                certificates,
                services,
                folder,
                proxy,
                turn,
            } = self;
            let reading = certificates.0.reading.begin();
            certificates.follow(services, &folder, &proxy);
            drop(reading);
            drop(turn);
        };
        if let Err(error) = tokio::task::spawn_blocking(follow).await {
            tracing::error!("certificates were not read: {error}");
        }
    }
}

/// A service that ends TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    fn follow(&mut self, folder: &Path, proxy: &Proxy) {
        let files = files_of(&self.wanted, folder);
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
        let Wanted { name, port, .. } = self.wanted.clone();
        match self.load(folder) {
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

    fn load(&self, folder: &Path) -> Result<(Vec<String>, u64, Arc<rustls::ServerConfig>), String> {
        if self.read.is_empty() {
            let (name, folder) = (&self.wanted.name, folder.display());
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

/// Reads pairs; an error names the file.
pub(super) fn load<'a>(
    files: impl Iterator<Item = &'a CertificateFiles>,
) -> Result<Vec<Identity>, String> {
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
    fn wanted(&self) -> Vec<Wanted> {
        let ending = self.services.with(Mark::EndsTls);
        let own = ending.filter(|service| self.serves(service));
        own.map(|service| Wanted::of(service)).collect()
    }

    /// Has the files read, if a change asks for it, when nobody has the controller.
    pub(super) fn ask_for_certificates(&self) {
        self.certificates.ask(self.wanted());
    }

    /// What the proxy is to have of the certificates of this node's ports.
    pub(super) fn following(&self, turn: OwnedMutexGuard<()>) -> Following {
        Following {
            certificates: self.certificates.clone(),
            services: self.wanted(),
            folder: self.running.config.certificates.clone(),
            proxy: self.engines.proxy.clone(),
            turn,
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
