//! Every configuration key: its kind, default, meaning, and when a change takes effect.
//!
//! This table is the contract. A key whose capability this version lacks is listed with the values
//! it accepts; anything else is refused by name, never accepted and ignored.

use super::{
    form::Form,
    keys::{
        Applies, Key,
        Kind::{self, Bool, List, Number, Text},
    },
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
        form: Form::Free,
        bounds: None,
    }
}

const fn text(
    section: &'static str,
    name: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> Key {
    key(section, name, Text, default, meaning)
}

const fn list(
    section: &'static str,
    name: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> Key {
    key(section, name, List, default, meaning)
}

const fn number(
    section: &'static str,
    name: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> Key {
    key(section, name, Number, default, meaning)
}

const fn switch(
    section: &'static str,
    name: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> Key {
    key(section, name, Bool, default, meaning)
}

/// All keys, in the order in which they are shown.
pub(crate) static KEYS: &[Key] = &[
    text("node", "id", "\"harbor_node_1\"", "this node's name")
    .form(Form::Name).on_restart(),
    text("node", "hostname", "\"\"", "this node's host name in credentials; empty: the system's")
    .form(Form::Host),
    list("node", "interfaces", "[\"auto\"]", "interfaces to attach to")
    .form(Form::Interfaces)
    .on_restart(),
    list("node", "addresses", "[\"auto\"]", "addresses that serve ports")
    .form(Form::Addresses)
    .on_restart(),
    text("public", "hostname", "\"\"", "public host name in credentials; empty: none")
    .form(Form::Host),
    text("public", "address", "\"\"", "public address in credentials; empty: none")
    .form(Form::Address),
    text("ports", "range", "\"35000-40000\"", "numbers that new ports are drawn from")
    .form(Form::Range),
    text("ports", "rest", "\"60s\"", "how long a released number is not drawn again")
    .form(Form::Period),
    text("datapath", "mode", "\"auto\"", "who forwards: tc, the programs in the kernel, at TC alone; xdp, the same, and at XDP too wherever a driver can; auto, the programs where they can be had, at XDP too on physical interfaces; proxy, the agent itself, without BPF")
    .on_restart()
    .only(&["auto", "tc", "xdp", "proxy"], "another mode than auto, tc, xdp and proxy"),
    text("datapath", "hook", "\"auto\"", "how the programs are attached")
    .on_restart()
    .one_of(&["auto", "tcx", "clsact"]),
    number("datapath", "flows", "262144", "capacity of the flow table")
    .within(1_024, 16_777_216)
    .on_restart(),
    text("datapath", "source_ports", "\"10240-32767\"", "source ports of translated flows; all below 1024 for servers that insist on such clients")
    .form(Form::Range)
    .on_restart(),
    list("datapath", "source_addresses", "[]", "more addresses of this node that translated flows leave with")
    .form(Form::Addresses)
    .on_restart(),
    text("tls", "folder", "\"/etc/harbor/tls\"", "certificates of ports that end TLS: NAME.crt and NAME.key of the port's name, else harbor.crt and harbor.key")
    .form(Form::Path),
    text("proxy", "connect_timeout", "\"1s\"", "how long a backend may take to accept a connection that goes through the proxy, before the next is tried as well")
    .form(Form::Period),
    text("proxy", "give_up", "\"10s\"", "how long all backends that are tried may take to accept a connection that goes through the proxy, before the client is reset; at least connect_timeout")
    .form(Form::Period),
    text("proxy", "half_closed", "\"60s\"", "how long a connection through the proxy may be silent after one of its sides has ended")
    .form(Form::Period),
    text("proxy", "descriptors_per_port", "\"25%\"", "what one port's flows may have of the descriptors that are left for flows through the proxy; 16 at least")
    .form(Form::Share),
    text("proxy", "descriptors_per_client", "\"10%\"", "what the flows of one client (of IPv6: one /64) at all ports may have of them; 16 at least")
    .form(Form::Share),
    text("timeouts", "opening", "\"6s\"", "a flow without an answer")
    .form(Form::Period),
    text("timeouts", "tcp_established", "\"2h4m\"", "a silent TCP flow")
    .form(Form::Period),
    text("timeouts", "tcp_closed", "\"30s\"", "a TCP flow closed by both ends")
    .form(Form::Period),
    text("timeouts", "tcp_reset", "\"10s\"", "a TCP flow that one end has reset")
    .form(Form::Period),
    text("timeouts", "udp_single", "\"30s\"", "a UDP question with its answer")
    .form(Form::Period),
    text("timeouts", "udp_stream", "\"180s\"", "a UDP conversation")
    .form(Form::Period),
    text("policy", "drain", "\"30s\"", "how long a removed backend keeps its flows")
    .form(Form::Period),
    list("policy", "backend_networks", "[]", "networks that new backends must be in; empty: wherever they may be by the rule")
    .form(Form::Networks),
    list("policy", "allow_networks", "[]", "networks allowed as backends in spite of the rule")
    .form(Form::Networks),
    text("policy", "passive", "\"on\"", "whether new flows avoid a backend that was confirmed to fail clients' flows; never more than half of a port's backends")
    .one_of(&["on", "off"]),
    text("policy", "reverse_path", "\"connected\"", "which senders of new flows must be reached by the interface that they come in by: connected, those in networks that the node is part of, and what rp_filter says of others; system, what rp_filter says")
    .one_of(&["connected", "system"]),
    number("policy", "min_path_mtu", "1280", "the smallest path MTU that a backend is told of: for it all clients of a node are on one path, so one client's word would count for all")
    .within(68, 9_000),
    text("health", "check", "\"off\"", "how backends of ports without `health` are probed: off, tcp, http:/PATH, udp:SEND/EXPECT")
    .form(Form::HealthCheck),
    text("health", "interval", "\"5s\"", "from one probe of a backend to the next")
    .form(Form::Period),
    text("health", "timeout", "\"2s\"", "after which a probe has failed")
    .form(Form::Period),
    number("health", "rise", "2", "passed probes in a row until a failing backend is up")
    .within(1, 100),
    number("health", "fall", "3", "failed probes in a row until a backend is failing")
    .within(1, 100),
    number("health", "rate", "500", "probes a second, all ports together")
    .within(1, 100_000),
    text("health", "all_down", "\"use-last\"", "new flows of a port whose backends are all failing")
    .one_of(&["use-last", "refuse"]),
    text("registry", "url", "\"embedded\"", "where ports are kept: embedded, redis://HOST, rediss://HOST or redis+sentinel://HOST:PORT/MASTER")
    .form(Form::RegistryUrl)
    .on_restart(),
    text("registry", "cluster", "\"harbor\"", "names the keys in Redis: nodes of one cluster share them")
    .form(Form::Name)
    .on_restart(),
    text("registry", "password_file", "\"\"", "a file that holds the password of Redis; empty: none")
    .form(Form::File)
    .on_restart(),
    text("registry", "ca_file", "\"\"", "certificates (PEM) that sign the one of Redis; empty: the system's")
    .form(Form::File)
    .on_restart(),
    text("registry", "timeout", "\"1s\"", "how long Redis may take to answer before it counts as away")
    .form(Form::Period)
    .on_restart(),
    text("discovery", "lease", "\"17s\"", "how long an app host's instances live without a heartbeat")
    .form(Form::Period),
    text("discovery", "hosts", "\"\"", "folder with a TOML file an app host: its name, token or certificate, networks, services, most instances; empty: all app hosts are one domain of trust")
    .form(Form::File)
    .on_restart(),
    text("discovery", "token_file", "\"\"", "token with which app hosts may announce over TCP, and nothing else")
    .form(Form::File)
    .on_restart(),
    text("gateway", "listen", "\"127.0.0.1:8443\"", "address of the platform API; off without a password file")
    .form(Form::Listen)
    .on_restart(),
    list("gateway", "hosts", "[]", "more names that the platform API is asked by where it has no TLS, besides addresses and this node's own names")
    .on_restart(),
    text("gateway", "user", "\"harbor\"", "user of the platform API")
    .on_restart(),
    text("gateway", "password_file", "\"\"", "password of the platform API; empty: there is none")
    .form(Form::File)
    .on_restart(),
    text("gateway", "tls_cert", "\"\"", "certificate of the platform API; needed where it listens beyond this machine")
    .form(Form::File)
    .on_restart(),
    text("gateway", "tls_key", "\"\"", "key of the platform API")
    .form(Form::File)
    .on_restart(),
    text("gateway", "header_timeout", "\"10s\"", "how long the head of a request to the platform API may take")
    .form(Form::Period)
    .on_restart(),
    text("gateway", "idle_timeout", "\"60s\"", "how long a connection to the platform API may say nothing between requests, or take nothing of an answer")
    .form(Form::Period)
    .on_restart(),
    number("gateway", "connections", "1024", "connections to the platform API at once; at most a sixteenth of the process's descriptors")
    .within(16, 65_536)
    .on_restart(),
    number("gateway", "connections_per_peer", "64", "connections to the platform API at once of one address (of IPv6: one /64)")
    .within(1, 65_536)
    .on_restart(),
    number("limits", "ports", "0", "ports at once, in all; 0: as many as there are numbers")
    .within(0, 131_072),
    number("limits", "ports_per_organization", "0", "ports at once of one organization of a platform; 0: no limit")
    .within(0, 131_072),
    number("limits", "ports_per_space", "0", "ports at once of one space of a platform; 0: no limit")
    .within(0, 131_072),
    number("limits", "flows_per_port", "0", "flows that one port keeps at once, whatever its own settings say; 0: a quarter of datapath.flows")
    .within(0, 16_777_216),
    number("limits", "flows_per_organization", "0", "flows that all ports of one organization of a platform keep at once; 0: half of datapath.flows")
    .within(0, 16_777_216),
    number("limits", "flows_per_client", "0", "flows that one client (of IPv6: one /64) keeps at once at all ports together; 0: a sixteenth of datapath.flows")
    .within(0, 16_777_216),
    text("control", "admin_group", "\"harbor\"", "group, by name or number, whose members may ask everything by the socket; empty: root alone")
    .form(Form::Group)
    .on_restart(),
    text("control", "read_group", "\"\"", "group whose members may look by the socket, and change nothing; empty: nobody")
    .form(Form::Group)
    .on_restart(),
    text("control", "listen", "\"\"", "TCP side of the control API")
    .form(Form::Listen)
    .on_restart(),
    list("control", "hosts", "[]", "more names that the TCP side is asked by where it has no TLS, besides addresses and this node's own names")
    .on_restart(),
    switch("control", "insecure", "false", "whether the TCP side may listen beyond this machine without TLS: tokens then travel in the clear")
    .on_restart(),
    text("control", "header_timeout", "\"10s\"", "how long the head of a request to the control API, by socket and by TCP each, may take")
    .form(Form::Period)
    .on_restart(),
    text("control", "idle_timeout", "\"60s\"", "how long a connection to the control API, by socket and by TCP each, may say nothing between requests, or take nothing of an answer")
    .form(Form::Period)
    .on_restart(),
    number("control", "connections", "1024", "connections to the control API, by socket and by TCP each, at once; at most a sixteenth of the process's descriptors")
    .within(16, 65_536)
    .on_restart(),
    number("control", "connections_per_peer", "64", "connections to the control API, by socket and by TCP each, at once of one address (of IPv6: one /64) or one user; root is not counted")
    .within(1, 65_536)
    .on_restart(),
    text("control", "token_file", "\"\"", "token of the control API over TCP")
    .form(Form::File)
    .on_restart(),
    text("control", "tls_cert", "\"\"", "certificate of the control API over TCP")
    .form(Form::File)
    .on_restart(),
    text("control", "tls_key", "\"\"", "key of the control API over TCP")
    .form(Form::File)
    .on_restart(),
    text("control", "tls_client_ca", "\"\"", "authority of the certificates of clients of the control API over TCP; a certificate gives no right by itself, its subject must be named")
    .form(Form::File)
    .on_restart(),
    text("control", "tls_clients", "\"required\"", "whether clients of the control API over TCP must show a certificate where there is an authority, or may have a token instead")
    .on_restart()
    .one_of(&["required", "optional"]),
    list("control", "admin_subjects", "[]", "subjects of certificates, as the log shows them, that may ask everything")
    .on_restart(),
    list("control", "read_subjects", "[]", "subjects of certificates that may look, and change nothing")
    .on_restart(),
    list("control", "announce_subjects", "[]", "subjects of certificates that may announce, and nothing else")
    .on_restart(),
    text("pool", "name", "\"\"", "the pool of new ports that are created on this node and name none; empty: none")
    .form(Form::Free),
    text("pool", "sync_listen", "\"\"", "address and port at which this node hears of the flows of other nodes of its shares; empty: flows are not copied")
    .on_restart(),
    text("pool", "sync_cert", "\"\"", "certificate that this node shows the others when flows are copied; its DNS name is node.id")
    .form(Form::File)
    .on_restart(),
    text("pool", "sync_key", "\"\"", "key of that certificate")
    .form(Form::File)
    .on_restart(),
    text("pool", "sync_ca", "\"\"", "authority of the certificates of all nodes between which flows are copied")
    .form(Form::File)
    .on_restart(),
    text("pool", "sync_interval", "\"50ms\"", "how often new flows are told to the other nodes of a share")
    .form(Form::Period)
    .on_restart(),
    text("pool", "hold", "\"3s\"", "how long what continues an unknown flow of a share is dropped silently, once the share has come to this node: its copy may still be on its way")
    .form(Form::Period),
    text("console", "listen", "\"\"", "address of the management console; 127.0.0.1:9443 is usual")
    .form(Form::Listen)
    .on_restart(),
    list("console", "hosts", "[]", "more names that the console is asked by where it has no TLS, besides addresses and this node's own names")
    .on_restart(),
    text("console", "token_file", "\"\"", "token that signs in to the console and may change everything")
    .form(Form::File)
    .on_restart(),
    text("console", "password_file", "\"\"", "users of the console: NAME:admin:HASH or NAME:read:HASH, a line each; hashes as argon2 -id -e prints them")
    .form(Form::File)
    .on_restart(),
    text("console", "tls_cert", "\"\"", "certificate of the console; empty: the control API's, where it has one")
    .form(Form::File)
    .on_restart(),
    text("console", "tls_key", "\"\"", "key of the console; empty: the control API's, where it has one")
    .form(Form::File)
    .on_restart(),
    text("console", "tls_client_ca", "\"\"", "authority of the certificates that browsers must show before anybody can sign in to the console; empty: none is asked for")
    .form(Form::File)
    .on_restart(),
    text("metrics", "listen", "\"\"", "address of the metrics, which are at /metrics there; the control socket has them too")
    .form(Form::Listen)
    .on_restart(),
    list("metrics", "hosts", "[]", "more names that the metrics are asked by, besides addresses and this node's own names")
    .on_restart(),
    text("metrics", "per_backend", "\"auto\"", "whether backends have metrics of their own; auto: while there are at most 1000 of them")
    .one_of(&["auto", "on", "off"]),
    text("log", "level", "\"info\"", "the agent's log level").one_of(LEVELS),
    text("log", "datapath", "\"off\"", "log level of the kernel programs")
    .one_of(LEVELS),
    text("log", "rotate", "\"daily\"", "when a new log file is begun")
    .on_restart()
    .one_of(&["daily", "hourly", "never"]),
    number("log", "size_mib", "64", "how large one log file may be, in MiB; one that is full is set aside, and the one before it goes")
    .within(1, 65_536)
    .on_restart(),
    number("log", "keep", "14", "how many files of each log are kept")
    .within(1, 3_650)
    .on_restart(),
    text("paths", "run", "\"/run/harbor\"", "socket and lock")
    .form(Form::Path).on_restart(),
    text("paths", "state", "\"/var/lib/harbor\"", "the embedded registry, and the journal of a shared one")
    .form(Form::Path)
    .on_restart(),
    text("paths", "log", "\"/var/log/harbor\"", "the four log files")
    .form(Form::Path)
    .on_restart(),
    text("paths", "bpf", "\"/sys/fs/bpf/harbor\"", "pinned maps and links")
    .form(Form::Path)
    .on_restart(),
];
