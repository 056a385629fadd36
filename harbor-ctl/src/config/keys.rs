//! Every configuration key: its kind, default, meaning, and when a change takes effect.
//!
//! This table is the contract. A key whose capability this version lacks is listed with the values
//! it accepts; anything else is refused by name, never accepted and ignored.

/// What a key's value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Number,
    /// A list of strings; in the environment and on the command line separated by commas.
    List,
}

/// When a changed value takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Applies {
    AtOnce,
    OnRestart,
}

/// One configuration key.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) section: &'static str,
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// The default, written as TOML.
    pub(crate) default: &'static str,
    pub(crate) meaning: &'static str,
    pub(crate) applies: Applies,
    /// The only values accepted; empty: whatever its kind allows.
    pub(crate) choices: &'static [&'static str],
    /// What other values would ask for, if this version lacks it.
    pub(crate) lacks: &'static str,
}

impl Key {
    /// `section.name`
    pub(crate) fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    const fn on_restart(mut self) -> Self {
        self.applies = Applies::OnRestart;
        self
    }

    const fn one_of(mut self, choices: &'static [&'static str]) -> Self {
        self.choices = choices;
        self
    }

    /// Restricts the key to `choices` because the rest belongs to a later version.
    const fn only(mut self, choices: &'static [&'static str], lacks: &'static str) -> Self {
        self.choices = choices;
        self.lacks = lacks;
        self
    }
}

const fn key(
    section: &'static str,
    name: &'static str,
    kind: Kind,
    default: &'static str,
    meaning: &'static str,
) -> Key {
    let (choices, lacks): (&[&str], &str) = (&[], "");
    Key {
        section,
        name,
        kind,
        default,
        meaning,
        applies: Applies::AtOnce,
        choices,
        lacks,
    }
}

const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];

use Kind::{List, Number, Text};

/// All keys, in the order in which they are shown.
pub(crate) static KEYS: &[Key] = &[
    key("node", "id", Text, "\"harbor_node_1\"", "this node's name").on_restart(),
    key(
        "node",
        "interfaces",
        List,
        "[\"auto\"]",
        "interfaces to attach to",
    )
    .on_restart(),
    key(
        "node",
        "addresses",
        List,
        "[\"auto\"]",
        "addresses that serve ports",
    )
    .on_restart(),
    key(
        "public",
        "hostname",
        Text,
        "\"\"",
        "public host name in credentials; empty: none",
    ),
    key(
        "public",
        "address",
        Text,
        "\"\"",
        "public address in credentials; empty: none",
    ),
    key(
        "ports",
        "range",
        Text,
        "\"35000-40000\"",
        "numbers that new ports are drawn from",
    ),
    key(
        "ports",
        "rest",
        Text,
        "\"60s\"",
        "how long a released number is not drawn again",
    ),
    key(
        "datapath",
        "mode",
        Text,
        "\"auto\"",
        "how packets are forwarded",
    )
    .on_restart()
    .only(&["auto", "tc"], "a datapath other than tc"),
    key(
        "datapath",
        "hook",
        Text,
        "\"auto\"",
        "how the programs are attached",
    )
    .on_restart()
    .one_of(&["auto", "tcx", "clsact"]),
    key(
        "datapath",
        "flows",
        Number,
        "262144",
        "capacity of the flow table",
    )
    .on_restart(),
    key(
        "datapath",
        "source_ports",
        Text,
        "\"10240-32767\"",
        "source ports of translated flows",
    )
    .on_restart(),
    key(
        "timeouts",
        "opening",
        Text,
        "\"6s\"",
        "a flow without an answer",
    )
    .on_restart(),
    key(
        "timeouts",
        "tcp_established",
        Text,
        "\"2h4m\"",
        "a silent TCP flow",
    )
    .on_restart(),
    key(
        "timeouts",
        "tcp_closed",
        Text,
        "\"30s\"",
        "a TCP flow closed by both ends",
    )
    .on_restart(),
    key(
        "timeouts",
        "udp_single",
        Text,
        "\"30s\"",
        "a UDP question with its answer",
    )
    .on_restart(),
    key(
        "timeouts",
        "udp_stream",
        Text,
        "\"180s\"",
        "a UDP conversation",
    )
    .on_restart(),
    key(
        "policy",
        "drain",
        Text,
        "\"30s\"",
        "how long a removed backend keeps its flows",
    ),
    key(
        "policy",
        "allow_networks",
        List,
        "[]",
        "networks allowed as backends in spite of the rule",
    ),
    key(
        "registry",
        "url",
        Text,
        "\"embedded\"",
        "where ports are kept",
    )
    .on_restart()
    .only(&["embedded"], "a registry other than the embedded one"),
    key(
        "gateway",
        "listen",
        Text,
        "\"127.0.0.1:8443\"",
        "address of the platform API",
    )
    .on_restart()
    .only(&["127.0.0.1:8443", ""], "the platform API"),
    key(
        "gateway",
        "user",
        Text,
        "\"harbor\"",
        "user of the platform API",
    )
    .on_restart()
    .only(&["harbor", ""], "the platform API"),
    key(
        "gateway",
        "password_file",
        Text,
        "\"\"",
        "password of the platform API",
    )
    .on_restart()
    .only(&[""], "the platform API"),
    key(
        "control",
        "listen",
        Text,
        "\"\"",
        "TCP side of the control API",
    )
    .on_restart()
    .only(&[""], "a control API over TCP"),
    key(
        "control",
        "token_file",
        Text,
        "\"\"",
        "token of the control API over TCP",
    )
    .on_restart()
    .only(&[""], "a control API over TCP"),
    key(
        "control",
        "tls_cert",
        Text,
        "\"\"",
        "certificate of the control API over TCP",
    )
    .on_restart()
    .only(&[""], "a control API over TCP"),
    key(
        "control",
        "tls_key",
        Text,
        "\"\"",
        "key of the control API over TCP",
    )
    .on_restart()
    .only(&[""], "a control API over TCP"),
    key(
        "metrics",
        "listen",
        Text,
        "\"127.0.0.1:9442\"",
        "address of the metrics",
    )
    .on_restart()
    .only(&["127.0.0.1:9442", ""], "metrics"),
    key("log", "level", Text, "\"info\"", "the agent's log level").one_of(LEVELS),
    key(
        "log",
        "datapath",
        Text,
        "\"off\"",
        "log level of the kernel programs",
    )
    .one_of(LEVELS),
    key(
        "log",
        "rotate",
        Text,
        "\"daily\"",
        "when a new log file is begun",
    )
    .on_restart()
    .one_of(&["daily", "hourly", "never"]),
    key(
        "log",
        "keep",
        Number,
        "14",
        "how many files of each log are kept",
    )
    .on_restart(),
    key("paths", "run", Text, "\"/run/harbor\"", "socket and lock").on_restart(),
    key(
        "paths",
        "state",
        Text,
        "\"/var/lib/harbor\"",
        "the embedded registry",
    )
    .on_restart(),
    key(
        "paths",
        "log",
        Text,
        "\"/var/log/harbor\"",
        "the four log files",
    )
    .on_restart(),
    key(
        "paths",
        "bpf",
        Text,
        "\"/sys/fs/bpf/harbor\"",
        "pinned maps and links",
    )
    .on_restart(),
];

