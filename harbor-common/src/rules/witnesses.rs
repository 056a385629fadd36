//! When the failures that clients' flows have met confirm each other: two clients say the same of a backend,
//! with no success between. What one client can do alone confirms nothing, however often.

/// How long a flow has to be taken before a second client's failure confirms the first, in units of
/// [`crate::flow::OPENED_SHIFT`]: two packets that arrive together are worth no more than one.
pub const SETTLING: u32 = 200;
/// How long one client's failure counts while a second client's is awaited, in the same units: ten seconds.
pub const MEMORY: u32 = 9_537;

/// A failure that waits for another client's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statement {
    /// Whose flow it was, as [`subscriber`] has it; 0 = there is none.
    pub client: u32,
    /// When, in the units of [`SETTLING`].
    pub at: u32,
}

impl Statement {
    /// Nobody has said anything, or a success came between.
    pub const NONE: Self = Self { client: 0, at: 0 };

    /// Hears of a client's failure: what is held then, and whether it is confirmed.
    #[inline(always)]
    pub const fn hear(self, client: u32, at: u32) -> (Self, bool) {
        let age = at.wrapping_sub(self.at);
        if self.client == 0 || age > MEMORY {
            return (Self { client, at }, false);
        }
        match self.client != client && age > SETTLING {
            true => (Self::NONE, true),
            false => (self, false),
        }
    }
}

/// A hash of who a client is, by the octets of its address, an IPv4 one mapped: one subscriber has a whole
/// network of IPv6 addresses. Never 0.
#[inline(always)]
pub const fn subscriber(octets: &[u8; 16], is_v4: bool) -> u32 {
    let network = word(octets, 0) ^ word(octets, 4).rotate_left(13);
    // All IPv4 addresses have the same words in front of them.
    let host = if is_v4 { word(octets, 12) } else { 0 };
    (network ^ host).wrapping_mul(0x9e37_79b1) | 1
}

#[inline(always)]
const fn word(octets: &[u8; 16], at: usize) -> u32 {
    u32::from_ne_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]])
}

#[cfg(test)]
mod tests {
    extern crate std;

    use core::net::Ipv6Addr;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_second_client_confirms_the_first_between_settling_and_forgetting() {
        let start = u32::MAX - 100;
        let (held, is_confirmed) = Statement::NONE.hear(3, start);
        assert!(!is_confirmed);
        for (after, client, is_confirmed) in [
            (0, 5, false),
            (SETTLING, 5, false),
            (SETTLING + 1, 5, true),
            (SETTLING + 1, 3, false),
            (MEMORY, 5, true),
            (MEMORY + 1, 5, false),
        ] {
            let (_, said) = held.hear(client, start.wrapping_add(after));
            assert_eq!(said, is_confirmed, "client {client} after {after}");
        }
    }

    #[test]
    fn one_network_of_ipv6_addresses_is_one_client_and_each_ipv4_address_is_one() {
        let of = |address: &str| {
            let address: Ipv6Addr = address.parse().unwrap();
            subscriber(&address.octets(), address.to_ipv4_mapped().is_some())
        };
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("::ffff:10.0.0.1"), of("::ffff:10.0.0.2"));
    }

    proptest! {
        #[test]
        fn one_client_alone_confirms_nothing(
            client in 1..u32::MAX,
            gaps in prop::collection::vec(0..2 * MEMORY, 0..50),
        ) {
            let (mut held, mut at) = (Statement::NONE, 0_u32);
            for gap in gaps {
                at = at.wrapping_add(gap);
                let (next, is_confirmed) = held.hear(client, at);
                prop_assert!(!is_confirmed);
                held = next;
            }
        }

        #[test]
        fn what_is_confirmed_was_said_by_another_before_and_is_begun_anew(
            said in prop::collection::vec((1..4_u32, 0..MEMORY), 0..80),
        ) {
            let (mut held, mut at) = (Statement::NONE, u32::MAX - MEMORY);
            let mut since = Vec::<(u32, u32)>::new();
            for (client, gap) in said {
                at = at.wrapping_add(gap);
                let (next, is_confirmed) = held.hear(client, at);
                let by_another = since.iter().any(|(other, then)| {
                    let age = at.wrapping_sub(*then);
                    *other != client && age > SETTLING && age <= MEMORY
                });
                prop_assert!(!is_confirmed || by_another);
                if is_confirmed {
                    since.clear();
                    prop_assert_eq!(next, Statement::NONE);
                } else {
                    since.push((client, at));
                    prop_assert!(at.wrapping_sub(next.at) <= MEMORY);
                }
                held = next;
            }
        }
    }
}
