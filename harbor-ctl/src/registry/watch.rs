//! Messages from a shared registry to this node, and the registry's condition.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::model::{Protocol, counted};

/// One piece of news, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// These services have changed or are gone: `Registry::known` says which.
    Changed(Vec<String>),
    /// Everything was compared: `Registry::current` is what the registry holds.
    Synchronised,
    /// An app host has spoken; the text is as it came, 16 KiB at most.
    Announced(String),
    /// The registry does not answer any more.
    Away,
    /// It answers again, and this node is in sync.
    Back,
}

/// What a node says of a share that it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) is_held: bool,
    /// It has some of the share's addresses, and not the others.
    pub(crate) is_partial: bool,
    pub(crate) is_ready: bool,
}

/// Since when a registry is away, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Away {
    pub(crate) reason: String,
    pub(crate) since: Instant,
}

/// Since when a registry is back, and for how long it was away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Back {
    pub(crate) since: Instant,
    pub(crate) away_for: Duration,
}

/// Backends by the number that they are behind.
pub(crate) type Backends = BTreeMap<(Protocol, u16), BTreeSet<SocketAddr>>;

/// What the kernel serves when an agent starts: its registry has to account for all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct InKernel {
    /// Without numbers that rest, which were given up.
    pub(crate) served: BTreeSet<(Protocol, u16)>,
    /// Those of them that the proxy alone served: by nobody now.
    pub(crate) proxied: BTreeSet<(Protocol, u16)>,
    /// Where it sends their clients.
    pub(crate) backends: Backends,
    /// The newest copy that was made of the registry.
    pub(crate) backup: Option<PathBuf>,
}

impl InKernel {
    /// Who knows of these numbers.
    pub(super) fn who_knows(&self, lacking: &BTreeSet<(Protocol, u16)>) -> &'static str {
        match lacking.is_subset(&self.proxied) {
            true if lacking.is_empty() => "the journal",
            true => "the list of what the proxy served",
            false => "the kernel",
        }
    }
}

/// Ports that exist, and that a registry which was made anew, or put back to an earlier time, does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Emptied {
    pub(crate) ports: usize,
    /// Who knows of them: the kernel, or the journal.
    pub(crate) known_to: &'static str,
    /// How many ports it holds.
    pub(crate) holds: usize,
    /// It was made anew; if not, it is of an earlier time.
    pub(crate) is_new: bool,
    /// Other nodes have it too: no file of this node's is it.
    pub(crate) is_shared: bool,
    /// What the kernel serves and nobody knows by name.
    pub(crate) unnamed: BTreeSet<(Protocol, u16)>,
    /// Those of them that the proxy alone served.
    pub(crate) proxied: BTreeSet<(Protocol, u16)>,
    /// All that it does not hold, with the backends that serve it.
    pub(crate) lacking: Backends,
    /// Backends in the kernel that ports have no more in it.
    pub(crate) moved: Backends,
    /// The newest copy that was made of the registry.
    pub(crate) backup: Option<PathBuf>,
}

/// So many numbers are named in a message.
const NAMED: usize = 8;

impl Emptied {
    /// How many ports nobody knows by name, and their numbers, if there are any.
    pub(crate) fn nameless(&self) -> Option<String> {
        let proxied: BTreeSet<_> = self.unnamed.intersection(&self.proxied).copied().collect();
        let kernel: BTreeSet<_> = self.unnamed.difference(&proxied).copied().collect();
        let of_kernel = nameless(
            &kernel,
            [
                "is in the kernel, which serves it, and is",
                "are in the kernel, which serves them, and are",
            ],
        );
        let of_proxy = nameless(
            &proxied,
            [
                "was served by the proxy, is served by nobody now, and is",
                "were served by the proxy, are served by nobody now, and are",
            ],
        );
        let both: Vec<String> = of_kernel.into_iter().chain(of_proxy).collect();
        (!both.is_empty()).then(|| both.join("; "))
    }
}

