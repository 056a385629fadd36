//! The lab does what the other tests take for granted.

use std::{fs, net::SocketAddr, path::Path, process::Command};

use kit::{Agent, Lab, Lifetime, Netns, V4, finish, traffic};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

#[test]
fn the_node_reaches_both_app_hosts_and_forwards_for_nobody() {
    for lab in [Lab::routed(), Lab::bridged()] {
        let _app1 = traffic::serve(&lab.apps[0], lab.folder(), "app1", &lab.app_ports(0, 9001));
        let _app2 = traffic::serve(&lab.apps[1], lab.folder(), "app2", &lab.app_ports(1, 9001));
        for (index, name) in [(0, "app1"), (1, "app2")] {
            for to in lab.app_ports(index, 9001) {
                let tally = traffic::connect(&lab.node, to, 3);
                assert_eq!((tally.of(name), tally.errors.len()), (3, 0), "{tally:?}");
                assert_eq!(traffic::ask(&lab.node, to, 3).of(name), 3);
            }
        }
        assert_eq!(lab.node.get("net/ipv4/ip_forward"), "0");
        assert_eq!(lab.node.get("net/ipv6/conf/all/forwarding"), "0");
    }
}

/// In a mount namespace of its own, as on a machine that has never had a named namespace.
#[test]
fn somebodys_first_namespace_during_a_run_leaves_none_of_ours_behind() {
    let alone = || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let nothing = None::<&str>;
        let private = MsFlags::MS_PRIVATE.union(MsFlags::MS_REC);
        mount(nothing, "/", nothing, private, nothing).unwrap();
        mount(
            Some("tmpfs"),
            "/run",
            Some("tmpfs"),
            MsFlags::empty(),
            nothing,
        )
        .unwrap();
        let ours = Netns::create(format!("hbt{}-first", std::process::id()), Lifetime::Guard);
        finish(Command::new("ip").args(["netns", "add", "somebodys"])).ok();
        drop(ours);
        let names = fs::read_dir("/run/netns").unwrap();
        let left: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        finish(Command::new("ip").args(["netns", "delete", "somebodys"])).ok();
        left
    };
    let left = std::thread::scope(|scope| scope.spawn(alone).join()).unwrap();
    assert_eq!(left, ["somebodys"]);
}

#[test]
fn a_panic_in_a_test_leaves_nothing_behind() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let result = std::thread::spawn(move || {
        let lab = Lab::bridged();
        let _app = traffic::serve(&lab.apps[0], lab.folder(), "app1", &lab.app_ports(0, 9001));
        sender
            .send((lab.node.name().to_owned(), lab.folder().to_owned()))
            .unwrap();
        panic!("on purpose");
    });
    let (name, folder) = receiver.recv().unwrap();
    assert!(result.join().is_err());
    assert!(!Path::new("/run/netns").join(&name).exists());
    assert!(!folder.exists());
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    assert!(!mounts.contains(folder.to_str().unwrap()));
    let pids = finish(Command::new("ip").args(["netns", "pids", &name]));
    assert_eq!(pids.stdout, "");
}

#[test]
fn live_connections_and_transfers_notice_what_they_should() {
    let lab = Lab::bridged();
    let _app = traffic::serve(&lab.apps[0], lab.folder(), "app1", &lab.app_ports(0, 9001));
    let to = SocketAddr::new(lab.app(V4, 0), 9001);
    let live = traffic::Live::open(&lab.client, to, 20);
    traffic::transfer(&lab.client, to, 3_000_000).unwrap();
    live.progress();
    let tally = live.finish();
    assert_eq!((tally.of("app1"), tally.errors.len()), (20, 0), "{tally:?}");
    let nobody = SocketAddr::new(lab.app(V4, 0), 9009);
    assert_eq!(traffic::connect(&lab.client, nobody, 2).errors.len(), 2);
}

#[test]
fn a_secret_that_an_agent_writes_down_is_found() {
    let lab = Lab::bridged();
    let agent = Agent::start(&lab);
    fs::write(lab.folder().join("a.token"), "a-token-of-this-test\n").unwrap();
    assert_eq!(agent.leaks(), []);
    let log = agent.folder().join("log").join("written");
    fs::write(&log, "it was a-token-of-this-test\n").unwrap();
    assert_eq!(
        agent.leaks(),
        [("a-token-of-this-test".to_owned(), log.clone())]
    );
    fs::remove_file(log).unwrap();
}
