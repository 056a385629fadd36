//! What the command is told: the number to listen on, for each service.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use super::DeaError;
use crate::model::Protocols;

/// Numbers for instances are counted from here.
const FIRST_PORT: u16 = 4_100;

/// A service that the instance belongs to.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    /// Its name, id or public port.
    pub(crate) name: String,
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

/// `STACKATO_HARBOR` for one service, `STACKATO_HARBOR_<NAME>` for several.
pub(super) fn variables(services: &[Service]) -> Vec<(String, String)> {
    let value = |service: &Service| service.port.to_string();
    match services {
        [one] => vec![("STACKATO_HARBOR".into(), value(one))],
        several => several
            .iter()
            .map(|service| {
                let name = service.name.to_ascii_uppercase().replace(['-', '.'], "_");
                (format!("STACKATO_HARBOR_{name}"), value(service))
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, port: u16) -> Service {
        Service {
            name: name.into(),
            protocols: Protocols::Tcp,
            port,
        }
    }

    #[test]
    fn one_service_has_the_short_name_and_several_have_their_own() {
        let one = variables(&[service("udp-game", 4_100)]);
        assert_eq!(one, [("STACKATO_HARBOR".into(), "4100".into())]);
        let two = variables(&[service("udp-game", 4_100), service("Web.1", 4_101)]);
        let names: Vec<&str> = two.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["STACKATO_HARBOR_UDP_GAME", "STACKATO_HARBOR_WEB_1"]);
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
