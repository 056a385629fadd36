//! Who serves a port, from before its first flow to after its last.

use std::sync::Arc;

use super::*;
use crate::proxy::select::frontend::Frontend;

fn at(port: u16) -> SocketAddr {
    ([10, 0, 0, 1], port).into()
}

/// A port whose backends have these ports.
fn web(ports: &[u16], before: Option<&Frontend>) -> Frontend {
    let addresses: Vec<SocketAddr> = ports.iter().map(|port| at(*port)).collect();
    let service = Arc::new(service(30_000, Protocols::Tcp, &addresses));
    Frontend::of(&service, (Protocol::Tcp, 30_000), AllDown::UseLast, before)
}

#[test]
fn backends_are_pictured_when_they_are_asked_for_and_stay_themselves() {
    let takers = |frontend: &Frontend| {
        let takers = frontend.roster().takers.iter();
        let takers = takers.map(|taker| Arc::clone(&taker.backend));
        takers.collect::<Vec<_>>()
    };
    let first = web(&[1, 2], None);
    assert_eq!((first.takers(), first.backends().len()), (2, 2));
    let second = web(&[2, 3], Some(&first));
    assert_eq!((second.takers(), second.backends().len()), (2, 2));
    let is_kept = |of: &Frontend| Arc::ptr_eq(&of.backends()[0], &of.backends()[0]);
    assert!(!is_kept(&second));
    // Who has not heard of the change sees it all the same.
    let old = takers(&first);
    assert_eq!((old[0].address, old[1].address), (at(2), at(3)));
    assert!(is_kept(&second));
    let third = web(&[3], Some(&second));
    let new = takers(&third);
    assert!(Arc::ptr_eq(&old[1], &new[0]));
    assert!(old[0].is_gone() && !old[1].is_gone());
    third.retire();
    assert!(old[1].is_gone());
    let late = web(&[4], None);
    late.retire();
    assert!(takers(&late).is_empty());
}
