//! Networks as operators have them: several uplinks, rules, tunnels, renamed interfaces. In each of
//! them a port works, by whichever engine can, and every display says which.

mod devices;
mod interfaces;
mod together;
mod uplinks;

use std::{fs, net::SocketAddr, time::Duration};

use kit::{Family, eventually, patient, traffic};

use crate::{
    engines::Engine,
    scene::{APP_PORT, Scene},
};

/// How many connections and datagrams show that none is lost.
const COUNT: usize = 20;

/// Each further attempt would only wait for its deadline.
const HOPELESS: usize = 3;

/// A TCP and a UDP port with both apps behind them.
struct Ports {
    web: SocketAddr,
    dns: SocketAddr,
    names: [String; 2],
}

/// How many requests for a connection a host has sent again.
fn repeated_requests(host: &kit::Netns) -> u64 {
    let counters = host.enter(|| fs::read_to_string("/proc/thread-self/net/netstat").unwrap());
    let mut lines = counters.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let mut pairs = names.split(' ').zip(values.split(' '));
    let (_, value) = pairs.find(|(name, _)| *name == "TCPSynRetrans").unwrap();
    value.parse().unwrap()
}

impl Ports {
    /// At this public address, with backends of its family.
    #[track_caller]
    fn at(scene: &Scene, public: std::net::IpAddr) -> Self {
        let family = Family::of(public);
        let apps = [0, 1].map(|index| SocketAddr::new(scene.lab.app(family, index), APP_PORT));
        Self::with(scene, public, &apps)
    }

    /// At this public address, with these backends.
    #[track_caller]
    fn with(scene: &Scene, public: std::net::IpAddr, backends: &[SocketAddr]) -> Self {
        let texts: Vec<String> = backends.iter().map(SocketAddr::to_string).collect();
        let plain = texts.concat().replace(['.', ':', '[', ']'], "");
        let names = ["web", "udp"].map(|protocol| format!("{protocol}-{plain}"));
        let [web, dns] = [0, 1].map(|place: usize| {
            let given = texts.iter().flat_map(|text| ["--backend", text.as_str()]);
            let words: Vec<&str> = [names[place].as_str()].into_iter().chain(given).collect();
            SocketAddr::new(public, scene.agent.create(&words))
        });
        Self { web, dns, names }
    }

    fn delete(&self, scene: &Scene) {
        for name in &self.names {
            scene.agent.ctl(&["ports", "delete", name, "--yes"]).ok();
        }
    }

    /// Twenty connections and twenty datagrams, none of them lost, and no request for a connection sent
    /// twice, which costs a second.
    #[track_caller]
    fn serve(&self, scene: &Scene) {
        let mut errors = Vec::new();
        let before = repeated_requests(&scene.lab.client);
        for _ in 0..COUNT {
            errors.extend(traffic::connect(&scene.lab.client, self.web, 1).errors);
            if errors.len() >= HOPELESS {
                break;
            }
        }
        let asked = traffic::ask(&scene.lab.client, self.dns, COUNT);
        errors.extend(asked.errors);
        let slow = repeated_requests(&scene.lab.client) - before;
        assert_eq!((errors, slow), (Vec::new(), 0), "at {}", self.web);
    }

    /// Who serves both, as `ports list` says.
    fn paths(&self, scene: &Scene) -> Vec<String> {
        let items = scene.agent.items(&["ports", "list"]).into_iter();
        let own = items.filter(|item| self.names.iter().any(|name| item["name"] == **name));
        own.map(|item| item["path"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Waits until displays say so of both.
    #[track_caller]
    fn have_path(&self, scene: &Scene, path: &str) {
        eventually(patient(Duration::from_secs(10)), || {
            self.paths(scene) == [path, path]
        });
    }

    /// Waits until displays say that this engine serves both.
    #[track_caller]
    fn are_served_by(&self, scene: &Scene, engine: Engine) {
        self.have_path(scene, engine.name());
    }

    /// What `explain` says of a client's first packet.
    fn explained(&self, scene: &Scene, client: std::net::IpAddr) -> String {
        let source = SocketAddr::new(client, 40_000).to_string();
        let found =
            scene
                .agent
                .ctl_json(&["explain", "--src", &source, "--dst", &self.web.to_string()]);
        found["verdict"].as_str().unwrap().to_owned()
    }
}
