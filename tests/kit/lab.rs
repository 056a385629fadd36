//! The lab: a client, a node and two app hosts in namespaces of their own, and a switch between.
//!
//! ```text
//! routed    client 10.77.1.2 ---- 10.77.1.1 node 10.77.2.1 ----+---- app1 10.77.2.11
//!                            eth0           eth1               +---- app2 10.77.2.12
//!
//! bridged   client 10.77.1.2 --+-- 10.77.1.1 node              everything on one switch,
//!                              +-- 10.77.1.11 app1             and the node has one interface
//!                              +-- 10.77.1.12 app2
//! ```
//!
//! Each host has the same addresses in IPv6: fd77:2::11 beside 10.77.2.11, and so on.
//!
//! Names carry the process id: labs of parallel tests never meet, and what a killed test left
//! behind is found and removed by the next.

use std::{
    env, fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{self, Command},
    sync::{
        Once,
        atomic::{AtomicU8, AtomicU32, Ordering},
    },
};

use crate::{
    Family,
    bpffs::{self, Bpffs},
    netns::{self, Lifetime, Netns},
    process::finish,
};

/// How the lab's hosts are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// The node stands between the clients' network and the app hosts'.
    Routed,
    /// All are neighbours on one switch.
    Bridged,
    /// As routed, with the first app host on a wire of its own and the second unplugged: nothing but
    /// the node lies between client and app.
    Direct,
}

/// Four hosts and a switch; removed with this guard.
#[derive(Debug)]
pub struct Lab {
    /// Where connections come from.
    pub client: Netns,
    /// Where Harbor runs.
    pub node: Netns,
    /// The app hosts.
    pub apps: [Netns; 2],
    pub(crate) switch: Netns,
    /// How many hosts were added.
    more: AtomicU8,
    pub(crate) topology: Topology,
    bpffs: Bpffs,
    folder: PathBuf,
}

/// The hardware addresses; fixed, so that frames can be written by hand.
pub const NODE_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
/// The node's second interface.
pub const NODE_BACKEND_MAC: [u8; 6] = [2, 0, 0, 0, 2, 1];
/// The client's interface.
pub const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 1, 2];
/// The app hosts' interfaces.
pub const APP_MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 2, 11], [2, 0, 0, 0, 2, 12]];

impl Lab {
    /// A lab of this topology, with names of its own.
    pub fn new(topology: Topology) -> Self {
        static SWEEP: Once = Once::new();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        SWEEP.call_once(sweep);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self::named(
            &format!("{PREFIX}{}-{number}", process::id()),
            topology,
            Lifetime::Guard,
        )
    }

    /// A lab whose namespaces and folder begin with `prefix`.
    pub fn named(prefix: &str, topology: Topology, lifetime: Lifetime) -> Self {
        let folder = env::temp_dir().join(prefix);
        fs::create_dir_all(&folder).unwrap();
        let netns = |role: &str| Netns::create(format!("{prefix}-{role}"), lifetime);
        let lab = Self {
            client: netns("client"),
            node: netns("node"),
            apps: [netns("app1"), netns("app2")],
            switch: netns("switch"),
            more: AtomicU8::new(0),
            topology,
            bpffs: Bpffs::mount(folder.join("bpf")),
            folder,
        };
        lab.connect();
        lab
    }

    /// The node between two networks.
    pub fn routed() -> Self {
        Self::new(Topology::Routed)
    }

    /// All on one switch.
    pub fn bridged() -> Self {
        Self::new(Topology::Bridged)
    }

    /// The same lab with a node that routes, as one with other duties does.
    #[must_use]
    pub fn forwarding(self) -> Self {
        self.node.set("net/ipv4/ip_forward", "1");
        self.node.set("net/ipv6/conf/all/forwarding", "1");
        self
    }

    /// The node's address that clients dial.
    pub fn public(&self, family: Family) -> IpAddr {
        address(family, 1, 1)
    }

    /// The node's address that backends see.
    pub fn translation(&self, family: Family) -> IpAddr {
        address(family, self.backend_net(), 1)
    }

    /// The client's address.
    pub fn client_address(&self, family: Family) -> IpAddr {
        address(family, 1, 2)
    }

    /// The address of an app host, counted from 0.
    pub fn app(&self, family: Family, index: u8) -> IpAddr {
        self.backend_host(family, 11 + index)
    }

    /// The address of any host of the backends' network; nobody has to have it.
    pub fn backend_host(&self, family: Family, host: u8) -> IpAddr {
        address(family, self.backend_net(), host)
    }

