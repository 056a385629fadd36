//! A lab for each mode, made once: client, node and app host on wires of their own.

use std::{
    fmt::Write as _,
    io,
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
    time::Duration,
};

use anyhow::{Context, Result};
use kit::{Agent, Config, Lab, Process, Topology, V4, eventually, finish, traffic};
use nix::libc;

use super::frames::FIRST_PORT;

/// Where the app answers.
pub(crate) const APP_PORT: u16 = 9_002;
/// The public port.
const PORT: u16 = 35_002;

/// What stands between client and app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mode {
    /// The kernel forwards, nothing is translated: the yardstick.
    Route,
    /// Destination NAT and masquerade.
    Nftables,
    /// An agent and its datapath at TC.
    Harbor,
    /// The same, established flows at XDP.
    HarborXdp,
    /// At TC, while somebody traces every packet.
    HarborTraced,
}

impl Mode {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Route => "plain routing",
            Self::Nftables => "nftables",
            Self::Harbor => "harbor tc",
            Self::HarborXdp => "harbor xdp",
            Self::HarborTraced => "harbor tc, traced",
        }
    }
}

/// What is sent through the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Traffic {
    /// For the port, or with plain routing for the app.
    Own,
    /// For the app, in every mode: the node routes it.
    Foreign,
}

/// A lab in one mode, its flows established.
pub(crate) struct Ground {
    pub(crate) mode: Mode,
    pub(crate) lab: Lab,
    /// Where clients send to.
    pub(crate) to: SocketAddr,
    agent: Option<Agent>,
    _app: Process,
    trace: Option<Process>,
}

/// One ground for each mode, with so many flows that have been answered twice.
pub(crate) fn all(modes: &[Mode], flows: u32, traffic: Traffic) -> Result<Vec<Ground>> {
    let make = |mode: &Mode| {
        let ground = Ground::new(*mode, traffic)?;
        ground
            .establish(flows)
            .context("flows cannot be established")?;
        Ok(match mode {
            Mode::HarborTraced => ground.traced(),
            _ => ground,
        })
    };
    modes.iter().map(make).collect()
}

impl Ground {
    fn new(mode: Mode, traffic: Traffic) -> Result<Self> {
        let lab = Lab::new(Topology::Direct);
        let app = SocketAddr::new(lab.app(V4, 0), APP_PORT);
        let server = traffic::serve(&lab.apps[0], lab.folder(), "app1", &[app]);
        for (host, interface) in [
            (&lab.client, "eth0"),
            (&lab.node, "eth0"),
            (&lab.node, "eth1"),
            (&lab.apps[0], "eth0"),
        ] {
            host.enter(|| receive_in_batches(interface))
                .context(interface)?;
        }
        introduce(&lab);
        let public = SocketAddr::new(lab.public(V4), PORT);
        let (to, agent) = match mode {
            Mode::Route => {
                forward(&lab);
                (app, None)
            }
            Mode::Nftables => {
                forward(&lab);
                translate(&lab, app);
                (public, None)
            }
            Mode::Harbor | Mode::HarborXdp | Mode::HarborTraced => {
                let hook = if mode == Mode::HarborXdp { "xdp" } else { "tc" };
                // All flows are one client's.
                let config = format!(
                    "[datapath]\nmode = \"{hook}\"\n[limits]\nflows_per_client = 1000000\nflows_per_port = 1000000\n"
                );
                let agent = Agent::start_with(&lab, &Config::with(&config));
                let port = PORT.to_string();
                agent.create(&[
                    "udp-bench",
                    "--port",
                    &port,
                    "--backend",
                    &app.to_string(),
                    "max_per_client=0",
                ]);
                (public, Some(agent))
            }
        };
        let to = match traffic {
            Traffic::Own => to,
            Traffic::Foreign => {
                if agent.is_some() {
                    forward(&lab);
                }
                app
            }
        };
        Ok(Self {
            mode,
            lab,
            to,
            agent,
            _app: server,
            trace: None,
        })
    }

    /// The same, with somebody who follows every packet.
    fn traced(mut self) -> Self {
        if let Some(agent) = &self.agent {
            let mut command = self.lab.node.command(kit::binary("harbor-ctl"));
            let command = command.arg("--socket").arg(agent.socket());
            let trace = command.args(["trace", "-o", "name"]);
            self.trace = Some(Process::start(trace, self.lab.folder(), "trace"));
            eventually(Duration::from_secs(30), || {
                agent.ctl(&["status"]).stdout.contains("somebody traces")
            });
        }
        self
    }

    /// Asks from every flow's port, twice: what has been answered once only may make room.
    fn establish(&self, flows: u32) -> io::Result<()> {
        self.lab.client.enter(|| {
            for flow in 0..flows {
                let port = FIRST_PORT + flow as u16;
                let socket = UdpSocket::bind((V4.any(), port))?;
                socket.set_read_timeout(Some(Duration::from_secs(5)))?;
                socket.connect(self.to)?;
                for _ in 0..2 {
                    socket.send(b"?")?;
                    socket.recv(&mut [0; 64])?;
                }
            }
            Ok(())
        })
    }
}

/// The plain kernel way: the node is a router, and the hosts know it.
pub(crate) fn forward(lab: &Lab) {
    lab.node.set("net/ipv4/ip_forward", "1");
    let app_side = lab.translation(V4);
    lab.client
        .ip(&format!("route add default via {}", lab.public(V4)));
    lab.apps[0].ip(&format!("route add default via {app_side}"));
}

fn translate(lab: &Lab, app: SocketAddr) {
    let rules = format!(
        "table ip bench {{
           chain pre {{ type nat hook prerouting priority dstnat;
             iifname eth0 udp dport {PORT} dnat to {app}; }}
           chain post {{ type nat hook postrouting priority srcnat;
             oifname eth1 masquerade; }}
         }}"
    );
    finish(lab.node.command("nft").arg(rules)).ok();
}

/// Neighbours for good, so that nobody asks for them while it is measured.
fn introduce(lab: &Lab) {
    let mac = |octets: [u8; 6]| octets.map(|octet| format!("{octet:02x}")).join(":");
    let line = |address, hardware, interface| {
        format!("neigh replace {address} lladdr {hardware} dev {interface} nud permanent\n")
    };
    let (client, app) = (lab.client_address(V4), lab.app(V4, 0));
    let mut lines = line(client, mac(kit::CLIENT_MAC), "eth0");
    let _ = write!(lines, "{}", line(app, mac(kit::APP_MACS[0]), "eth1"));
    lab.node.ip(&lines);
    lab.client
        .ip(&line(lab.public(V4), mac(kit::NODE_MAC), "eth0"));
    let node = mac(kit::NODE_BACKEND_MAC);
    lab.apps[0].ip(&line(lab.translation(V4), node, "eth0"));
}

/// Switches an interface's receive offload on: a veth takes frames from XDP only when its peer polls.
fn receive_in_batches(interface: &str) -> io::Result<()> {
    /// `ETHTOOL_SGRO`, and what it takes.
    #[repr(C)]
    struct Value {
        command: u32,
        data: u32,
    }
    let socket = UdpSocket::bind((V4.loopback(), 0))?;
    let mut value = Value {
        command: 0x2c,
        data: 1,
    };
    // SAFETY: all zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: SIOCETHTOOL reads and writes the value that the request points to, which outlives it.
    let result =
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
