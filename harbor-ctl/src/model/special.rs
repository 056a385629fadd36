//! Addresses that are nobody's app host: IANA's special-purpose registries (RFC 6890), and where clouds
//! answer instances with their credentials.
//!
//! Private networks, of RFC 1918, RFC 4193 and RFC 6598, are special too, and where app hosts are: they
//! are not refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Network, prefix, and what it is.
type V4 = ([u8; 4], u8, &'static str);
type V6 = ([u16; 8], u8, &'static str);

const METADATA: &str = "a cloud's metadata service";
const DOCUMENTATION: &str = "an address of documentation";

const OF_IPV4: [V4; 16] = [
    ([0, 0, 0, 0], 32, "the unspecified address"),
    ([0, 0, 0, 0], 8, "an address of this network"),
    ([127, 0, 0, 0], 8, "a loopback address"),
    ([169, 254, 0, 0], 16, "a link-local address"),
    ([100, 100, 100, 200], 32, METADATA),
    ([168, 63, 129, 16], 32, METADATA),
    ([192, 0, 0, 0], 24, "an address of IETF protocols"),
    ([192, 0, 2, 0], 24, DOCUMENTATION),
    ([192, 31, 196, 0], 24, "an address of AS112"),
    ([192, 52, 193, 0], 24, "an address of AMT"),
    ([192, 88, 99, 0], 24, "a relay of 6to4"),
    ([192, 175, 48, 0], 24, "an address of AS112"),
    ([198, 18, 0, 0], 15, "an address of benchmarks"),
    ([198, 51, 100, 0], 24, DOCUMENTATION),
    ([203, 0, 113, 0], 24, DOCUMENTATION),
    ([224, 0, 0, 0], 4, "a multicast address"),
];

const OF_IPV6: [V6; 17] = [
    ([0, 0, 0, 0, 0, 0, 0, 0], 128, "the unspecified address"),
    ([0, 0, 0, 0, 0, 0, 0, 1], 128, "a loopback address"),
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, "a link-local address"),
    ([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, "a site-local address"),
    ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, "a multicast address"),
    ([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128, METADATA),
    ([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128, METADATA),
    ([0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe], 128, METADATA),
    (
        [0x64, 0xff9b, 1, 0, 0, 0, 0, 0],
        48,
        "an address of a local NAT64",
    ),
    ([0x100, 0, 0, 0, 0, 0, 0, 0], 64, "an address that discards"),
    ([0x100, 0, 0, 1, 0, 0, 0, 0], 64, "an address that discards"),
    // Teredo, ORCHID, AS112, AMT, benchmarks and others.
    (
        [0x2001, 0, 0, 0, 0, 0, 0, 0],
        23,
        "an address of IETF protocols",
    ),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, DOCUMENTATION),
    (
        [0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0],
        48,
        "an address of AS112",
    ),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, DOCUMENTATION),
    (
        [0x5f00, 0, 0, 0, 0, 0, 0, 0],
        16,
        "an identifier of segment routing",
    ),
    (
        [0x3ffe, 0, 0, 0, 0, 0, 0, 0],
        16,
        "an address of the former 6bone",
    ),
];

/// What the address is, if it is special.
pub(super) fn special(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(v4) => of_v4(v4),
        IpAddr::V6(v6) => of_v6(v6),
    }
}

/// The IPv4 address that packets to this one reach, through a NAT64 (RFC 6052) or 6to4 (RFC 3056).
pub(super) fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let words = ip.segments();
    let of = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match words {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(of(high, low)),
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

fn of_v4(ip: Ipv4Addr) -> Option<&'static str> {
    let is_in = |&&(network, prefix, _): &&V4| {
        let bits = u32::from(ip) ^ u32::from(Ipv4Addr::from(network));
        bits.checked_shr(32 - u32::from(prefix)).unwrap_or(0) == 0
    };
    let found = OF_IPV4.iter().find(is_in).map(|(_, _, kind)| *kind);
    let reserved = (ip.octets()[0] >= 240).then_some("a reserved address");
    let broadcast = ip.is_broadcast().then_some("the broadcast address");
    found.or(broadcast).or(reserved)
}

fn of_v6(ip: Ipv6Addr) -> Option<&'static str> {
    let is_in = |&&(network, prefix, _): &&V6| {
        let bits = u128::from(ip) ^ u128::from(Ipv6Addr::from(network));
        bits.checked_shr(128 - u32::from(prefix)).unwrap_or(0) == 0
    };
    let found = OF_IPV6.iter().find(is_in).map(|(_, _, kind)| *kind);
    // Of ::/8, which is reserved (RFC 4291, section 2.4), only the NAT64 prefix is used (RFC 6052).
    let is_reserved = ip.octets()[0] == 0 && embedded(ip).is_none();
    found.or(is_reserved.then_some("a reserved address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_special_is_known_and_what_is_private_is_not_refused() {
        for (text, part) in [
            ("0.0.0.0", "unspecified"),
            ("0.1.2.3", "this network"),
            ("127.9.9.9", "loopback"),
            ("169.254.169.254", "link-local"),
            ("100.100.100.200", "metadata"),
            ("168.63.129.16", "metadata"),
            ("192.0.0.8", "IETF"),
            ("192.0.2.1", "documentation"),
            ("198.19.255.255", "benchmarks"),
            ("239.1.1.1", "multicast"),
            ("240.0.0.1", "reserved"),
            ("255.255.255.255", "broadcast"),
            ("::", "unspecified"),
            ("::1", "loopback"),
            ("::10.0.0.1", "reserved"),
            ("fe80::1", "link-local"),
            ("fec0::1", "site-local"),
            ("ff02::1", "multicast"),
            ("fd00:ec2::254", "metadata"),
            ("64:ff9b:1::a00:1", "NAT64"),
            ("100::1", "discards"),
            ("2001::1", "IETF"),
            ("2001:1ff::1", "IETF"),
            ("2001:db8::1", "documentation"),
            ("3fff:fff::1", "documentation"),
            ("5f00::1", "segment routing"),
        ] {
            let found = special(text.parse().unwrap());
            assert!(
                found.is_some_and(|kind| kind.contains(part)),
                "{text}: {found:?}"
            );
        }
        for text in [
            "10.0.0.1",
            "172.31.0.1",
            "192.168.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "198.20.0.1",
            "8.8.8.8",
            "fd00::1",
            "2001:200::1",
            "2600::1",
            "64:ff9b::808:808",
            "2002:808:808::1",
        ] {
            assert_eq!(special(text.parse().unwrap()), None, "{text}");
        }
    }

    #[test]
    fn what_an_address_of_ipv6_leads_to_is_found() {
        let of = |text: &str| embedded(text.parse().unwrap()).map(|v4| v4.to_string());
        assert_eq!(of("64:ff9b::a9fe:a9fe").as_deref(), Some("169.254.169.254"));
        assert_eq!(of("2002:7f00:1::5").as_deref(), Some("127.0.0.1"));
        assert_eq!(of("2600::7f00:1"), None);
    }
}