    /// The address of any host of the clients' network; nobody has to have it.
    pub fn client_host(&self, family: Family, host: u8) -> IpAddr {
        address(family, 1, host)
    }

    /// Adds a host to the backends' network, for example for another node.
    pub fn another(&self) -> Netns {
        let number = 21 + self.more.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}{number}", self.node.name());
        let host = Netns::create(name, Lifetime::Guard);
        hush(&host);
        self.plug(&host, "eth0", [2, 0, 0, 0, 2, number]);
        self.address(&host, "eth0", |family| self.backend_host(family, number));
        host
    }

    /// Takes a host that was added out of the switch, or puts it back; it does not notice by itself.
    pub fn unplug(&self, host: &Netns, is_unplugged: bool) {
        let number = host.name().strip_prefix(self.node.name());
        let number: u8 = number.and_then(|number| number.parse().ok()).unwrap();
        let port = port([2, 0, 0, 0, 2, number]);
        let master = if is_unplugged {
            "nomaster"
        } else {
            "master br0"
        };
        self.switch.ip(&format!("link set {port} {master}"));
    }

    /// A port of both addresses of an app host.
    pub fn app_ports(&self, index: u8, port: u16) -> [SocketAddr; 2] {
        Family::BOTH.map(|family| SocketAddr::new(self.app(family, index), port))
    }

    /// The node's interface towards clients.
    pub fn client_side(&self) -> &'static str {
        "eth0"
    }

    /// The node's interface towards backends.
    pub fn backend_side(&self) -> &'static str {
        match self.topology {
            Topology::Routed | Topology::Direct => "eth1",
            Topology::Bridged => "eth0",
        }
    }

    /// A folder for this lab's files; removed with it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The mounted bpffs; the agent's `[paths].bpf` lies in it.
    pub fn bpffs(&self) -> &Path {
        self.bpffs.path()
    }

    /// `[paths].bpf` of agents in this lab.
    pub fn bpf(&self) -> PathBuf {
        self.bpffs().join("harbor")
    }

    /// Removes the wire between client and node, and makes it anew with the same addresses.
    pub fn renew_client_link(&self) {
        self.node.ip("link del eth0");
        self.wire((&self.client, CLIENT_MAC), ("eth0", NODE_MAC));
        self.address(&self.client, "eth0", |family| self.client_address(family));
        self.address(&self.node, "eth0", |family| self.public(family));
    }

    /// Lets the lab stand when this program ends; for one that is [`Lifetime::Lasting`].
    pub fn keep(self) {
        std::mem::forget(self);
    }

    fn backend_net(&self) -> u8 {
        match self.topology {
            Topology::Routed | Topology::Direct => 2,
            Topology::Bridged => 1,
        }
    }

    fn connect(&self) {
        for host in [&self.client, &self.node, &self.apps[0], &self.apps[1]] {
            hush(host);
        }
        self.switch.set("net/ipv6/conf/default/disable_ipv6", "1");
        self.node.set("net/ipv4/ip_forward", "0");
        // A snooping bridge would announce itself to its ports by multicast.
        self.switch
            .ip("link add br0 type bridge mcast_snooping 0\nlink set br0 up");
        match self.topology {
            Topology::Routed => {
                self.wire((&self.client, CLIENT_MAC), ("eth0", NODE_MAC));
                self.plug(&self.node, "eth1", NODE_BACKEND_MAC);
            }
            Topology::Direct => {
                self.wire((&self.client, CLIENT_MAC), ("eth0", NODE_MAC));
                self.wire((&self.apps[0], APP_MACS[0]), ("eth1", NODE_BACKEND_MAC));
            }
            Topology::Bridged => {
                self.plug(&self.client, "eth0", CLIENT_MAC);
                self.plug(&self.node, "eth0", NODE_MAC);
            }
        }
        let wired = usize::from(self.topology == Topology::Direct);
        let unplugged = 2 * wired;
        for (app, mac) in self.apps.iter().zip(APP_MACS).skip(unplugged) {
            self.plug(app, "eth0", mac);
        }
        self.address(&self.client, "eth0", |family| self.client_address(family));
        self.address(&self.node, "eth0", |family| self.public(family));
        if self.topology != Topology::Bridged {
            self.address(&self.node, "eth1", |family| self.translation(family));
        }
        for (index, app) in (0..).zip(&self.apps).take(2 - wired) {
            self.address(app, "eth0", |family| self.app(family, index));
        }
    }

    /// Connects a host's `eth0` to an interface of the node by a wire of their own.
    fn wire(
        &self,
        (host, hardware): (&Netns, [u8; 6]),
        (interface, node_hardware): (&str, [u8; 6]),
    ) {
        let (host, node) = (host.name(), self.node.name());
        let (mac, node_mac) = (mac(hardware), mac(node_hardware));
        netns::batch(
            &mut Command::new("ip"),
            &format!(
                "link add eth0 netns {host} address {mac} type veth \
                 peer name {interface} netns {node} address {node_mac}"
            ),
        );
    }

    /// Gives a host an interface, and plugs its other end into the switch.
    fn plug(&self, host: &Netns, interface: &str, hardware: [u8; 6]) {
        let port = port(hardware);
        let (switch, netns) = (self.switch.name(), host.name());
        netns::batch(
            &mut Command::new("ip"),
            &format!(
                "link add {interface} netns {netns} address {} type veth peer name {port} netns {switch}",
                mac(hardware)
            ),
        );
        self.switch.ip(&format!("link set {port} master br0 up"));
    }

    fn address(&self, host: &Netns, interface: &str, of: impl Fn(Family) -> IpAddr) {
        // Without duplicate address detection: the address is there when the command has ended.
        host.ip(&format!(
            "addr add {}/24 dev {interface}\naddr add {}/64 dev {interface} nodad\n\
             link set {interface} up",
            of(Family::V4),
            of(Family::V6),
        ));
    }
}

