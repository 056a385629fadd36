//! What the interfaces of a lab do for the hosts behind them.

use nix::net::if_::if_nametoindex;

use crate::{
    lab::{APP_MACS, Lab, NODE_BACKEND_MAC, NODE_MAC, Topology, port},
    process::finish,
};

impl Lab {
    /// Has every host send frames whose checksums are finished, as they come from a wire, and has the far
    /// ends of the node's interfaces take frames from XDP programs, as the drivers of network cards do.
    pub fn finish_frames(&self) {
        let node = match self.topology {
            Topology::Bridged => NODE_MAC,
            Topology::Routed | Topology::Direct => NODE_BACKEND_MAC,
        };
        let hosts = [&self.client, &self.apps[0], &self.apps[1]];
        let hosts = hosts.map(|host| (host, "eth0".to_owned()));
        for (host, interface) in hosts.into_iter().chain([(&self.switch, port(node))]) {
            if host.enter(|| if_nametoindex(interface.as_str())).is_ok() {
                let mut ethtool = host.command("ethtool");
                ethtool.args(["-K", &interface, "tx", "off", "gro", "on"]);
                finish(&mut ethtool).ok();
            }
        }
    }

    /// Lets packets of this size through the switch.
    pub fn widen_switch(&self, mtu: u32) {
        let hosts = [NODE_BACKEND_MAC, APP_MACS[0], APP_MACS[1]].map(port);
        for interface in hosts {
            self.switch.ip(&format!("link set {interface} mtu {mtu}"));
        }
        self.switch.ip(&format!("link set br0 mtu {mtu}"));
    }
}
