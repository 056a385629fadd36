//! Which addresses may stand behind a port.
//!
//! A backend that is the node itself, or anything but a plain unicast address, turns the datapath
//! against its host: every input path asks [`BackendRule`] before it keeps an address.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::{
    refusal::{Refusal, RefusalKind},
    special::{embedded, special},
};

/// Reads `IP:PORT`; an IPv6 address stands in brackets.
pub(crate) fn parse_backend(text: &str) -> Result<SocketAddr, Refusal> {
    let fix = "write it as IP:PORT, for example 10.0.0.5:8080 or [2001:db8::5]:8080";
    let refuse = |text: String| Err(Refusal::invalid("address", text).fix(fix));
    if text.len() > 64 {
        return refuse("the backend's address is too long".into());
    }
    match text.parse::<SocketAddr>() {
        Err(_) if text.parse::<IpAddr>().is_ok() => {
            refuse(format!("{text} is an address without a port"))
        }
        Err(_) => refuse(format!("{text:?} is not a backend's address")),
        Ok(address) if address.port() == 0 => {
            refuse(format!("{address}: a backend's port is 1 to 65535"))
        }
        Ok(SocketAddr::V6(v6)) if v6.scope_id() != 0 => {
            refuse(format!("{v6}: a backend's address has no zone"))
        }
        Ok(address) => Ok(address),
    }
}

/// The name of an instance that was given none: its address in the letters of a name.
pub(crate) fn default_instance(address: SocketAddr) -> String {
    let text = address.to_string().replace(['[', ']'], "");
    let name = text.replace(':', "-");
    // A name that begins like an option could not be typed.
    if name.starts_with('-') {
        format!("0{name}")
    } else {
        name
    }
}

