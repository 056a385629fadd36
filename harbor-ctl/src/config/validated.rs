//! The configuration that the agent uses: typed, checked, complete.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use super::{
    check::Check,
    console::ConsoleConfig,
    control::ControlConfig,
    gateway::{GatewayConfig, Limits, Public},
    logs::LogConfig,
    metrics::MetricsConfig,
    pool::PoolConfig,
    problem::{ConfigError, Problem},
    proxy::ProxyConfig,
    raw::Layers,
};
use ipnet::IpNet;

use crate::model::{HealthDefaults, Mode, PortRange, RegistryUrl, Timeouts, parse_network};

/// Everything that can be configured, valid.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) node: String,
    /// This node's host name; empty: the system's.
    pub(crate) hostname: String,
    pub(crate) public: Public,
    /// Empty: choose by itself.
    pub(crate) interfaces: Vec<String>,
    /// Empty: every address of the chosen interfaces.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) range: PortRange,
    pub(crate) rest: Duration,
    pub(crate) mode: Mode,
    /// `auto`, `tcx` or `clsact`.
    pub(crate) hook: String,
    pub(crate) flows: u32,
    pub(crate) source_ports: PortRange,
    /// More addresses of the node that translated packets may leave with.
    pub(crate) source_addresses: Vec<IpAddr>,
    /// `[tls].folder`
    pub(crate) certificates: PathBuf,
    pub(crate) proxy: ProxyConfig,
    pub(crate) timeouts: Timeouts,
    pub(crate) drain: Duration,
    pub(crate) allow_networks: Vec<IpNet>,
    /// `[policy].min_path_mtu`
    pub(crate) min_path_mtu: u32,
    /// The folder with a file an app host.
    pub(crate) app_hosts: Option<PathBuf>,
    /// Where alone backends may be; empty: wherever.
    pub(crate) backend_networks: Vec<IpNet>,
    /// `[policy].passive`
    pub(crate) is_passive_on: bool,
    /// `[policy].reverse_path` is `connected`.
    pub(crate) is_guarded: bool,
    pub(crate) lease: Duration,
    pub(crate) control: ControlConfig,
    /// `None`: off.
    pub(crate) gateway: Option<GatewayConfig>,
    pub(crate) limits: Limits,
    pub(crate) health: HealthDefaults,
    pub(crate) registry: RegistryConfig,
    pub(crate) console: ConsoleConfig,
    pub(crate) pool: PoolConfig,
    pub(crate) metrics: MetricsConfig,
    pub(crate) log: LogConfig,
    pub(crate) paths: Paths,
}

/// `[registry]`
#[derive(Clone, Debug)]
pub(crate) struct RegistryConfig {
    pub(crate) url: RegistryUrl,
    pub(crate) cluster: String,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) timeout: Duration,
}

/// `[paths]`
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    pub(crate) run: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) bpf: PathBuf,
}

impl Paths {
    /// The control socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.run.join("harbor.sock")
    }
}

/// Checks every entry; answers all problems at once.
pub(crate) fn validate(layers: Layers) -> Result<Config, ConfigError> {
    let mut check = Check { layers };
    check.choices();
    let config = check.config();
    let mut problems = check.layers.problems;
    problems.sort_by_key(Problem::position);
    if problems.is_empty() {
        Ok(config)
    } else {
        Err(ConfigError { problems })
    }
}

impl Check {
    fn config(&mut self) -> Config {
        let second = Duration::from_secs(1);
        let range = self.read(
            "ports.range",
            |text| text.parse::<PortRange>(),
            placeholder(),
        );
        let source_ports = self.read("datapath.source_ports", str::parse, placeholder());
        self.ranges_apart(range, source_ports);
        Config {
            node: self.name("node.id"),
            hostname: self.host_name("node.hostname"),
            public: self.public(),
            interfaces: self.list_or_auto("node.interfaces", check_interface),
            addresses: self.list_or_auto("node.addresses", own_address),
            range,
            rest: self.period("ports.rest", Duration::ZERO),
            // A bad choice was already reported.
            mode: self.text("datapath.mode").parse().unwrap_or_default(),
            hook: self.text("datapath.hook"),
            flows: self.number("datapath.flows") as u32,
            source_ports,
            source_addresses: self.list("datapath.source_addresses", own_address),
            certificates: self.path("tls.folder"),
            proxy: self.proxy(),
            timeouts: self.timeouts(),
            drain: self.period("policy.drain", Duration::ZERO),
            allow_networks: self.list("policy.allow_networks", parse_network),
            min_path_mtu: self.number("policy.min_path_mtu") as u32,
            is_guarded: self.text("policy.reverse_path") == "connected",
            backend_networks: self.list("policy.backend_networks", parse_network),
            app_hosts: self.file("discovery.hosts"),
            is_passive_on: self.text("policy.passive") == "on",
            lease: self.period("discovery.lease", second * 3),
            control: self.control(),
            gateway: self.gateway(),
            limits: self.limits(),
            health: self.health(),
            registry: RegistryConfig {
                url: self.read("registry.url", str::parse, RegistryUrl::Embedded),
                cluster: self.name("registry.cluster"),
                password_file: self.file("registry.password_file"),
                ca_file: self.file("registry.ca_file"),
                timeout: self.period("registry.timeout", Duration::from_millis(100)),
            },
            console: self.console(),
            pool: self.pool(),
            metrics: self.metrics(),
            log: self.log(),
            paths: Paths {
                run: self.path("paths.run"),
                state: self.path("paths.state"),
                log: self.path("paths.log"),
                bpf: self.path("paths.bpf"),
            },
        }
    }

    fn ranges_apart(&mut self, range: PortRange, source_ports: PortRange) {
        // Some servers believe only whoever has a number that needs privileges (rcmd(3)).
        let (is_privileged, needed) = match source_ports.end() < 1_024 {
            true => (true, 256),
            false => (false, 1_024),
        };
        let is_mixed = !is_privileged && source_ports.start() < 1_024;
        if is_mixed || source_ports.len() < needed {
            let message = format!(
                "datapath.source_ports = \"{source_ports}\": 1024 numbers or more are needed, none below 1024; or 256 or more, all below 1024"
            );
            self.problem("datapath.source_ports", message, None);
        }
        if range.overlaps(source_ports) {
            let message = format!(
                "ports.range = \"{range}\" overlaps datapath.source_ports = \"{source_ports}\""
            );
            self.problem(
                "ports.range",
                message,
                Some("keep the two ranges apart".into()),
            );
        }
    }
}

/// An address that the node may have.
fn own_address(text: &str) -> Result<IpAddr, String> {
    let wrong = |what: &str| Err(format!("{text:?} is {what}"));
    match text.parse::<IpAddr>() {
        Err(_) => wrong("not an IP address"),
        Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_some() => {
            wrong("an IPv4 address in IPv6 notation: write the IPv4 address")
        }
        Ok(IpAddr::V6(v6)) if v6.is_unicast_link_local() => {
            wrong("a link-local address, which serves no ports")
        }
        Ok(address) => Ok(address),
    }
}

fn check_interface(name: &str) -> Result<String, String> {
    let good = |c: char| !c.is_whitespace() && !c.is_control() && c != '/';
    if name.is_empty() || name.len() > 15 || !name.chars().all(good) {
        return Err(format!("{name:?} is not an interface name"));
    }
    Ok(name.to_owned())
}

fn placeholder() -> PortRange {
    // Any valid range will do: the problem list is not empty, so it never gets out.
    PortRange::new(1, 1).unwrap_or_else(|_| unreachable!("1-1 is a range"))
}
