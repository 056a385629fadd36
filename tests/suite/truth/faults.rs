//! Faults that the suite can make on a node that shares its registry with nobody, each with the part of
//! `status` that has to name it.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::PathBuf,
};

use kit::{Config, FrozenThread, Lab, SmallDisk, Unanswered, allow_many_descriptors, certify};
use nix::{
    fcntl::AT_FDCWD,
    sys::{
        signal::Signal,
        stat::{UtimensatFlags, utimensat},
        time::TimeSpec,
    },
};

use crate::scene::Scene;

const CONTROL: u16 = 9_555;
const CONSOLE: u16 = 9_556;
const METRICS: u16 = 9_557;

/// Something that goes wrong on a node that shares its registry with nobody.
pub(super) struct Fault {
    /// The part's name in JSON.
    pub(super) part: &'static str,
    /// What its text says.
    pub(super) says: &'static str,
    pub(super) make: fn(&mut Node),
    pub(super) heal: fn(&mut Node),
}

/// Fields are dropped in this order.
pub(super) struct Node {
    /// Of the logs.
    disk: SmallDisk,
    pub(super) scene: Scene,
    streams: Vec<TcpStream>,
    frozen: Option<FrozenThread>,
    unanswered: Option<Unanswered>,
    /// Where metrics are to be served.
    taken: Option<TcpListener>,
}

impl Node {
    fn certificates(&self) -> PathBuf {
        certificates(&self.scene.lab)
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.scene.agent.folder().join(name)
    }

    /// Writes the configuration anew.
    fn write(&self, change: impl Fn(String) -> String) {
        let file = self.scene.agent.config_file();
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, change(text)).unwrap();
    }

    /// The same, and has it read.
    fn configure(&mut self, change: impl Fn(String) -> String) {
        self.write(change);
        self.scene.agent.process().signal(Signal::SIGHUP);
    }
}

fn certificates(lab: &Lab) -> PathBuf {
    lab.folder().join("certificates")
}

pub(super) fn password(lab: &Lab) -> PathBuf {
    lab.folder().join("password")
}

pub(super) const FAULTS: [Fault; 15] = [
    Fault {
        part: "ports",
        says: "no backend",
        make: |node| {
            node.scene.agent.create(&["lonely"]);
        },
        heal: |node| {
            drop(
                node.scene
                    .agent
                    .ctl(&["ports", "delete", "lonely", "--yes"])
                    .ok(),
            )
        },
    },
    Fault {
        part: "pools",
        says: "no node has its addresses",
        make: |node| {
            let agent = &node.scene.agent;
            agent.ctl(&["pool", "create", "shared"]).ok();
            let share = [
                "pool",
                "share",
                "add",
                "shared",
                "a",
                "--public",
                "192.0.2.1",
            ];
            let more = ["--translation", "192.0.2.2", "--nodes", "harbor_node_1"];
            agent.ctl(&[&share[..], &more].concat()).ok();
        },
        heal: |node| {
            let agent = &node.scene.agent;
            agent
                .ctl(&["pool", "share", "remove", "shared", "a", "--yes"])
                .ok();
            agent.ctl(&["pool", "delete", "shared"]).ok();
        },
    },
    Fault {
        part: "certificates",
        says: "shop-https",
        make: |node| {
            fs::rename(
                node.certificates().join("shop-https.key"),
                node.folder("kept"),
            )
            .unwrap();
            certify(&node.certificates(), "other", "DNS:other.test");
            let key = node.certificates().join("other.key");
            fs::rename(key, node.certificates().join("shop-https.key")).unwrap();
        },
        heal: |node| {
            fs::rename(
                node.folder("kept"),
                node.certificates().join("shop-https.key"),
            )
            .unwrap();
        },
    },
    Fault {
        part: "configuration",
        says: "nonsense",
        make: |node| node.configure(|text| format!("nonsense = 1\n{text}")),
        // Nobody has it read again.
        heal: |node| node.write(|text| text.replace("nonsense = 1\n", "")),
    },
    Fault {
        part: "datapath",
        says: "eth1",
        make: |node| {
            node.scene
                .lab
                .node
                .ip("link set eth1 down\nlink set eth1 name away1")
        },
        heal: |node| {
            node.scene
                .lab
                .node
                .ip("link set away1 name eth1\nlink set eth1 up")
        },
    },
    Fault {
        part: "flows",
        says: "nearly full",
        make: |node| {
            let to = node.scene.at(35_000);
            let open = || TcpStream::connect(to).unwrap();
            let client = &node.scene.lab.client;
            node.streams = client.enter(|| (0..940).map(|_| open()).collect());
        },
        heal: |node| {
            node.streams.clear();
            node.scene
                .agent
                .ctl(&["flows", "kill", "--all", "--yes"])
                .ok();
        },
    },
    Fault {
        part: "health",
        says: "cut off",
        make: |node| each_app(node, "link set eth0 down"),
        heal: |node| each_app(node, "link set eth0 up"),
    },
    Fault {
        part: "agent",
        says: "No space left",
        make: |node| {
            node.disk.fill();
            // The last page of each log takes some more.
            for verb in ["drain", "resume"].repeat(20) {
                node.scene.agent.ctl(&["ports", verb, "web"]).ok();
            }
        },
        heal: |node| node.disk.free(),
    },
    Fault {
        part: "metrics",
        says: "Address already in use",
        make: |node| {
            assert_eq!(node.scene.agent.stop(), 0);
            let bind = || TcpListener::bind(("127.0.0.1", METRICS)).unwrap();
            node.taken = Some(node.scene.lab.node.enter(bind));
            node.scene.agent.restart();
        },
        heal: |node| node.taken = None,
    },
    Fault {
        part: "proxy",
        says: "full: port",
        make: |node| {
            let agent = &node.scene.agent;
            let app = node.scene.app(0).to_string();
            let proxied = ["proxied", "--backend", &app, "client_ip=proxy-v1"];
            let to = node.scene.at(agent.create(&proxied));
            let open = || TcpStream::connect(to).unwrap();
            let client = &node.scene.lab.client;
            node.streams = client.enter(|| (0..8).map(|_| open()).collect());
        },
        heal: |node| {
            node.streams.clear();
            node.scene
                .agent
                .ctl(&["ports", "delete", "proxied", "--yes"])
                .ok();
        },
    },
    Fault {
        part: "proxy",
        says: "does not answer",
        make: |node| {
            let process = node.scene.agent.process();
            node.frozen = Some(FrozenThread::of(process, "proxy-0"));
        },
        heal: |node| node.frozen = None,
    },
    Fault {
        part: "configuration",
        says: "not answered",
        make: |node| {
            node.unanswered = Some(Unanswered::take(&node.scene.agent.config_file()));
            node.scene.agent.process().signal(Signal::SIGHUP);
        },
        heal: |node| node.unanswered = None,
    },
    Fault {
        part: "certificates",
        says: "not answered",
        make: |node| {
            let file = node.certificates().join("shop-https.crt");
            node.unanswered = Some(Unanswered::take(&file));
            // It is read again because it looks newer.
            let (before, now) = (TimeSpec::UTIME_OMIT, TimeSpec::UTIME_NOW);
            utimensat(
                AT_FDCWD,
                &file,
                &before,
                &now,
                UtimensatFlags::FollowSymlink,
            )
            .unwrap();
        },
        heal: |node| node.unanswered = None,
    },
    Fault {
        part: "registry",
        says: "harbor.redb",
        make: move_state_away,
        heal: move_state_back,
    },
    Fault {
        part: "events",
        says: "not on disk",
        make: |node| {
            move_state_away(node);
            // Something happens.
            node.scene
                .agent
                .ctl(&["flows", "kill", "--all", "--yes"])
                .ok();
        },
        heal: move_state_back,
    },
];

