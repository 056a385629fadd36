//! Every check: what it is about, and why that matters.

use super::{
    agent, credentials, finding::Finding, folders, kernel, network, patient::Patient, registry,
};

/// One check.
pub(crate) struct Check {
    /// Never changes.
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) why: &'static str,
    pub(crate) look: fn(&Patient) -> Vec<Finding>,
}

const fn check(
    name: &'static str,
    what: &'static str,
    why: &'static str,
    look: fn(&Patient) -> Vec<Finding>,
) -> Check {
    Check {
        name,
        what,
        why,
        look,
    }
}

/// All of them, what others stand on first.
pub(crate) const CHECKS: &[Check] = &[
    check(
        "config",
        "The configuration can be read and is valid",
        "An agent does not start with one that is wrong, and a running one keeps what it had.",
        folders::configuration,
    ),
    check(
        "rights",
        "Whoever runs this may do what the agent does",
        "Without them the programs cannot be loaded, and this examination sees less.",
        kernel::rights,
    ),
    check(
        "object",
        "The program has the eBPF object in it",
        "Without it nothing is forwarded in the kernel; the proxy does it alone, at many times the cost.",
        kernel::object,
    ),
    check(
        "kernel",
        "The kernel has what the programs use",
        "What it lacks costs speed or a guarantee; a kernel that is too old loads nothing.",
        kernel::kernel,
    ),
    check(
        "bpffs",
        "The folder of pins is on a BPF file system",
        "Maps and links are pinned there: without it no flow outlives the agent.",
        kernel::bpffs,
    ),
    check(
        "pins",
        "Nothing of other versions is pinned",
        "What an earlier version left keeps memory, and may still be attached.",
        kernel::pins,
    ),
    check(
        "clock",
        "The clock is right and kept right",
        "Certificates, leases and events go by it; of a shared registry all nodes must agree.",
        kernel::clock,
    ),
    check(
        "folders",
        "Folders for state, logs and the socket can be used",
        "Ports are acknowledged once they are on disk; whoever can write there can change them.",
        folders::folders,
    ),
    check(
        "disk",
        "There is room for state and logs",
        "On a full disk no port can be made or changed, and logs end.",
        folders::disk,
    ),
    check(
        "secrets",
        "Files of passwords and tokens can be read, by nobody else",
        "An API whose secret cannot be read does not run; one that everybody reads is no secret.",
        credentials::secrets,
    ),
    check(
        "certificates",
        "Certificates of the APIs and of ports are valid and have their key",
        "A listener whose pair cannot be used stays closed; clients refuse what has expired.",
        credentials::certificates,
    ),
    check(
        "groups",
        "The groups of the control socket exist",
        "Members of a group that does not exist cannot reach the agent; root alone can.",
        credentials::groups,
    ),
    check(
        "app-hosts",
        "The files of app hosts can be read",
        "With one that is wrong the agent does not start, or keeps those it had.",
        credentials::app_hosts,
    ),
    check(
        "interfaces",
        "There is an interface for the programs, and those that are named exist",
        "A packet that comes in elsewhere is not forwarded in the kernel.",
        network::interfaces,
    ),
    check(
        "addresses",
        "Addresses that are configured are this node's",
        "Nobody reaches a port at an address that the node does not have; flows cannot leave with one.",
        network::addresses,
    ),
    check(
        "mtu",
        "Interfaces carry packets of 1280 octets",
        "IPv6 needs that; with less, large packets vanish.",
        network::mtu,
    ),
    check(
        "listeners",
        "The APIs' addresses can be listened at",
        "An API whose address another process has, or that the node does not have, does not run.",
        network::listeners,
    ),
    check(
        "numbers",
        "Nobody else has numbers of the range",
        "A number that another process holds is skipped; a port on it is in conflict.",
        network::numbers,
    ),
    check(
        "reserved",
        "The host's own connections keep out of the range",
        "A connection of the host that takes a port's number gets that port's packets, or loses its own.",
        network::reserved,
    ),
    check(
        "routes",
        "There is a way to every backend",
        "Flows to a backend without a route are refused, or go to the others.",
        network::routes,
    ),
    check(
        "firewall",
        "No firewall stands before the proxy's sockets",
        "What the programs forward passes by the firewall; what the proxy serves, and the APIs, do not.",
        network::firewall,
    ),
    check(
        "registry",
        "The registry answers, and lets this node in",
        "Without it no port can be made or changed; what is forwarded stays.",
        registry::registry,
    ),
    check(
        "agent",
        "An agent runs and answers",
        "Without one packets still go on, but nobody repairs, probes, renews, or takes changes.",
        agent::agent,
    ),
    check(
        "descriptors",
        "The agent may have enough descriptors",
        "Each number takes a socket, each connection through the proxy two; without any left clients are turned away.",
        agent::descriptors,
    ),
    check(
        "status",
        "Every part of the agent is ok",
        "What a part says of itself stands in status; see docs/how-to/operate.md.",
        agent::parts,
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_check_says_what_and_why_under_a_name_of_its_own() {
        let mut names = BTreeSet::new();
        for check in CHECKS {
            assert!(names.insert(check.name), "{} is there twice", check.name);
            assert!(check.why.ends_with('.'), "{}", check.name);
            assert!(!check.what.ends_with('.'), "{}", check.name);
        }
    }
}
