//! Who comes when: tables of turns, each entry a position in a list of backends. Pure.
//!
//! The datapath and the proxy walk along tables of the same making, so that a client finds the same
//! backend in both.

use std::net::{IpAddr, SocketAddr};

/// Smooth weighted round robin, as nginx does it: every backend has its share of any stretch.
pub(crate) fn interleave(weights: &[u8], positions: &mut [u8]) {
    let total: i32 = weights.iter().map(|weight| i32::from(*weight)).sum();
    let mut credit = vec![0i32; weights.len()];
    for position in positions {
        let mut next = 0;
        for (index, weight) in weights.iter().enumerate() {
            credit[index] += i32::from(*weight);
            if credit[index] > credit[next] {
                next = index;
            }
        }
        if let Some(credit) = credit.get_mut(next) {
            *credit -= total;
        }
        *position = next as u8;
    }
}

/// Maglev's table (Eisenbud et al., NSDI 2016, section 3.4): each backend claims places in an order
/// of its own, as often as its weight says. Which order depends on the backend's address alone, so
/// a change of the set moves few places.
pub(crate) fn maglev(backends: &[(SocketAddr, u8)], positions: &mut [u8]) {
    let size = positions.len() as u64;
    let Some(heaviest) = backends.iter().map(|(_, weight)| u32::from(*weight)).max() else {
        return;
    };
    // Where each backend's order is, and how far apart its places are.
    let order = |(address, _): &(SocketAddr, u8)| {
        let hash = fingerprint(*address);
        (hash % size, (hash >> 32) % (size - 1) + 1)
    };
    let mut orders: Vec<(u64, u64)> = backends.iter().map(order).collect();
    let mut credit = vec![0u32; backends.len()];
    let mut is_taken = vec![false; positions.len()];
    let mut free = positions.len();
    while free > 0 {
        for (index, (_, weight)) in backends.iter().enumerate() {
            credit[index] += u32::from(*weight);
            if credit[index] < heaviest {
                continue;
            }
            credit[index] -= heaviest;
            let (place, skip) = &mut orders[index];
            while is_taken[*place as usize] {
                *place = (*place + *skip) % size;
            }
            is_taken[*place as usize] = true;
            positions[*place as usize] = index as u8;
            free -= 1;
            if free == 0 {
                return;
            }
        }
    }
}

/// A number that is the backend's on every node and in every version: FNV-1a, then the finalizer of
/// SplitMix64.
fn fingerprint(address: SocketAddr) -> u64 {
    let octets = match address.ip() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    let port = address.port().to_be_bytes();
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for octet in octets.iter().chain(&port) {
        hash = (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}