/// Decides whether an address may be a backend.
#[derive(Clone, Debug, Default)]
pub(crate) struct BackendRule {
    /// The node's own addresses.
    pub(crate) own: Vec<IpAddr>,
    /// Others that are no app host's: broadcast addresses of the node's networks, and its routers.
    pub(crate) near: Vec<(IpAddr, &'static str)>,
    /// `[policy].allow_networks`: exceptions that the operator named.
    pub(crate) allowed: Vec<IpNet>,
    /// `[policy].backend_networks`: where alone backends may be; empty: wherever.
    pub(crate) networks: Vec<IpNet>,
}

impl BackendRule {
    /// Refuses an address that is not a plain unicast address of another machine, or not where backends
    /// may be.
    pub(crate) fn check(&self, address: SocketAddr) -> Result<(), Refusal> {
        self.check_kind(address)?;
        let ip = address.ip();
        let is_in = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&ip));
        if self.networks.is_empty() || is_in(&self.networks) || is_in(&self.allowed) {
            return Ok(());
        }
        let text = format!("{address} cannot be a backend: {ip} is not in policy.backend_networks");
        let fix = "give an address of an app host, or add its network to policy.backend_networks";
        let refusal = Refusal::new(RefusalKind::AddressRefused, text);
        Err(refusal.field("address").fix(fix))
    }

    /// Refuses what no backend may be wherever backends are: of records that are kept, this alone is
    /// asked, so that no port is lost when networks change.
    pub(crate) fn check_kind(&self, address: SocketAddr) -> Result<(), Refusal> {
        let ip = address.ip();
        let refuse = |kind: &str| {
            let text = format!("{address} cannot be a backend: {ip} is {kind}");
            Refusal::new(RefusalKind::AddressRefused, text).field("address")
        };
        if let IpAddr::V6(v6) = ip
            && let Some(v4) = v6.to_ipv4_mapped()
        {
            let port = address.port();
            return Err(refuse("an IPv4 address in IPv6 notation")
                .fix(format!("write the IPv4 address: {v4}:{port}")));
        }
        if self.allowed.iter().any(|network| network.contains(&ip)) {
            return Ok(());
        }
        let Some(kind) = self.refused(ip) else {
            return Ok(());
        };
        Err(refuse(&kind).fix(format!(
            "give an address of an app host, or allow it: policy.allow_networks = [\"{}\"]",
            IpNet::from(ip)
        )))
    }

    /// What the address is, or leads to, that no backend may be.
    fn refused(&self, ip: IpAddr) -> Option<String> {
        let plain = |ip: IpAddr| {
            let near = self.near.iter().find(|(near, _)| *near == ip);
            let own = self.own.contains(&ip).then_some("an address of this node");
            special(ip).or(own).or(near.map(|(_, kind)| *kind))
        };
        let inner = match ip {
            IpAddr::V4(_) => None,
            IpAddr::V6(v6) => embedded(v6),
        };
        let through = inner.and_then(|v4| Some(format!("{v4} in IPv6, {}", plain(v4.into())?)));
        plain(ip).map(str::to_owned).or(through)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{check_name, parse_network};

    #[test]
    fn addresses_are_read_strictly() {
        assert_eq!(parse_backend("10.0.0.5:80").unwrap().port(), 80);
        assert!(parse_backend("[2001:db8::5]:80").unwrap().is_ipv6());
        for text in [
            "",
            "10.0.0.5",
            "10.0.0.5:",
            "10.0.0.5:0",
            "10.0.0.5:65536",
            "010.0.0.5:80",
            "2001:db8::5",
            "[2001:db8::5]",
            "[2001:db8::5]:0",
            "[fe80::1%2]:80",
        ] {
            let refusal = parse_backend(text).unwrap_err();
            assert!(refusal.fix.unwrap().contains("IP:PORT"), "{text}");
        }
        assert!(parse_backend("host:80").is_err());
        assert!(parse_backend(&"1".repeat(500)).is_err());
    }

    #[test]
    fn the_node_itself_and_special_addresses_are_refused() {
        let rule = BackendRule {
            own: vec!["10.0.0.1".parse().unwrap(), "2600::1".parse().unwrap()],
            near: vec![("10.0.0.255".parse().unwrap(), "a broadcast address")],
            ..BackendRule::default()
        };
        for text in [
            "127.0.0.1:80",
            "127.9.9.9:80",
            "169.254.169.254:80",
            "224.0.0.1:80",
            "0.0.0.0:80",
            "255.255.255.255:80",
            "240.0.0.1:80",
            "10.0.0.1:80",
            "10.0.0.255:80",
            "100.100.100.200:80",
            "168.63.129.16:80",
            "192.0.2.1:80",
            "[64:ff9b::10.0.0.1]:80",
            "[64:ff9b::169.254.169.254]:80",
            "[2002:a00:1::1]:80",
            "[2001:0:a00:1::1]:80",
            "[2600::1]:80",
            "[::]:80",
            "[::1]:80",
            "[fe80::1]:80",
            "[ff02::1]:80",
            "[fd00:ec2::254]:80",
            "[::10.0.0.1]:80",
            "[2001:db8::1]:80",
        ] {
            let address = parse_backend(text).unwrap();
            let refusal = rule.check(address).unwrap_err();
            assert_eq!(refusal.kind, RefusalKind::AddressRefused, "{text}");
        }
        for text in [
            "10.0.0.5:80",
            "100.64.0.5:80",
            "[2600::5]:80",
            "[fd00::5]:80",
            "[64:ff9b::10.0.0.5]:80",
            "[2002:a00:5::1]:80",
        ] {
            assert!(rule.check(parse_backend(text).unwrap()).is_ok(), "{text}");
        }
    }

    #[test]
    fn an_ipv4_address_in_ipv6_notation_is_refused_with_the_right_way_to_write_it() {
        let rule = BackendRule {
            allowed: vec!["::/0".parse().unwrap()],
            ..BackendRule::default()
        };
        let address = parse_backend("[::ffff:10.0.0.5]:80").unwrap();
        let fix = rule.check(address).unwrap_err().fix.unwrap();
        assert_eq!(fix, "write the IPv4 address: 10.0.0.5:80");
    }

    #[test]
    fn where_networks_are_named_backends_are_there_and_what_is_kept_stays() {
        let rule = BackendRule {
            networks: vec![parse_network("0.0.0.0/1").unwrap()],
            allowed: vec![parse_network("198.18.0.0/15").unwrap()],
            ..BackendRule::default()
        };
        let check = |text: &str| rule.check(parse_backend(text).unwrap());
        assert!(check("10.0.0.5:80").is_ok() && check("198.18.0.5:80").is_ok());
        for text in ["192.168.0.5:80", "[fd00::5]:80"] {
            let refusal = check(text).unwrap_err();
            assert!(refusal.fix.unwrap().contains("backend_networks"), "{text}");
            assert!(
                rule.check_kind(parse_backend(text).unwrap()).is_ok(),
                "{text}"
            );
        }
        // What is special is no app host's, however wide the networks are.
        assert!(check("127.0.0.1:80").is_err());
    }

    #[test]
    fn an_allowed_network_overrules() {
        let rule = BackendRule {
            allowed: vec![
                parse_network("127.0.0.0/8").unwrap(),
                parse_network("::1").unwrap(),
            ],
            ..BackendRule::default()
        };
        assert!(rule.check(parse_backend("127.0.0.1:80").unwrap()).is_ok());
        assert!(rule.check(parse_backend("[::1]:80").unwrap()).is_ok());
        let other = parse_backend("169.254.0.1:80").unwrap();
        assert!(rule.check(other).is_err());
    }

    #[test]
    fn an_instance_without_a_name_gets_a_valid_one() {
        for (text, name) in [
            ("10.0.0.5:80", "10.0.0.5-80"),
            ("[2001:db8::5]:80", "2001-db8--5-80"),
            ("[::1]:80", "0--1-80"),
        ] {
            let made = default_instance(text.parse().unwrap());
            assert_eq!(made, name);
            check_name("instance", &made).unwrap();
        }
    }
}
