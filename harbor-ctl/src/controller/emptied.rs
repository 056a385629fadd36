//! A registry that was made anew where ports exist, or put back to an earlier time: what the kernel
//! forwards is left alone until somebody decides.
//!
//! A file that is missing is the same to see as a state directory that is not mounted. The kernel's
//! tables and the journal tell whether it is a first start or a loss. A number that was given up rests, at
//! least until the kernel has heard of it: one that neither rests nor belongs to anybody was taken after
//! what the file remembers.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Controller, error::AgentError, proxied};
use crate::{
    forwarding::{
        KernelEngine, WhichBackends,
        kernel::{Forwarding, ForwardingError},
    },
    model::{EventKind, PortRef, Protocol, Refusal, RefusalKind, Service, Subject},
    reconcile::Scope,
    registry::{Backends, EmbeddedRegistry, InKernel, Registry, RegistryError, moved},
    views::registry::emptied_fix,
};

/// The journal of this node's own registry, below the state directory; a cluster's has its name.
pub(super) const JOURNAL: &str = "journal.redb";

/// Opens this node's own registry, or says what is to be done about a spoilt one.
pub(crate) fn open(state: &Path) -> Result<EmbeddedRegistry, AgentError> {
    let path = state.join("harbor.redb");
    let opened = EmbeddedRegistry::open_with_copy(&path, &state.join(JOURNAL));
    opened.map_err(|error| match error {
        RegistryError::Spoilt { .. } => AgentError::Spoilt {
            text: error.to_string(),
            fix: offer(state, &path),
        },
        other => other.into(),
    })
}

/// What an operator can do about a spoilt file: the last good copies, the newest first.
fn offer(state: &Path, path: &Path) -> String {
    let path = path.display();
    let mut fix = format!("mv {path} {path}.spoilt");
    if let Some(backup) = last_backup(state) {
        fix.push_str(&format!(
            "; then, for the last backup: cp {} {path}",
            backup.display()
        ));
    }
    fix.push_str(
        "; then start the agent: without a backup it serves what its journal holds, until \
         `harbor-ctl state import` or `state confirm`",
    );
    fix
}

fn last_backup(state: &Path) -> Option<PathBuf> {
    let files = fs::read_dir(state.join("backups")).ok()?.flatten();
    let dated =
        files.filter_map(|file| Some((file.metadata().ok()?.modified().ok()?, file.path())));
    dated
        .filter(|(_, path)| path.extension().is_some_and(|end| end == "redb"))
        .max()
        .map(|(_, path)| path)
}

impl<R: Registry> Controller<R> {
    /// Compares a registry that has just been opened with what the kernel and the journal know. Called before
    /// anything is applied.
    pub(crate) async fn believe_or_hold(&mut self) {
        self.compare(Moment::Start).await;
    }

    /// The same of one that was made anew, where the kernel could not be read at the start.
    pub(crate) async fn believe_or_hold_late(&mut self) {
        self.compare(Moment::Later).await;
    }

    async fn compare(&mut self, when: Moment) {
        let is_new = self.registry.is_new();
        if !is_new && (R::IS_SHARED || when == Moment::Later) {
            return;
        }
        let (kernel, backends) = match &self.engines.kernel {
            KernelEngine::Up(forwarding) => match in_kernel(forwarding).await {
                Ok(found) => found,
                Err(error) => return tracing::error!("the kernel was not read: {error}"),
            },
            KernelEngine::Off(_) => Default::default(),
            // Nobody knows: a new one is compared when the datapath runs.
            KernelEngine::Down { .. } => return,
        };
        let own = self.services().filter(|service| self.serves(service));
        let each = own.flat_map(|service| {
            let halves = service.protocols.each().iter();
            halves.map(|&protocol| (protocol, service.port))
        });
        let known: BTreeSet<(Protocol, u16)> = each.collect();
        self.leaves_kernel_alone = !kernel.is_subset(&known);
        let proxied = proxied::read(&self.running.config.paths.state);
        let proxied: BTreeSet<_> = proxied.difference(&kernel).copied().collect();
        let both = kernel.union(&proxied).copied().collect();
        let found = InKernel {
            served: without_rests(&both, &self.resting),
            proxied,
            backends,
            backup: last_backup(&self.running.config.paths.state),
        };
        // One of an earlier time that has everything is believed as before.
        if !is_new && found.served.is_subset(&known) {
            self.leaves_kernel_alone = false;
            return self.tell_moved(&found.backends);
        }
        match self.registry.hold(found).await {
            // What rests may be in the kernel still, and is nobody's.
            Ok(()) => self.follow_decision(),
            Err(error) => {
                tracing::error!("it was not noted what the registry does not hold: {error}");
            }
        }
    }

