//! The environment that the app gets: a number to listen on for each service.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use super::error::DeaError;
use crate::model::{self, Protocols};

/// Numbers for instances are counted from here.
const FIRST_PORT: u16 = 4_100;

/// A service that the instance belongs to.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    /// As the command is told.
    pub(crate) name: String,
    /// As it is announced: its id, public port or name.
    pub(crate) announced: String,
    pub(crate) protocols: Protocols,
    /// The number to listen on; 0: not chosen yet.
    pub(crate) port: u16,
}

/// Chooses a number for each service that has none: the first that is free on this host.
pub(super) fn choose_ports(services: &mut [Service]) -> Result<(), DeaError> {
    let mut first = FIRST_PORT;
    for service in services.iter_mut().filter(|service| service.port == 0) {
        let free = (first..=u16::MAX).find(|port| is_free(*port));
        service.port = free.ok_or_else(|| DeaError::NoPort {
            service: service.name.clone(),
            first: FIRST_PORT,
        })?;
        first = service.port.saturating_add(1);
    }
    Ok(())
}

fn is_free(port: u16) -> bool {
    let any = (Ipv4Addr::UNSPECIFIED, port);
    TcpListener::bind(any).is_ok() && UdpSocket::bind(any).is_ok()
}

/// What the command finds the numbers in.
pub(super) fn variables(services: &[Service]) -> Vec<(String, String)> {
    let each = services
        .iter()
        .map(|service| (service.name.as_str(), service.port));
    model::variables(&each.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, port: u16) -> Service {
        Service {
            name: name.into(),
            announced: name.into(),
            protocols: Protocols::Tcp,
            port,
        }
    }

    #[test]
    fn numbers_are_counted_upwards_past_those_that_are_taken() {
        let mut services = [service("a", 0), service("b", 0), service("c", 9_000)];
        choose_ports(&mut services).unwrap();
        assert!(services[0].port >= FIRST_PORT && services[1].port > services[0].port);
        assert_eq!(services[2].port, 9_000);
        let held = TcpListener::bind((Ipv4Addr::UNSPECIFIED, services[0].port)).unwrap();
        let mut again = [service("a", 0)];
        choose_ports(&mut again).unwrap();
        assert_ne!(again[0].port, held.local_addr().unwrap().port());
    }
}
