//! Three Sentinels that agree, on three hosts: a master that dies, and one that is cut off from them and
//! not from the node, so that it goes on taking changes which are lost when it is demoted.

use std::{fs, net::SocketAddr, time::Instant};

use kit::{Config, Lab, Netns, Redis, V4, eventually, until};
use serde_json::Value;

use super::{
    LONGEST,
    faults::{NOTICED, inventory, is_in_sync, registry, under_traffic},
    is_healed, is_noticed,
};
use crate::scene::Scene;

const SERVER: u16 = 7_001;
const SENTINEL: u16 = 26_379;
const PORTS: usize = 6;

/// Two servers, of which one is the master, and a Sentinel on each of three hosts.
struct Servers {
    hosts: [(Netns, String); 3],
    servers: [Redis; 2],
    sentinels: [Redis; 3],
}

impl Servers {
    #[track_caller]
    fn start(lab: &Lab) -> Self {
        let third = lab.another();
        let hosts = [
            (lab.apps[0].clone(), lab.app(V4, 0).to_string()),
            (lab.apps[1].clone(), lab.app(V4, 1).to_string()),
            (third, lab.backend_host(V4, 21).to_string()),
        ];
        let first = &hosts[0].1;
        let server = |number: usize, more: &[&str]| {
            let (host, ip) = &hosts[number];
            let at = SocketAddr::new(ip.parse().unwrap(), SERVER);
            Redis::start_with(host, lab.folder(), at, more)
        };
        let more = ["--replicaof", first, "7001"];
        let servers = [server(0, &[]), server(1, &more)];
        let sentinel = |number: usize| {
            let (host, ip) = &hosts[number];
            let file = lab.folder().join(format!("sentinel{number}.conf"));
            let text = format!(
                "sentinel monitor harbor {first} {SERVER} 2\n\
                 sentinel down-after-milliseconds harbor 1000\n\
                 sentinel failover-timeout harbor 4000\n"
            );
            fs::write(&file, text).unwrap();
            let more = [file.to_str().unwrap(), "--sentinel"];
            let at = SocketAddr::new(ip.parse().unwrap(), SENTINEL);
            Redis::start_with(host, lab.folder(), at, &more)
        };
        let sentinels = [0, 1, 2].map(sentinel);
        let all = Self {
            hosts,
            servers,
            sentinels,
        };
        for sentinel in &all.sentinels {
            eventually(NOTICED, || {
                let master = sentinel.say(&["sentinel", "master", "harbor"]).stdout;
                let mut words = master
                    .lines()
                    .skip_while(|word| *word != "num-other-sentinels");
                let replicas = sentinel.say(&["sentinel", "replicas", "harbor"]).stdout;
                words.nth(1) == Some("2") && replicas.contains(&all.hosts[1].1)
            });
        }
        all
    }

    fn lines(&self) -> String {
        let each = self.hosts.iter().map(|(_, ip)| format!("{ip}:{SENTINEL}"));
        let each = each.collect::<Vec<_>>().join(",");
        format!(
            "[node]\nid = \"one\"\n[registry]\nurl = \"redis+sentinel://{each}/harbor\"\ntimeout = \"500ms\"\n"
        )
    }

    /// Waits until a Sentinel names another master.
    #[track_caller]
    fn wait_for_master(&self, sentinel: usize, host: usize) {
        let ip = &self.hosts[host].1;
        let words = ["sentinel", "get-master-addr-by-name", "harbor"];
        eventually(3 * NOTICED, || {
            self.sentinels[sentinel].say(&words).stdout.starts_with(ip)
        });
    }

    /// How many services a server holds.
    fn count(&self, server: usize) -> String {
        let words = ["hlen", "{harbor:harbor}:services"];
        self.servers[server].say(&words).stdout.trim().to_owned()
    }
}