    /// Writes down what only the proxy serves; not while there are ports that nobody knows by name, of which
    /// some may be in the file.
    pub(super) fn note_proxied(&mut self) {
        if self.registry.condition().emptied.is_some() {
            return;
        }
        let is_alone = !matches!(self.engines.kernel, KernelEngine::Up(_));
        let own = self.services().filter(|service| self.serves(service));
        let halves = own.flat_map(|service| {
            let each = service.protocols.each().iter();
            let proxied = each.filter(move |&&p| is_alone || service.needs_proxy(p));
            proxied.map(|&protocol| (protocol, service.port))
        });
        let halves = halves.collect();
        self.proxied.note(&self.running.config.paths.state, halves);
    }

    /// Tells of backends that the kernel had and ports have no more: what is recorded holds, and whether it is
    /// the newest is for people to say.
    fn tell_moved(&self, found: &Backends) {
        let services: Vec<Service> = self.services().cloned().collect();
        let moved = moved(found, &services);
        for ((protocol, port), addresses) in &moved {
            let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            let text = format!(
                "port {port}/{protocol}: the kernel sent clients to {}, which the registry does not have",
                addresses.join(", ")
            );
            tracing::warn!("{text}");
            let subject = Subject {
                port: Some(*port),
                ..Subject::default()
            };
            self.tell(EventKind::RegistryDiffers, subject, text);
        }
    }

    /// Whatever is said about all ports is not so while the kernel serves some that nobody knows by name.
    pub(super) fn unless_nameless(&self) -> Result<(), Refusal> {
        match self.nameless() {
            None => Ok(()),
            Some((text, fix)) => Err(Refusal::new(RefusalKind::NotReady, text).fix(fix)),
        }
    }

    /// The one service that is meant.
    pub(super) fn find(&self, port: &PortRef) -> Result<Arc<Service>, Refusal> {
        let found = self.services.find(port).cloned();
        found.map_err(|refusal| self.perhaps_nameless(refusal))
    }

    /// What cannot be found may be among the ports that the kernel serves and nobody knows by name.
    pub(super) fn perhaps_nameless(&self, refusal: Refusal) -> Refusal {
        match self.nameless() {
            Some((text, fix)) if refusal.kind == RefusalKind::NotFound => {
                let text = format!("{} is known, but {text}", refusal.description);
                Refusal::new(RefusalKind::NotReady, text).fix(fix)
            }
            _ => refusal,
        }
    }

    /// That the kernel serves ports which nobody knows by name, and what to do about it.
    pub(super) fn nameless(&self) -> Option<(String, String)> {
        let emptied = self.registry.condition().emptied?;
        Some((emptied.nameless()?, emptied_fix(&emptied)))
    }

    /// Lets the kernel be changed again, if somebody has decided.
    pub(super) fn follow_decision(&mut self) {
        if self.registry.condition().emptied.is_none() {
            self.leaves_kernel_alone = false;
        }
    }
}

/// When a registry is compared with the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    Start,
    /// The datapath runs that did not: what was deleted meanwhile is in the kernel still.
    Later,
}

/// The numbers that the kernel serves, and where it sends their clients.
async fn in_kernel(
    forwarding: &Forwarding,
) -> Result<(BTreeSet<(Protocol, u16)>, Backends), ForwardingError> {
    let frontends = forwarding.frontends(Scope::Whole).await?;
    let mut backends = Backends::new();
    for report in forwarding
        .backends(Scope::Whole, WhichBackends::Every)
        .await?
    {
        let half = (report.protocol, report.port);
        backends.entry(half).or_default().insert(report.address);
    }
    let frontends = frontends.iter().map(|r| (r.protocol, r.port));
    Ok((frontends.collect(), backends))
}

/// What the kernel serves and was not given up.
fn without_rests(
    kernel: &BTreeSet<(Protocol, u16)>,
    resting: &BTreeMap<(Protocol, u16), u64>,
) -> BTreeSet<(Protocol, u16)> {
    let served = kernel.iter().filter(|half| !resting.contains_key(half));
    served.copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_neither_rests_nor_is_anybodys_was_taken_after_what_the_file_remembers() {
        let half = |port| (Protocol::Tcp, port);
        let kernel = BTreeSet::from([half(1), half(2), half(3)]);
        let resting = BTreeMap::from([(half(2), 0)]);
        let served = without_rests(&kernel, &resting);
        assert_eq!(served, BTreeSet::from([half(1), half(3)]));
    }

    #[test]
    fn the_newest_backup_is_offered_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (state, file) = (folder.path(), folder.path().join("harbor.redb"));
        assert!(!offer(state, &file).contains("cp "));
        let backups = state.join("backups");
        fs::create_dir(&backups).unwrap();
        for name in ["harbor-1.redb", "harbor-2.redb", "notes"] {
            fs::write(backups.join(name), "").unwrap();
        }
        let old = fs::File::open(backups.join("harbor-1.redb")).unwrap();
        old.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        let offered = offer(state, &file);
        assert!(offered.contains("backups/harbor-2.redb"), "{offered}");
    }
}