/// How many ports nobody knows by name, and the first of them.
fn nameless(halves: &BTreeSet<(Protocol, u16)>, [is, are]: [&str; 2]) -> Option<String> {
    let numbers: BTreeSet<u16> = halves.iter().map(|(_, port)| *port).collect();
    let are = match numbers.len() {
        0 => return None,
        1 => is,
        _ => are,
    };
    let each = halves.iter().map(|(p, port)| format!("{port}/{p}"));
    let mut named: Vec<String> = each.take(NAMED).collect();
    if halves.len() > NAMED {
        named.push("...".into());
    }
    let (ports, named) = (counted(numbers.len(), "port"), named.join(", "));
    Some(format!("{ports} {are} not known by name: {named}"))
}

/// The first backends, each behind its number.
pub(crate) fn named(backends: &Backends) -> Option<String> {
    let each = backends.iter().flat_map(|((protocol, port), addresses)| {
        let one = move |address| format!("{address} of {port}/{protocol}");
        addresses.iter().map(one)
    });
    let mut named: Vec<String> = each.take(NAMED + 1).collect();
    if named.len() > NAMED {
        named[NAMED] = "...".into();
    }
    (!named.is_empty()).then(|| named.join(", "))
}

impl std::fmt::Display for Emptied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            ports,
            known_to,
            holds,
            is_new,
            ..
        } = self;
        let are = if *ports == 1 { "port is" } else { "ports are" };
        match (holds, is_new) {
            (0, _) => write!(f, "the registry is empty, {ports} {are} in {known_to}"),
            (_, true) => write!(
                f,
                "the registry was made anew: {ports} {are} in {known_to} and not in it"
            ),
            (_, false) => write!(
                f,
                "the registry is older than what is forwarded: {ports} {are} in {known_to} and not in it"
            ),
        }?;
        match named(&self.moved) {
            None => Ok(()),
            Some(named) => write!(f, "; it does not have these backends any more: {named}"),
        }
    }
}

/// A file that had lost changes which its journal has, and was put right from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mended {
    /// Ports that it had not, or not as they were acknowledged.
    pub(crate) put_back: usize,
    /// Ports that it had and that had been deleted.
    pub(crate) taken_out: usize,
}

impl std::fmt::Display for Mended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            put_back,
            taken_out,
        } = self;
        write!(
            f,
            "it was older than its journal and was put right from it: {} put back, {taken_out} taken out",
            counted(*put_back, "port")
        )
    }
}

/// How often a registry has stopped to answer or to take changes, and why it did last: it may be over before
/// anybody looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lapses {
    pub(crate) count: u64,
    pub(crate) reason: String,
}

impl Lapses {
    pub(super) fn note(&mut self, reason: &str) {
        self.count += 1;
        reason.clone_into(&mut self.reason);
    }
}

/// How the registry is; the default: well.
#[derive(Clone, Debug, Default)]
pub(crate) struct Condition {
    pub(crate) lapses: Lapses,
    pub(crate) away: Option<Away>,
    /// Since when the disk of this node's own registry refuses, and how.
    pub(crate) failed: Option<Away>,
    /// It was made anew, or is of an earlier time, where ports exist.
    pub(crate) emptied: Option<Arc<Emptied>>,
    /// What this start had to put right in the file of this node's own registry.
    pub(crate) mended: Option<Mended>,
    /// The last return; `None`: it was never away.
    pub(crate) back: Option<Back>,
    /// Another agent has this node's id.
    pub(crate) is_fenced: bool,
    /// Own ports that the registry does not have any more, too many at once to be believed.
    pub(crate) withheld: BTreeSet<String>,
    /// Own ports whose number the registry has given to somebody else, and to whom.
    pub(crate) unplaced: BTreeMap<String, String>,
    /// How many records were refused, and one of them with the reason.
    pub(crate) refused: Option<(usize, String)>,
    /// Why the last good state is not on this machine's disk.
    pub(crate) not_kept: Option<String>,
}

impl Condition {
    /// Whether changes cannot be recorded though this node is the one to make them: what must
    /// happen happens, and the record follows.
    pub(crate) fn cannot_record(&self) -> bool {
        self.failed.is_some() || self.emptied.is_some() || self.is_fenced
    }
}
