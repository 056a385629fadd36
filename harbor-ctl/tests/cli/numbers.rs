//! Which numbers are given out, and which are refused.

use std::{
    collections::BTreeSet,
    net::{TcpListener, UdpSocket},
};

use nix::sys::signal::Signal;

use crate::rig::{Rig, until};

#[test]
fn the_name_decides_the_protocol_and_the_option_wins() {
    let rig = Rig::with_range("33000-33019");
    for (words, protocols) in [
        (&["debug"][..], r#"["tcp"]"#),
        (&["udp-dns"], r#"["udp"]"#),
        (&["both-sip"], r#"["tcp","udp"]"#),
        (&["udp-not", "--protocol", "tcp"], r#"["tcp"]"#),
        (&["plain", "--protocol", "both"], r#"["tcp","udp"]"#),
    ] {
        let created = rig.json(&[&["ports", "create"], words].concat());
        assert_eq!(created["protocols"].to_string(), protocols, "{words:?}");
    }
}

#[test]
fn numbers_are_drawn_once_until_the_range_is_full() {
    let rig = Rig::with_range("33020-33023");
    let drawn: BTreeSet<u16> = (0..4).map(|n| rig.create(&[&format!("s{n}")])).collect();
    assert_eq!(drawn, (33020..=33023).collect());
    let words = [
        "33020-33023",
        "4 assigned, 0 held by other processes, 0 resting",
        "fix:",
    ];
    rig.ctl(&["ports", "create", "one-more"]).refused(5, &words);
    assert_eq!(rig.items(&["ports", "list"]).len(), 4);
    // The other halves are free, and single protocols take those.
    rig.create(&["udp-one"]);
}

#[test]
fn a_number_out_of_range_or_assigned_is_refused() {
    let rig = Rig::with_range("33030-33039");
    rig.create(&["web", "--port", "33030"]);
    rig.ctl(&["ports", "create", "b", "--port", "33030"])
        .refused(5, &["33030/tcp", "web", "fix:"]);
    rig.ctl(&["ports", "create", "b", "--port", "33040"])
        .refused(2, &["33030-33039", "fix:"]);
    rig.ctl(&["ports", "create", "b", "--port", "70000"])
        .refused(2, &["70000"]);
    rig.ctl(&["ports", "create", "b", "--port", "0"])
        .refused(2, &[]);
    assert_eq!(rig.items(&["ports", "list"]).len(), 1);
    rig.create(&["udp-b", "--port", "33030"]);
}

#[test]
fn a_held_number_is_refused_with_its_holder() {
    let rig = Rig::with_range("33050-33059");
    let _tcp = TcpListener::bind("0.0.0.0:33050").unwrap();
    let _udp = UdpSocket::bind("127.0.0.1:33051").unwrap();
    let pid = format!("pid {}", std::process::id());
    let words = [
        "33050/tcp",
        "held by:",
        &pid,
        "listening on 0.0.0.0:33050",
        "fix:",
    ];
    rig.ctl(&["ports", "create", "web", "--port", "33050"])
        .refused(5, &words);
    rig.ctl(&["ports", "create", "udp-web", "--port", "33051"])
        .refused(5, &["33051/udp"]);
    rig.ctl(&["ports", "create", "both", "--port", "33051"])
        .refused(5, &["33051/udp"]);
    assert_eq!(rig.items(&["ports", "list"]).len(), 0);
    rig.create(&["udp-web", "--port", "33050"]);
}

#[test]
fn held_numbers_are_skipped_named_and_taken_once_they_are_free() {
    let rig = Rig::with_range("33060-33063");
    let held: Vec<TcpListener> = [33060, 33062]
        .map(|port| TcpListener::bind(("0.0.0.0", port)).unwrap())
        .into();
    let drawn: BTreeSet<u16> = (0..2).map(|n| rig.create(&[&format!("s{n}")])).collect();
    assert_eq!(drawn, [33061, 33063].into());
    let words = ["2 assigned, 2 held by other processes, 0 resting"];
    rig.ctl(&["ports", "create", "s2"]).refused(5, &words);
    let log = rig.log("proxy_connector");
    assert_eq!(log.matches("port 33060/tcp").count(), 1, "told once: {log}");
    assert!(
        log.contains(&format!("pid={}", std::process::id())),
        "{log}"
    );
    drop(held);
    assert!([33060, 33062].contains(&rig.create(&["s2"])));
}

#[test]
fn a_process_that_took_an_assigned_number_is_a_conflict_until_it_goes() {
    let mut rig = Rig::with_range("33070-33079");
    rig.create(&["web", "--port", "33070", "--backend", "10.0.0.1:80"]);
    // While the agent runs nobody can.
    TcpListener::bind("0.0.0.0:33070").unwrap_err();
    rig.end(Signal::SIGTERM);
    let holder = TcpListener::bind("0.0.0.0:33070").unwrap();
    rig.launch();
    let state = || {
        rig.json(&["ports", "show", "web"])["state"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    until("the conflict is seen", || {
        (state() == "conflict").then_some(())
    });
    let status = rig.ctl(&["status"]);
    assert_eq!(status.code, 7);
    let pid = format!("pid {}", std::process::id());
    assert!(status.stdout.contains(&pid), "{status:?}");
    assert!(
        rig.log("proxy_connector")
            .contains("port 33070/tcp is in conflict")
    );
    drop(holder);
    until("it heals", || (state() != "conflict").then_some(()));
    assert!(
        rig.log("proxy_connector")
            .contains("port 33070/tcp is Harbor's again")
    );
}

#[test]
fn a_released_number_rests_but_may_be_asked_for() {
    let rig = Rig::start("[ports]\nrange = \"33080-33080\"\nrest = \"1h\"\n");
    rig.create(&["web"]);
    rig.ctl(&["ports", "delete", "web", "--yes"]).ok();
    rig.ctl(&["ports", "create", "b"])
        .refused(5, &["1 resting"]);
    assert_eq!(rig.create(&["b", "--port", "33080"]), 33080);
}

#[test]
fn a_rest_ends_by_itself() {
    let rig = Rig::start("[ports]\nrange = \"33081-33081\"\nrest = \"1s\"\n");
    rig.create(&["web"]);
    rig.ctl(&["ports", "delete", "web", "--yes"]).ok();
    until("the number is drawn again", || {
        (rig.ctl(&["ports", "create", "b"]).code == 0).then_some(())
    });
}
