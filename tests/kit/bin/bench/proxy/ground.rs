//! One lab, and every way from its client to its app.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::Result;
use kit::{Agent, Config, Lab, Process, Topology, V4, eventually};
use nix::sys::signal::Signal;

use super::{app, processor};
use crate::packet;

/// Where the app answers, and where it takes what comes.
const ASKED: u16 = 9_001;
const FILLED: u16 = 9_002;

/// A way from client to app.
pub(crate) struct Way {
    pub(crate) name: &'static str,
    pub(crate) asked: SocketAddr,
    pub(crate) filled: SocketAddr,
    /// The processes that carry it; none: the kernel routes.
    pub(crate) processes: Vec<u32>,
}

pub(crate) struct Ground {
    pub(crate) lab: Lab,
    pub(crate) ways: Vec<Way>,
    _agent: Agent,
    _haproxy: Process,
    nginx: Process,
}

impl Drop for Ground {
    /// Asks nginx to end: were it killed, its workers would stay.
    fn drop(&mut self) {
        self.nginx.signal(Signal::SIGTERM);
        self.nginx.wait(Duration::from_secs(10));
    }
}

impl Ground {
    pub(crate) fn new() -> Result<Self> {
        let lab = Lab::new(Topology::Direct);
        packet::forward(&lab);
        // A client must not run out of ports of its own; reusing them is part of the exercise.
        for host in [&lab.client, &lab.node] {
            host.set("net/ipv4/ip_local_port_range", "10000 34000");
            host.set("net/ipv4/tcp_tw_reuse", "1");
        }
        let app = [ASKED, FILLED].map(|port| SocketAddr::new(lab.app(V4, 0), port));
        app::answer(&lab.apps[0], app[0])?;
        app::take(&lab.apps[0], app[1])?;
        let haproxy = haproxy(&lab, app)?;
        let nginx = nginx(&lab, app)?;
        let config = Config::with("[datapath]\nmode = \"proxy\"\n");
        let mut agent = Agent::start_with(&lab, &config);
        let [asked, filled] = numbers(2);
        for (name, number, app) in [("asked", asked, app[0]), ("filled", filled, app[1])] {
            let (number, backend) = (number.to_string(), app.to_string());
            agent.create(&[name, "--port", &number, "--backend", &backend]);
        }
        let way = |name, [asked, filled]: [u16; 2], processes| Way {
            name,
            asked: SocketAddr::new(lab.public(V4), asked),
            filled: SocketAddr::new(lab.public(V4), filled),
            processes,
        };
        let ways = vec![
            Way {
                name: "plain routing",
                asked: app[0],
                filled: app[1],
                processes: Vec::new(),
            },
            way("HAProxy", numbers(0), processor::family(haproxy.id())?),
            way("nginx", numbers(1), processor::family(nginx.id())?),
            way("Harbor", numbers(2), vec![agent.process().id()]),
        ];
        for way in &ways {
            let is_there =
                || TcpStream::connect_timeout(&way.asked, Duration::from_secs(1)).is_ok();
            eventually(Duration::from_secs(10), || lab.client.enter(is_there));
        }
        Ok(Self {
            ways,
            _agent: agent,
            _haproxy: haproxy,
            nginx,
            lab,
        })
    }
}

/// The public numbers of a proxy.
fn numbers(proxy: u16) -> [u16; 2] {
    [35_001 + 10 * proxy, 35_002 + 10 * proxy]
}

fn haproxy(lab: &Lab, app: [SocketAddr; 2]) -> Result<Process> {
    let mut text =
        "global\n  nbthread 2\n  maxconn 4000\ndefaults\n  mode tcp\n  timeout connect 5s\n  \
                    timeout client 60s\n  timeout server 60s\n  option splice-auto\n"
            .to_owned();
    for (number, app) in numbers(0).iter().zip(app) {
        let public = SocketAddr::new(lab.public(V4), *number);
        text += &format!("listen p{number}\n  bind {public}\n  server app {app}\n");
    }
    let path = lab.folder().join("haproxy.cfg");
    fs::write(&path, text)?;
    let mut command = lab.node.command("haproxy");
    command.arg("-db").arg("-f").arg(&path);
    Ok(Process::start(&mut command, lab.folder(), "haproxy"))
}

fn nginx(lab: &Lab, app: [SocketAddr; 2]) -> Result<Process> {
    let folder = lab.folder().display();
    let mut text = format!(
        "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\ndaemon off;\nworker_processes 2;\n\
         error_log {folder}/nginx.log;\npid {folder}/nginx.pid;\nworker_rlimit_nofile 20000;\n\
         events {{ worker_connections 9000; }}\nstream {{\n  proxy_connect_timeout 5s; proxy_timeout 60s;\n"
    );
    for (number, app) in numbers(1).iter().zip(app) {
        let public = SocketAddr::new(lab.public(V4), *number);
        text += &format!("  server {{ listen {public} reuseport; proxy_pass {app}; }}\n");
    }
    text += "}\n";
    let path = lab.folder().join("nginx.conf");
    fs::write(&path, text)?;
    let mut command = lab.node.command("nginx");
    command.arg("-c").arg(&path);
    let process = Process::start(&mut command, lab.folder(), "nginx");
    eventually(Duration::from_secs(10), || {
        processor::family(process.id()).is_ok_and(|family| family.len() > 2)
    });
    Ok(process)
}