fn populated() -> (Servers, Scene, SocketAddr) {
    let lab = Lab::routed();
    let servers = Servers::start(&lab);
    let scene = Scene::on(lab, &Config::with(&servers.lines()));
    let client = &scene.lab.client;
    client.set("net/ipv4/ip_local_port_range", "1024 65000");
    client.set("net/ipv4/tcp_tw_reuse", "1");
    let web = scene.port("web");
    for number in 1..PORTS {
        scene.port(&format!("port{number}"));
    }
    eventually(NOTICED, || servers.count(1) == PORTS.to_string());
    (servers, scene, web)
}

/// Creates a port as soon as that is possible; its record.
#[track_caller]
fn create_again(scene: &Scene, name: &str) -> Value {
    until(LONGEST, || {
        let created = scene.agent.ctl(&["ports", "create", name, "-o", "json"]);
        (created.code == 0).then(|| created.json())
    })
}

#[test]
fn a_master_that_dies_with_its_sentinel_costs_no_connection_and_no_port() {
    let (mut servers, scene, web) = populated();
    let before = inventory(&scene);
    under_traffic(&scene, web, || {
        servers.servers[0].kill();
        servers.sentinels[0].kill();
        let fault = "a master that died with its sentinel";
        is_noticed(&scene.agent, fault, |row| row["state"] == "degraded");
        servers.wait_for_master(1, 1);
        servers.wait_for_master(2, 1);
        // Its end is that a new master was named.
        is_healed(&scene.agent, fault);
        create_again(&scene, "late");
    });
    is_in_sync(&scene);
    assert_eq!(servers.count(1), (PORTS + 1).to_string());
    let late = ["ports", "delete", "late", "--yes"];
    scene.agent.ctl(&late).ok();
    assert_eq!(inventory(&scene), before);
}

#[test]
fn what_a_master_took_that_was_cut_off_from_the_others_is_not_lost_when_it_is_demoted() {
    let (servers, scene, web) = populated();
    let before = inventory(&scene);
    let deleted = scene.agent.ctl_json(&["ports", "show", "port1"])["id"].clone();
    under_traffic(&scene, web, || {
        // The node reaches the old master all the time; nobody else does.
        let (old, _) = &servers.hosts[0];
        old.nft("add table inet cut");
        for (hook, side) in [("input", "saddr"), ("output", "daddr")] {
            old.nft(&format!(
                "add chain inet cut {hook} {{ type filter hook {hook} priority 0; }}"
            ));
            let others = format!("{{ {}, {} }}", servers.hosts[1].1, servers.hosts[2].1);
            old.nft(&format!("add rule inet cut {hook} ip {side} {others} drop"));
        }
        // Acknowledged by the old master alone.
        scene.port("only-there");
        scene.agent.ctl(&["ports", "delete", "port1", "--yes"]).ok();
        scene
            .agent
            .ctl(&["ports", "set", "port2", "drain_s=31"])
            .ok();
        servers.wait_for_master(1, 1);
        servers.wait_for_master(2, 1);
        old.nft("delete table inet cut");
        // The old one is demoted, and what it took is gone from it too.
        eventually(3 * NOTICED, || {
            servers.servers[0]
                .say(&["role"])
                .stdout
                .starts_with("slave")
        });
        let begun = Instant::now();
        eventually(LONGEST, || {
            registry(&scene)["state"] == "ok" && servers.count(1) == PORTS.to_string()
        });
        println!(
            "put right {:?} after the old master was demoted",
            begun.elapsed()
        );
        create_again(&scene, "late");
    });
    is_in_sync(&scene);
    let now = inventory(&scene);
    let named = |name: &str| now.iter().find(|service| service["name"] == name);
    assert_eq!(now.len(), before.len() + 1, "{now:?}");
    assert!(now.iter().all(|service| service["id"] != deleted));
    assert!(named("only-there").is_some() && named("late").is_some());
    let changed = named("port2").unwrap().to_string();
    assert!(changed.contains("\"drain_s\":31"), "{changed}");
}
