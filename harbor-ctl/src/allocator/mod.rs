//! Hands out public port numbers: random among the free, never one that is assigned or that
//! something on the host holds.
//!
//! [`draw`] is pure; [`host`], [`sockets`] and [`rules`] look at the machine. One bad number never blocks
//! another: it is skipped, and remembered with its holder.

mod draw;
mod host;
mod rules;
mod sockets;

use rand::Rng;

pub(crate) use draw::{Counts, Numbers};
pub(crate) use host::LiveHost;
pub(crate) use sockets::{Holder, Scope, Socket, SocketTable, name_holders, read_sockets};

use crate::model::{PortRange, Protocol, Protocols, Refusal, RefusalKind};

/// The machine's side of an allocation.
pub(crate) trait Host {
    /// Whether something on the host holds the number.
    fn is_held(&mut self, protocol: Protocol, port: u16) -> bool;
    /// Who does.
    fn holder(&mut self, protocol: Protocol, port: u16) -> Holder;
}

/// A request for a number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    /// The service's name, for the words of an error.
    pub(crate) name: &'a str,
    pub(crate) protocols: Protocols,
    /// A number asked for by name.
    pub(crate) port: Option<u16>,
    pub(crate) range: PortRange,
}

/// What came of a request.
#[derive(Clone, Debug)]
pub(crate) struct Draw {
    /// The number, or why there is none.
    pub(crate) port: Result<u16, Refusal>,
    /// Numbers that could not be had because somebody else holds them.
    pub(crate) skipped: Vec<(Protocol, u16)>,
}

/// Finds the number for a request; changes nothing.
pub(crate) fn allocate(
    request: Request<'_>,
    numbers: &Numbers,
    host: &mut impl Host,
    rng: &mut impl Rng,
) -> Draw {
    let mut skipped = Vec::new();
    let port = match request.port {
        Some(port) => take(request, port, numbers, host, &mut skipped),
        None => numbers
            .candidates(request.range, request.protocols, rng)
            .into_iter()
            .find(|&port| is_free(request.protocols, port, host, &mut skipped))
            .ok_or_else(|| {
                let counts = numbers.counts(request.range, request.protocols);
                exhausted(request, counts, skipped.len())
            }),
    };
    Draw { port, skipped }
}

/// The number asked for, if it can be had.
fn take(
    request: Request<'_>,
    port: u16,
    numbers: &Numbers,
    host: &mut impl Host,
    skipped: &mut Vec<(Protocol, u16)>,
) -> Result<u16, Refusal> {
    check_named(request, port, numbers)?;
    if is_free(request.protocols, port, host, skipped) {
        return Ok(port);
    }
    match skipped.last() {
        Some(&(protocol, _)) => Err(held(request, protocol, port, &host.holder(protocol, port))),
        None => unreachable!("`is_free` notes what is not free"),
    }
}

/// Whether nobody holds the number; who does is noted.
fn is_free(
    protocols: Protocols,
    port: u16,
    host: &mut impl Host,
    skipped: &mut Vec<(Protocol, u16)>,
) -> bool {
    let held = first_held(protocols, port, host);
    skipped.extend(held.map(|protocol| (protocol, port)));
    held.is_none()
}

fn first_held(protocols: Protocols, port: u16, host: &mut impl Host) -> Option<Protocol> {
    protocols
        .each()
        .iter()
        .copied()
        .find(|&protocol| host.is_held(protocol, port))
}

fn check_named(request: Request<'_>, port: u16, numbers: &Numbers) -> Result<(), Refusal> {
    let Request {
        range,
        protocols,
        name,
        ..
    } = request;
    if !range.contains(port) {
        let text = format!("port {port} is outside the range {range}");
        return Err(Refusal::new(RefusalKind::PortOutOfRange, text)
            .field("port")
            .fix(format!(
                "choose from {range}, or change it: harbor-ctl config set port_range A-B"
            )));
    }
    if let Some((protocol, owner)) = numbers.owner(protocols, port) {
        let text = format!("port {port}/{protocol} is assigned to service {owner}");
        return Err(Refusal::new(RefusalKind::PortAssigned, text)
            .field("port")
            .fix(format!("let Harbor choose: harbor-ctl ports create {name}")));
    }
    Ok(())
}

fn held(request: Request<'_>, protocol: Protocol, port: u16, holder: &Holder) -> Refusal {
    let (what, end) = match &holder.rule {
        Some(rule) => ("a rule of nftables", format!("nft delete rule {rule}")),
        None => ("another process", "stop it".to_owned()),
    };
    let text = format!("port {port}/{protocol} is held by {what}\nheld by: {holder}");
    Refusal::new(RefusalKind::PortHeld, text)
        .field("port")
        .fix(format!(
            "{end}, or let Harbor choose: harbor-ctl ports create {}",
            request.name
        ))
}

