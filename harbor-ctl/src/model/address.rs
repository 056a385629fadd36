//! Which addresses may stand behind a port.
//!
//! A backend that is the node itself, or anything but a plain unicast address, turns the datapath
//! against its host: every input path asks [`BackendRule`] before it keeps an address.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4},
    str::FromStr,
};

use super::{Refusal, RefusalKind};

/// An IPv4 network in CIDR notation; a bare address is a /32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    address: u32,
    prefix: u8,
}

impl Network {
    fn mask(self) -> u32 {
        u32::MAX
            .checked_shl(32 - u32::from(self.prefix))
            .unwrap_or(0)
    }

    pub(crate) fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & self.mask() == self.address & self.mask()
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not an IPv4 network: write it as 10.1.0.0/16");
        let (address, prefix) = text.split_once('/').unwrap_or((text, "32"));
        let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        if prefix > 32 {
            return Err(wrong());
        }
        Ok(Self {
            address: address.into(),
            prefix,
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.address), self.prefix)
    }
}

/// Reads `IP:PORT`; IPv6 is understood, and refused by name.
pub(crate) fn parse_backend(text: &str) -> Result<SocketAddrV4, Refusal> {
    let fix = "write it as IP:PORT, for example 10.0.0.5:8080";
    let wrong = || {
        let text = format!("{text:?} is not a backend's address");
        Refusal::invalid("address", text).fix(fix)
    };
    if text.len() > 64 {
        return Err(Refusal::invalid("address", "the backend's address is too long").fix(fix));
    }
    let v6 = |text: String| {
        Refusal::new(RefusalKind::Unsupported, text)
            .field("address")
            .fix("give the backend's IPv4 address")
    };
    if matches!(text.parse::<IpAddr>(), Ok(IpAddr::V6(_))) {
        return Err(v6(format!(
            "{text} is an IPv6 address: this version forwards IPv4 only"
        )));
    }
    match text.parse::<SocketAddr>().map_err(|_| wrong())? {
        SocketAddr::V6(address) => Err(v6(format!(
            "{address} is an IPv6 address: this version forwards IPv4 only"
        ))),
        SocketAddr::V4(address) if address.port() == 0 => Err(Refusal::invalid(
            "address",
            format!("{address}: a backend's port is 1 to 65535"),
        )
        .fix(fix)),
        SocketAddr::V4(address) => Ok(address),
    }
}

/// Decides whether an address may be a backend.
#[derive(Clone, Debug, Default)]
pub(crate) struct BackendRule {
    /// The node's own addresses.
    pub(crate) own: Vec<Ipv4Addr>,
    /// `[policy].allow_networks`: exceptions that the operator named.
    pub(crate) allowed: Vec<Network>,
}

impl BackendRule {
    /// Refuses an address that is not a plain unicast address of another machine.
    pub(crate) fn check(&self, address: SocketAddrV4) -> Result<(), Refusal> {
        let ip = *address.ip();
        if self.allowed.iter().any(|network| network.contains(ip)) {
            return Ok(());
        }
        let Some(kind) = self.refused_kind(ip) else {
            return Ok(());
        };
        let text = format!("{address} cannot be a backend: {ip} is {kind}");
        Err(Refusal::new(RefusalKind::AddressRefused, text)
            .field("address")
            .fix(format!(
                "give an address of an app host, or allow it: policy.allow_networks = [\"{ip}/32\"]"
            )))
    }

    fn refused_kind(&self, ip: Ipv4Addr) -> Option<&'static str> {
        let first = ip.octets()[0];
        if ip.is_unspecified() {
            Some("the unspecified address")
        } else if ip.is_loopback() {
            Some("a loopback address")
        } else if ip.is_link_local() {
            Some("a link-local address")
        } else if ip.is_multicast() {
            Some("a multicast address")
        } else if ip.is_broadcast() {
            Some("the broadcast address")
        } else if first == 0 || first >= 240 {
            Some("a reserved address")
        } else if self.own.contains(&ip) {
            Some("an address of this node")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_strictly() {
        assert_eq!(parse_backend("10.0.0.5:80").unwrap().port(), 80);
        for text in [
            "",
            "10.0.0.5",
            "10.0.0.5:",
            "10.0.0.5:0",
            "10.0.0.5:65536",
            "010.0.0.5:80",
        ] {
            assert!(parse_backend(text).is_err(), "{text}");
        }
        assert!(parse_backend("host:80").is_err());
        assert!(parse_backend(&"1".repeat(500)).is_err());
    }

    #[test]
    fn ipv6_is_refused_by_name() {
        for text in ["[fd00::1]:80", "fd00::1", "::1"] {
            let refusal = parse_backend(text).unwrap_err();
            assert_eq!(refusal.kind, RefusalKind::Unsupported);
            assert!(refusal.description.contains("IPv6"), "{refusal}");
        }
    }

    #[test]
    fn the_node_itself_and_special_addresses_are_refused() {
        let rule = BackendRule {
            own: vec![Ipv4Addr::new(192, 0, 2, 1)],
            allowed: vec![],
        };
        for text in [
            "127.0.0.1:80",
            "127.9.9.9:80",
            "169.254.169.254:80",
            "224.0.0.1:80",
            "0.0.0.0:80",
            "255.255.255.255:80",
            "240.0.0.1:80",
            "192.0.2.1:80",
        ] {
            let address = parse_backend(text).unwrap();
            let refusal = rule.check(address).unwrap_err();
            assert_eq!(refusal.kind, RefusalKind::AddressRefused, "{text}");
        }
        assert!(rule.check(parse_backend("10.0.0.5:80").unwrap()).is_ok());
    }

    #[test]
    fn an_allowed_network_overrules() {
        let rule = BackendRule {
            own: vec![],
            allowed: vec!["127.0.0.0/8".parse().unwrap()],
        };
        assert!(rule.check(parse_backend("127.0.0.1:80").unwrap()).is_ok());
        assert!(
            rule.check(parse_backend("169.254.0.1:80").unwrap())
                .is_err()
        );
    }

    #[test]
    fn networks_hold_what_their_prefix_says() {
        let all: Network = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains(Ipv4Addr::new(8, 8, 8, 8)));
        let one: Network = "10.0.0.1".parse().unwrap();
        assert!(one.contains(Ipv4Addr::new(10, 0, 0, 1)));
        assert!(!one.contains(Ipv4Addr::new(10, 0, 0, 2)));
        assert!("10.0.0.0/33".parse::<Network>().is_err());
    }
}