/// Sections that belong to later versions: known, and refused by name.
pub(crate) const LATER_SECTIONS: &[&str] = &["health", "proxy", "tls", "console", "limits"];

/// kato's names for keys, with or without `harbor_node` in front.
const KATO_NAMES: &[(&str, &str)] = &[
    ("port_range", "ports.range"),
    ("hostname_external", "public.hostname"),
    ("host_external", "public.address"),
];

/// The key that `section.name` or one of kato's names means.
pub(crate) fn find(name: &str) -> Option<&'static Key> {
    let name = KATO_NAMES
        .iter()
        .find(|(kato, _)| *kato == name)
        .map_or(name, |(_, own)| own);
    let (section, name) = name.split_once('.')?;
    KEYS.iter()
        .find(|key| key.section == section && key.name == name)
}

/// Whether any key has this section.
pub(crate) fn is_section(name: &str) -> bool {
    KEYS.iter().any(|key| key.section == name)
}

/// The candidate that is most like what was typed, if any is like it at all.
pub(crate) fn nearest(typed: &str, candidates: impl Iterator<Item = String>) -> Option<String> {
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(typed, &candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().max(typed.len()) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn katos_names_work() {
        assert_eq!(find("port_range").unwrap().path(), "ports.range");
        assert_eq!(find("host_external").unwrap().path(), "public.address");
        assert_eq!(find("ports.range").unwrap().path(), "ports.range");
        assert!(find("range").is_none());
    }

    #[test]
    fn the_nearest_key_is_found() {
        let names = || KEYS.iter().map(|k| k.name.to_owned());
        assert_eq!(nearest("rnage", names()).as_deref(), Some("range"));
        assert_eq!(nearest("zzzzzzzzzz", names()), None);
    }

    #[test]
    fn every_default_passes_its_own_choices() {
        for key in KEYS.iter().filter(|k| !k.choices.is_empty()) {
            assert!(
                key.choices.contains(&key.default.trim_matches('"')),
                "{}",
                key.path()
            );
        }
    }
}
