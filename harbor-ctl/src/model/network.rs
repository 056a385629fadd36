//! Networks in CIDR notation, of either family.

use std::net::IpAddr;

use ipnet::IpNet;

/// Reads `10.1.0.0/16` or `2001:db8::/32`; a bare address is a network of its own. Bits behind the
/// prefix are dropped; an IPv4 network in IPv6 notation is refused, because it would never match.
pub(crate) fn parse_network(text: &str) -> Result<IpNet, String> {
    let network = text
        .parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let network = network.map_err(|_| {
        let shown: String = text.chars().take(80).collect();
        format!("{shown:?} is not a network: write it as 10.1.0.0/16 or 2001:db8::/32")
    })?;
    match network {
        IpNet::V6(v6) if v6.addr().to_ipv4_mapped().is_some() => Err(format!(
            "{text} is an IPv4 network in IPv6 notation: write the IPv4 network"
        )),
        network => Ok(network.trunc()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_what_their_prefix_says() {
        let contains = |network: &str, address: &str| {
            let network = parse_network(network).unwrap();
            network.contains(&address.parse::<IpAddr>().unwrap())
        };
        assert!(contains("0.0.0.0/0", "8.8.8.8"));
        assert!(!contains("0.0.0.0/0", "2001:db8::1"));
        assert!(contains("10.0.0.1", "10.0.0.1"));
        assert!(!contains("10.0.0.1", "10.0.0.2"));
        assert!(contains("2001:db8::/32", "2001:db8:ffff::1"));
        assert!(!contains("2001:db8::1", "2001:db8::2"));
    }

    #[test]
    fn bits_behind_the_prefix_are_dropped() {
        assert_eq!(
            parse_network("10.1.2.3/16").unwrap().to_string(),
            "10.1.0.0/16"
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "10.0.0.0/33",
            "2001:db8::/129",
            "host/8",
            "10.0.0.0/",
            "::ffff:10.0.0.0/104",
        ] {
            assert!(parse_network(text).is_err(), "{text}");
        }
    }
}