fn each_app(node: &Node, command: &str) {
    node.scene.lab.apps.iter().for_each(|app| app.ip(command));
}

fn move_state_away(node: &mut Node) {
    fs::rename(node.folder("state"), node.folder("aside")).unwrap();
}

fn move_state_back(node: &mut Node) {
    fs::rename(node.folder("aside"), node.folder("state")).unwrap();
}

pub(super) fn node() -> Node {
    allow_many_descriptors();
    let lab = Lab::routed();
    fs::create_dir(certificates(&lab)).unwrap();
    certify(&certificates(&lab), "shop-https", "DNS:shop.test");
    let text = format!(
        "[node]\ninterfaces = [\"eth0\", \"eth1\"]\n[datapath]\nflows = 1024\n[limits]\nflows_per_port = 2048\nflows_per_client = 2048\n[tls]\nfolder = {:?}\n\
         [control]\nlisten = \"127.0.0.1:{CONTROL}\"\ntoken_file = {:?}\n[gateway]\npassword_file = {:?}\n\
         [console]\nlisten = \"127.0.0.1:{CONSOLE}\"\ntoken_file = {:?}\n\
         [health]\ninterval = \"1s\"\n[log]\nlevel = \"info\"\n[proxy]\ndescriptors_per_port = \"1%\"\n\
         [metrics]\nlisten = \"127.0.0.1:{METRICS}\"\n",
        certificates(&lab),
        password(&lab),
        password(&lab),
        password(&lab),
    );
    let config = Config {
        wrapper: vec!["prlimit".into(), "--nofile=1024".into()],
        ..Config::with(&text)
    };
    let disk = SmallDisk::mount(&lab.folder().join(&config.name).join("log"), 4 << 20);
    let scene = Scene::on(lab, &config);
    let app = scene.app(0).to_string();
    let web = ["web", "--port", "35000", "--backend", &app];
    let more = ["--backend", &scene.app(1).to_string(), "health=tcp"];
    scene.agent.create(&[&web[..], &more].concat());
    // Silence of fewer ports would be the backends' own.
    for name in ["two", "three"] {
        scene
            .agent
            .create(&[name, "--backend", &app, more[0], more[1], more[2]]);
    }
    scene.agent.create(&["shop-https", "--backend", &app]);
    Node {
        disk,
        scene,
        taken: None,
        frozen: None,
        unanswered: None,
        streams: Vec::new(),
    }
}
