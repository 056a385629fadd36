//! What the load that traces is told of whoever traces; zeros in every other load.

use std::net::IpAddr;

use harbor_common::trace::Trace;

use crate::model::Tracing;

/// Read-only settings of the programs, as `config` of harbor-ebpf has them.
pub(super) struct TraceGlobals {
    pub(super) one_in: u32,
    pub(super) budget: u32,
    pub(super) verdicts: [u32; 2],
    pub(super) port: u16,
    pub(super) client: [u32; 4],
    pub(super) client_port: u16,
}

impl TraceGlobals {
    pub(super) fn of(tracing: Option<Tracing>) -> Self {
        let client = tracing.and_then(|tracing| tracing.client);
        let client = client.map(|client| client.ends());
        Self {
            one_in: tracing.map_or(0, |tracing| tracing.one_in.get()),
            budget: tracing.map_or(0, |tracing| Trace::budget(tracing.per_second.get())),
            verdicts: tracing.map_or([0, u32::MAX], |tracing| tracing.verdicts),
            port: tracing.and_then(|tracing| tracing.port).unwrap_or(0),
            client: client.map_or([0; 4], |(ip, _)| words(ip)),
            client_port: client.and_then(|(_, port)| port).unwrap_or(0),
        }
    }
}

/// An address, mapped if it is an IPv4 one, as words in network order.
fn words(ip: IpAddr) -> [u32; 4] {
    let octets = match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    };
    let (words, _) = octets.as_chunks();
    [0, 1, 2, 3].map(|index| u32::from_ne_bytes(words[index]))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::model::ClientName;

    #[test]
    fn a_client_of_either_family_is_named_as_the_programs_read_it() {
        let of = |client: &str| {
            TraceGlobals::of(Some(Tracing {
                one_in: NonZeroU32::MIN,
                per_second: NonZeroU32::MIN,
                verdicts: [0, 0],
                port: None,
                client: Some(ClientName::parse(client).unwrap()),
            }))
        };
        let octets = |globals: &TraceGlobals| globals.client.map(u32::to_ne_bytes).concat();
        let four = of("198.51.100.7:4000");
        assert_eq!(octets(&four)[10..], [255, 255, 198, 51, 100, 7]);
        assert_eq!((four.client_port, four.port), (4_000, 0));
        let six = of("2001:db8::7");
        assert_eq!(octets(&six)[..4], [0x20, 0x01, 0x0d, 0xb8]);
        assert_eq!((octets(&six)[15], six.client_port), (7, 0));
        let nobody = TraceGlobals::of(None);
        assert_eq!((nobody.one_in, nobody.client), (0, [0; 4]));
    }
}
