//! Every configuration key: its kind, default, meaning, and when a change takes effect.
//!
//! This table is the contract. A key whose capability this version lacks is listed with the values
//! it accepts; anything else is refused by name, never accepted and ignored.

use super::keys::{
    Applies, Key,
    Kind::{self, List, Number, Text},
};

const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];

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
        "datapath",
        "source_addresses",
        List,
        "[]",
        "more addresses of this node that translated flows leave with",
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
        "tcp_reset",
        Text,
        "\"10s\"",
        "a TCP flow that one end has reset",
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
        "health",
        "check",
        Text,
        "\"off\"",
        "how backends of ports without `health` are probed: off, tcp, http:/PATH, udp:SEND/EXPECT",
    ),
    key(
        "health",
        "interval",
        Text,
        "\"5s\"",
        "from one probe of a backend to the next",
    ),
    key(
        "health",
        "timeout",
        Text,
        "\"2s\"",
        "after which a probe has failed",
    ),
    key(
        "health",
        "rise",
        Number,
        "2",
        "passed probes in a row until a failing backend is up",
    ),
    key(
        "health",
        "fall",
        Number,
        "3",
        "failed probes in a row until a backend is failing",
    ),
    key(
        "health",
        "rate",
        Number,
        "500",
        "probes a second, all ports together",
    ),
    key(
        "health",
        "all_down",
        Text,
        "\"use-last\"",
        "new flows of a port whose backends are all failing",
    )
    .one_of(&["use-last", "refuse"]),
    key(
        "registry",
        "url",
        Text,
        "\"embedded\"",
        "where ports are kept: embedded, redis://HOST, rediss://HOST or redis+sentinel://HOST:PORT/MASTER",
    )
    .on_restart(),
    key(
        "registry",
        "cluster",
        Text,
        "\"harbor\"",
        "names the keys in Redis: nodes of one cluster share them",
    )
    .on_restart(),
    key(
        "registry",
        "password_file",
        Text,
        "\"\"",
        "a file that holds the password of Redis; empty: none",
    )
    .on_restart(),
    key(
        "registry",
        "ca_file",
        Text,
        "\"\"",
        "certificates (PEM) that sign the one of Redis; empty: the system's",
    )
    .on_restart(),
    key(
        "registry",
        "timeout",
        Text,
        "\"1s\"",
        "how long Redis may take to answer before it counts as away",
    )
    .on_restart(),
    key(
        "discovery",
        "lease",
        Text,
        "\"17s\"",
        "how long an app host's instances live without a heartbeat",
    ),
    key(
        "discovery",
        "token_file",
        Text,
        "\"\"",
        "token with which app hosts may announce over TCP, and nothing else",
    )
    .on_restart(),
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
    .on_restart(),
    key(
        "control",
        "token_file",
        Text,
        "\"\"",
        "token of the control API over TCP",
    )
    .on_restart(),
    key(
        "control",
        "tls_cert",
        Text,
        "\"\"",
        "certificate of the control API over TCP",
    )
    .on_restart(),
    key(
        "control",
        "tls_key",
        Text,
        "\"\"",
        "key of the control API over TCP",
    )
    .on_restart(),
    key(
        "control",
        "tls_client_ca",
        Text,
        "\"\"",
        "authority of the certificates that clients of the control API over TCP must show",
    )
    .on_restart(),
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
        "the embedded registry, and the journal of a shared one",
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
