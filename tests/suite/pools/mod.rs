//! Pools: nodes that have the same ports, and addresses that keepalived moves between them.

mod copies;
mod crowd;
mod ends;
mod moving;
mod records;
mod soak;

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use kit::{Agent, Family, Keepalived, Lab, Netns, Process, Redis, certify, eventually, traffic};
use serde_json::Value;

use crate::{
    registry::{other, redis_of},
    scene::APP_PORT,
};

/// A share comes to a node within this time, on a machine that has much to do.
const SETTLED: Duration = Duration::from_secs(30);
/// Where nodes hear of flows.
const SYNC: u16 = 7_946;
/// The names of the two nodes.
const NODES: [&str; 2] = ["one", "two"];

/// Two nodes on one segment with the client and the app hosts, and a registry that they share. Fields are
/// dropped in this order.
struct Pair {
    movers: [Keepalived; 2],
    agents: [Agent; 2],
    #[expect(dead_code, reason = "held so that the apps run as long as the pair")]
    apps: [Process; 2],
    redis: Redis,
    hosts: [Netns; 2],
    lab: Lab,
}

impl Pair {
    /// With a pool `web` of one share `a` that has addresses of both families.
    #[track_caller]
    fn start() -> Self {
        let lab = Lab::bridged();
        let redis = redis_of(&lab);
        let serve = |index: u8, name: &str| {
            let host = &lab.apps[usize::from(index)];
            traffic::serve(host, lab.folder(), name, &lab.app_ports(index, APP_PORT))
        };
        let apps = [serve(0, "app1"), serve(1, "app2")];
        let config = sync_configs(&lab);
        let start = |index: usize| {
            let config = format!("{}{}", redis.config(NODES[index]), config[index]);
            other(&lab, &config, NODES[index])
        };
        let agents = [start(0), start(1)];
        let hosts = [0, 1].map(|index| agents[index].host().clone());
        let [one, _] = &agents;
        one.ctl(&["pool", "create", "web"]).ok();
        let addresses = |host: u8| {
            let each = Family::BOTH.map(|family| lab.client_host(family, host).to_string());
            each.join(",")
        };
        let (public, translation) = (addresses(51), addresses(61));
        let words = ["pool", "share", "add", "web", "a", "--nodes", "one,two"];
        let more = ["--public", &public, "--translation", &translation];
        one.ctl(&[&words[..], &more[..]].concat()).ok();
        for agent in &agents {
            eventually(SETTLED, || !share(agent)["id"].is_null());
        }
        let movers = [0, 1].map(|index| mover(&lab, &agents[index], NODES[index]));
        let pair = Self {
            movers,
            agents,
            apps,
            redis,
            hosts,
            lab,
        };
        eventually(SETTLED, || pair.is_well());
        pair
    }

    /// Whether each node sees one holder, and nothing wrong.
    fn is_well(&self) -> bool {
        self.agents.iter().all(|agent| {
            let share = share(agent);
            share["holders"]
                .as_array()
                .is_some_and(|holders| holders.len() == 1)
                && share["problem"].is_null()
        })
    }

    /// The node that has the share, by its own word.
    #[track_caller]
    fn holder(&self) -> usize {
        let holders: Vec<usize> = (0..2).filter(|index| self.has_share(*index)).collect();
        assert_eq!(holders.len(), 1, "{holders:?}");
        holders[0]
    }

    fn has_share(&self, index: usize) -> bool {
        share(&self.agents[index])["here"] == true
    }

    /// Whether this node has the share alone, and nothing is wrong.
    fn is_well_at(&self, index: usize) -> bool {
        self.is_well() && self.has_share(index) && !self.has_share(1 - index)
    }

    /// An address of the share, with a port.
    fn at(&self, family: Family, port: u16) -> SocketAddr {
        SocketAddr::new(self.public(family), port)
    }

    fn public(&self, family: Family) -> IpAddr {
        self.lab.client_host(family, 51)
    }

    /// A port of the pool with both apps behind it, in both families.
    #[track_caller]
    fn port(&self, name: &str) -> u16 {
        let apps = [0, 1].map(|index| self.lab.app_ports(index, APP_PORT));
        let apps: Vec<String> = apps.concat().iter().map(ToString::to_string).collect();
        let mut words = vec![name, "--pool", "web", "--protocol", "both"];
        for app in &apps {
            words.extend(["--backend", app.as_str()]);
        }
        let port = self.agents[0].create(&words);
        for agent in &self.agents {
            eventually(SETTLED, || agent.ctl(&["ports", "show", name]).code == 0);
            eventually(SETTLED, || {
                let shown = agent.ctl_json(&["ports", "show", name]);
                shown["state"] == "up" && shown["path"] == "tc"
            });
        }
        port
    }

    /// How long no new connection was served from now on.
    fn gap(&self, to: SocketAddr) -> Duration {
        let begun = Instant::now();
        eventually(SETTLED, || {
            traffic::connect(&self.lab.client, to, 1).errors.is_empty()
        });
        begun.elapsed()
    }
}

/// `[pool]` of both nodes: each hears of flows at its own address, and both believe each other's certificates.
fn sync_configs(lab: &Lab) -> [String; 2] {
    let folder = lab.folder();
    let read = |name: &str| {
        let file = certify(folder, name, &format!("DNS:{name}"));
        std::fs::read_to_string(file).unwrap()
    };
    std::fs::write(folder.join("ca.pem"), NODES.map(read).concat()).unwrap();
    let config = |index: u8| {
        let name = NODES[usize::from(index)];
        // The hosts that `Lab::another` adds, in order.
        let own = lab.backend_host(Family::V4, 21 + index);
        let file = |name: String| folder.join(name).display().to_string();
        format!(
            "[pool]\nsync_listen = \"{own}:{SYNC}\"\nsync_cert = {:?}\nsync_key = {:?}\nsync_ca = {:?}\n",
            file(format!("{name}.crt")),
            file(format!("{name}.key")),
            file("ca.pem".to_owned()),
        )
    };
    [config(0), config(1)]
}

/// The pool's share as a node shows it.
fn share(agent: &Agent) -> Value {
    let pools = agent.items(&["pool", "list"]);
    pools
        .first()
        .map_or(Value::Null, |pool| pool["shares"][0].clone())
}

/// keepalived on a node, as its agent says.
fn mover(lab: &Lab, agent: &Agent, name: &str) -> Keepalived {
    let text = agent
        .ctl(&["pool", "engine", "web", "keepalived"])
        .ok()
        .stdout;
    Keepalived::start(
        agent.host(),
        lab.folder(),
        &format!("keepalived-{name}"),
        &text,
    )
}
