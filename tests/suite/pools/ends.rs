//! Flows end at another node as they do at their own.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use kit::{Family, bound, eventually, traffic};
use serde_json::Value;

use super::{Pair, SETTLED, copies::has_copies, moving::cut};

const LIVE: usize = 10;
/// More than any flow's numbers are believed to leap.
const DRIFT: usize = 20 << 20;
/// What a connection may take for one exchange, on a machine that has much to do.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends so much through an app that echoes, and reads it again.
fn echo(stream: &TcpStream, length: usize) {
    let mut writer = stream.try_clone().unwrap();
    let sender = thread::spawn(move || writer.write_all(&vec![7; length]).unwrap());
    let mut reader = stream;
    let mut buffer = vec![0; 1 << 16];
    let mut left = length;
    while left > 0 {
        let wanted = left.min(buffer.len());
        let read = reader.read(&mut buffer[..wanted]).unwrap();
        assert!(read > 0, "it ended, {left} octets before its end");
        assert!(buffer[..read].iter().all(|octet| *octet == 7));
        left -= read;
    }
    sender.join().unwrap();
}

/// States of a node's flows of the port.
fn states(pair: &Pair, node: usize) -> Vec<Value> {
    let flows = pair.agents[node].items(&["flows", "list", "-p", "app"]);
    flows.iter().map(|flow| flow["state"].clone()).collect()
}

#[test]
fn copies_of_connections_that_have_ended_go_too() {
    let pair = Pair::start();
    for agent in &pair.agents {
        agent
            .ctl(&["config", "set", "timeouts.tcp_closed", "5s"])
            .ok();
    }
    let port = pair.port("app");
    let other = 1 - pair.holder();
    let live = Family::BOTH
        .map(|family| traffic::Live::open(&pair.lab.client, pair.at(family, port), LIVE));
    eventually(SETTLED, || has_copies(&pair.agents[other], 2 * LIVE as u64));
    for live in live {
        assert_eq!(live.finish().errors, Vec::<String>::new());
    }
    eventually(SETTLED, || states(&pair, other).is_empty());
}

#[test]
fn a_reset_ends_a_connection_that_went_far_before_its_address_moved() {
    for family in Family::BOTH {
        let mut pair = Pair::start();
        let port = pair.port("app");
        let holder = pair.holder();
        let other = 1 - holder;
        let from = SocketAddr::new(pair.lab.client_address(family), 50_000);
        let to = pair.at(family, port);
        let stream = pair.lab.client.enter(|| bound::dial(from, to)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let greeting = (&stream).read(&mut [0; 64]).unwrap();
        assert!(greeting > 0);
        eventually(SETTLED, || has_copies(&pair.agents[other], 1));
        // From here on nobody tells the other node how far it has come.
        pair.agents[holder].kill();
        echo(&stream, DRIFT);
        cut(&pair.hosts[holder]);
        echo(&stream, 1);
        assert_eq!(states(&pair, other), ["live"]);
        bound::reset(&stream).unwrap();
        eventually(SETTLED, || {
            states(&pair, other).iter().all(|state| state == "closed")
        });
    }
}