/// The switch's end of the wire of an interface.
pub(crate) fn port(hardware: [u8; 6]) -> String {
    format!("port-{:02x}{:02x}", hardware[4], hardware[5])
}

/// Host `host` of the lab's network `net`. The IPv6 address is written as the IPv4 one is.
pub(crate) fn address(family: Family, net: u8, host: u8) -> IpAddr {
    let read = |number: u8| u16::from_str_radix(&number.to_string(), 16).unwrap();
    match family {
        Family::V4 => Ipv4Addr::new(10, 77, net, host).into(),
        Family::V6 => Ipv6Addr::new(0xfd77, read(net), 0, 0, 0, 0, 0, read(host)).into(),
    }
}

/// Keeps a host from saying anything by itself over IPv6: it would stand in counters that tests
/// compare. Addresses are learnt from nobody, routers asked for by nobody, and groups told to the
/// others once, while the lab is made.
pub(crate) fn hush(host: &Netns) {
    for (name, value) in [
        ("addr_gen_mode", "1"),
        ("accept_ra", "0"),
        ("router_solicitations", "0"),
        ("accept_dad", "0"),
        ("dad_transmits", "0"),
        // Milliseconds until the repetition: it comes at random within eleven days.
        ("mldv2_unsolicited_report_interval", "1000000000"),
    ] {
        host.set(&format!("net/ipv6/conf/default/{name}"), value);
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        bpffs::unmount(self.bpffs.path());
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn mac(octets: [u8; 6]) -> String {
    octets.map(|octet| format!("{octet:02x}")).join(":")
}

/// Begins the name of everything that a test makes; the process id follows.
const PREFIX: &str = "hbt";

/// Removes what killed test programs have left.
fn sweep() {
    let owner =
        |name: &str| -> Option<u32> { name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok() };
    let is_stale = |name: &str| {
        owner(name).is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
    };
    for name in netns::named(PREFIX).iter().filter(|name| is_stale(name)) {
        remove(name);
    }
    for entry in fs::read_dir(env::temp_dir())
        .into_iter()
        .flatten()
        .flatten()
    {
        if is_stale(&entry.file_name().to_string_lossy()) {
            bpffs::unmount(&entry.path().join("bpf"));
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Ends every process in a namespace, and deletes it.
fn remove(name: &str) {
    let pids = finish(Command::new("ip").args(["netns", "pids", name])).stdout;
    for pid in pids.lines().filter_map(|line| line.trim().parse().ok()) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL);
    }
    netns::delete(name);
}

/// Removes a lab that was kept, by its prefix; false if there was none.
pub fn tear_down(prefix: &str) -> bool {
    let folder = env::temp_dir().join(prefix);
    let names = netns::named(&format!("{prefix}-"));
    let found = !names.is_empty() || folder.exists();
    for name in names {
        remove(&name);
    }
    bpffs::unmount(&folder.join("bpf"));
    let _ = fs::remove_dir_all(&folder);
    found
}