fn exhausted(request: Request<'_>, counts: Counts, held: usize) -> Refusal {
    let Request {
        range, protocols, ..
    } = request;
    let text = format!(
        "no free port in {range} for {protocols}: {} assigned, {held} held by other processes, {} resting",
        counts.assigned, counts.resting
    );
    Refusal::new(RefusalKind::RangeExhausted, text)
        .fix("delete a port, or widen the range: harbor-ctl config set port_range A-B")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::{SeedableRng, rngs::StdRng};

    use super::*;
    use crate::model::testing::service;

    #[derive(Default)]
    struct FakeHost(BTreeSet<(Protocol, u16)>);

    impl Host for FakeHost {
        fn is_held(&mut self, protocol: Protocol, port: u16) -> bool {
            self.0.contains(&(protocol, port))
        }

        fn holder(&mut self, _: Protocol, port: u16) -> Holder {
            let address = std::net::SocketAddr::from(([0, 0, 0, 0], port));
            let socket = Socket {
                address,
                is_listening: true,
                uid: 0,
                inode: 1,
            };
            Holder {
                pid: Some(4121),
                command: "node".into(),
                socket: Some(socket),
                rule: None,
            }
        }
    }

    fn request(protocols: Protocols, port: Option<u16>) -> Request<'static> {
        let range = PortRange::new(35_000, 35_099).unwrap();
        Request {
            name: "web",
            protocols,
            port,
            range,
        }
    }

    fn draw(request: Request<'_>, numbers: &Numbers, host: &mut FakeHost) -> Result<u16, Refusal> {
        allocate(request, numbers, host, &mut StdRng::seed_from_u64(7)).port
    }

    #[test]
    fn a_held_number_is_refused_with_its_holder() {
        let mut host = FakeHost([(Protocol::Tcp, 35_050)].into());
        let numbers = Numbers::default();
        let refusal =
            draw(request(Protocols::Both, Some(35_050)), &numbers, &mut host).unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::PortHeld);
        assert_eq!(
            refusal.description,
            "port 35050/tcp is held by another process\n\
             held by: pid 4121 node, listening on 0.0.0.0:35050"
        );
        assert!(draw(request(Protocols::Udp, Some(35_050)), &numbers, &mut host).is_ok());
    }

    #[test]
    fn half_of_a_range_held_leaves_the_other_half_and_then_says_why() {
        let mut host = FakeHost((35_000..35_050).map(|p| (Protocol::Tcp, p)).collect());
        let mut services = Vec::new();
        for index in 0..50 {
            let numbers = Numbers::new(&services, BTreeSet::new());
            let port = draw(request(Protocols::Tcp, None), &numbers, &mut host).unwrap();
            services.push(service(&format!("s{index}"), port, Protocols::Tcp));
        }
        let numbers = Numbers::new(&services, BTreeSet::new());
        let refusal = draw(request(Protocols::Tcp, None), &numbers, &mut host).unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::RangeExhausted);
        assert!(
            refusal
                .description
                .contains("50 assigned, 50 held by other processes, 0 resting"),
            "{refusal}"
        );
    }

    #[test]
    fn a_resting_number_is_drawn_only_by_name() {
        let resting = (35_000..=35_099).map(|p| (Protocol::Tcp, p)).collect();
        let numbers = Numbers {
            resting,
            ..Numbers::default()
        };
        let mut host = FakeHost::default();
        let refusal = draw(request(Protocols::Tcp, None), &numbers, &mut host).unwrap_err();
        assert!(refusal.description.contains("100 resting"), "{refusal}");
        assert!(draw(request(Protocols::Tcp, Some(35_000)), &numbers, &mut host).is_ok());
    }

    #[test]
    fn numbers_out_of_range_or_assigned_are_refused() {
        let services = [service("other", 35_001, Protocols::Udp)];
        let numbers = Numbers::new(&services, BTreeSet::new());
        let mut host = FakeHost::default();
        let mut kind = |protocols, port| {
            draw(request(protocols, Some(port)), &numbers, &mut host)
                .unwrap_err()
                .kind
        };
        assert_eq!(kind(Protocols::Tcp, 34_999), RefusalKind::PortOutOfRange);
        assert_eq!(kind(Protocols::Both, 35_001), RefusalKind::PortAssigned);
    }
}
