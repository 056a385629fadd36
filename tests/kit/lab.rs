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
//! Names carry the process id: labs of parallel tests never meet, and what a killed test left
//! behind is found and removed by the next.

use std::{
    env, fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::{
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
    switch: Netns,
    topology: Topology,
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

    /// The node's address that clients dial.
    pub fn public(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 1, 1)
    }

    /// The node's address that backends see.
    pub fn translation(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.backend_net(), 1)
    }

    /// The client's address.
    pub fn client_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 1, 2)
    }

    /// The address of an app host, counted from 0.
    pub fn app(&self, index: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.backend_net(), 11 + index)
    }

    /// The node's interface towards clients.
    pub fn client_side(&self) -> &'static str {
        "eth0"
    }

    /// The node's interface towards backends.
    pub fn backend_side(&self) -> &'static str {
        match self.topology {
            Topology::Routed => "eth1",
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

    /// `<bpf>/v<layout>/maps`.
    pub fn maps(&self) -> PathBuf {
        self.bpf()
            .join(format!("v{}", harbor_common::maps::LAYOUT))
            .join("maps")
    }

    /// `<bpf>/v<layout>/links`.
    pub fn links(&self) -> PathBuf {
        self.bpf()
            .join(format!("v{}", harbor_common::maps::LAYOUT))
            .join("links")
    }

    /// Lets the lab stand when this program ends; for one that is [`Lifetime::Lasting`].
    pub fn keep(self) {
        std::mem::forget(self);
    }

    fn backend_net(&self) -> u8 {
        match self.topology {
            Topology::Routed => 2,
            Topology::Bridged => 1,
        }
    }

    fn connect(&self) {
        // Router solicitations and the like would stand in counters that tests compare.
        for host in [
            &self.client,
            &self.node,
            &self.apps[0],
            &self.apps[1],
            &self.switch,
        ] {
            host.set("net/ipv6/conf/all/disable_ipv6", "1");
            host.set("net/ipv6/conf/default/disable_ipv6", "1");
        }
        self.node.set("net/ipv4/ip_forward", "0");
        // A snooping bridge would announce itself to its ports by multicast.
        self.switch
            .ip("link add br0 type bridge mcast_snooping 0\nlink set br0 up");
        match self.topology {
            Topology::Routed => {
                let (client, node) = (self.client.name(), self.node.name());
                let (client_mac, node_mac) = (mac(CLIENT_MAC), mac(NODE_MAC));
                netns::batch(
                    &mut Command::new("ip"),
                    &format!(
                        "link add eth0 netns {client} address {client_mac} type veth \
                     peer name eth0 netns {node} address {node_mac}"
                    ),
                );
                self.plug(&self.node, "eth1", NODE_BACKEND_MAC);
            }
            Topology::Bridged => {
                self.plug(&self.client, "eth0", CLIENT_MAC);
                self.plug(&self.node, "eth0", NODE_MAC);
            }
        }
        for (app, mac) in self.apps.iter().zip(APP_MACS) {
            self.plug(app, "eth0", mac);
        }
        self.address(&self.client, "eth0", self.client_address());
        self.address(&self.node, "eth0", self.public());
        if self.topology == Topology::Routed {
            self.address(&self.node, "eth1", self.translation());
        }
        self.address(&self.apps[0], "eth0", self.app(0));
        self.address(&self.apps[1], "eth0", self.app(1));
    }

    /// Gives a host an interface, and plugs its other end into the switch.
    fn plug(&self, host: &Netns, interface: &str, hardware: [u8; 6]) {
        let port = format!("port-{:02x}{:02x}", hardware[4], hardware[5]);
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

    fn address(&self, host: &Netns, interface: &str, address: Ipv4Addr) {
        host.ip(&format!(
            "addr add {address}/24 dev {interface}\nlink set {interface} up"
        ));
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
