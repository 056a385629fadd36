//! Frames put on a real wire: the ones that test_run does not take, and whatever a broken neighbour
//! sends.

use std::time::Duration;

use kit::{Lab, NODE_MAC, Wire, eventually, traffic};

use super::bench::{Bench, TCP_PORT, UDP_PORT, datagram, syn};

/// Sends frames out of the client's interface as they are.
fn send(lab: &Lab, frames: &[Vec<u8>]) {
    let wire = Wire::open(&lab.client, "eth0");
    frames.iter().for_each(|frame| wire.send(frame));
}

#[test]
pub(super) fn a_frame_without_a_whole_ip_header_is_counted_and_passed() {
    let bench = Bench::new();
    let whole = bench.to_node(syn(bench.client_port(), TCP_PORT)).bytes();
    let cuts: Vec<Vec<u8>> = (15..34).map(|length| whole[..length].to_vec()).collect();
    send(&bench.lab, &cuts);
    let counted = || bench.totals().get("truncated").copied().unwrap_or_default();
    eventually(Duration::from_secs(5), || counted() == cuts.len() as u64);
}

#[test]
fn frames_cut_at_any_length_do_no_harm_on_the_wire() {
    let bench = Bench::new();
    let kinds = [
        bench.to_node(syn(bench.client_port(), TCP_PORT)),
        bench.to_node(datagram(bench.client_port(), UDP_PORT, b"a question")),
    ];
    for frame in kinds.map(|kind| kind.bytes()) {
        let cuts: Vec<Vec<u8>> = (14..frame.len())
            .map(|length| frame[..length].to_vec())
            .collect();
        send(&bench.lab, &cuts);
    }
    let endpoints = bench.lab.app_ports(0, super::bench::APP_PORT);
    let (host, folder) = (&bench.lab.apps[0], bench.lab.folder());
    let _app = traffic::serve(host, folder, "app1", &endpoints);
    let to = std::net::SocketAddr::new(bench.public(), UDP_PORT);
    assert_eq!(traffic::ask(&bench.lab.client, to, 5).of("app1"), 5);
    assert_eq!(NODE_MAC[0] & 1, 0);
}
