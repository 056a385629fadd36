//! DNS over UDP and TCP on one number.

use std::{fs, net::SocketAddr};

use kit::{Lab, eventually};

use super::{MINUTES, Server, addresses};
use crate::scene::FAMILIES;

#[test]
fn dnsmasq_answers_over_udp_and_tcp_on_one_number() {
    let lab = Lab::routed();
    let mut command = lab.apps[0].command("dnsmasq");
    command.args(["--no-daemon", "--no-resolv", "--no-hosts", "--user=root"]);
    command.args(["--conf-file=/dev/null", "--bind-interfaces"]);
    command.args(addresses(&lab).map(|own| format!("--listen-address={own}")));
    command.arg("--address=/harbor.test/192.0.2.53");
    let dns = Server::start(lab, "both-dns", &mut command);
    for family in FAMILIES {
        let to = dns.port(family, 53);
        eventually(MINUTES, || ask(&dns, to, 1, "+notcp") == (1, 1));
        assert_eq!(ask(&dns, to, 2_000, "+notcp"), (2_000, 2_000));
        assert_eq!(ask(&dns, to, 200, "+tcp"), (200, 200));
    }
}

/// How many of so many queries were answered rightly, and answered at all.
fn ask(dns: &Server, to: SocketAddr, count: usize, how: &str) -> (usize, usize) {
    let queries = dns.lab.folder().join("queries");
    fs::write(&queries, lines(count)).unwrap();
    let (server, queries) = (format!("@{}", to.ip()), queries.display().to_string());
    let options = ["+short", "+tries=1", "+timeout=5", how, "-f", &queries];
    let words = [&["dig", &server, "-p", "PORT"], &options[..]].concat();
    let answers = dns.client(to, &words).stdout;
    let right = answers.lines().filter(|line| *line == "192.0.2.53").count();
    (right, answers.lines().count())
}

fn lines(count: usize) -> String {
    (0..count)
        .map(|number| format!("host{number}.harbor.test A\n"))
        .collect()
}
