//! keepalived's file: VRRP version 3, one sync group a share, so that all of its addresses move together.

use std::fmt::{self, Write as _};

use super::plan::{EnginePlan, EngineShare, Wire, host_route};

/// The first node of a share's order has this priority, each other one ten less.
const FIRST: usize = 200;
const STEP: usize = 10;
/// The numbers of virtual routers: 1 to 255.
const ROUTERS: u32 = 255;

/// The file of this node.
pub(crate) fn keepalived(plan: &EnginePlan) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut text, plan);
    text
}

fn write(text: &mut String, plan: &EnginePlan) -> fmt::Result {
    let EnginePlan { pool, node, .. } = plan;
    writeln!(
        text,
        "# Pool {pool}, node {node}: harbor-ctl pool engine {pool} keepalived"
    )?;
    text.push_str(
        // Whoever still sends to the other node after both had a share learns better within a second.
        "global_defs {\n    enable_script_security\n    script_user root\n    vrrp_version 3\n    \
         vrrp_garp_master_refresh 1\n}\n",
    );
    plan.shares
        .iter()
        .try_for_each(|share| write_share(text, share, &plan.check))
}

fn write_share(text: &mut String, share: &EngineShare, check: &str) -> fmt::Result {
    let EngineShare { id, .. } = share;
    // An agent that is restarted answers again within these seconds; the programs go on meanwhile.
    writeln!(
        text,
        "\nvrrp_script harbor-{id} {{\n    script \"{check} {id}\"\n    interval 1\n    timeout 3\n    \
         fall 5\n    rise 1\n}}"
    )?;
    let names: Vec<String> = share.wires.iter().map(|wire| wire.name(id)).collect();
    writeln!(
        text,
        "\nvrrp_sync_group {id} {{\n    group {{\n        {}\n    }}\n    track_script {{\n        \
         harbor-{id}\n    }}\n}}",
        names.join("\n        ")
    )?;
    share
        .wires
        .iter()
        .try_for_each(|wire| write_instance(text, share, wire))
}

fn write_instance(text: &mut String, share: &EngineShare, wire: &Wire) -> fmt::Result {
    let priority = FIRST.saturating_sub(STEP * share.place).max(1);
    let router = (share.number - 1) % ROUTERS + 1;
    writeln!(text, "\nvrrp_instance {} {{", wire.name(&share.id))?;
    // An address that has moved stays: nothing is gained by moving it back.
    writeln!(
        text,
        "    state BACKUP\n    nopreempt\n    interface {}",
        wire.interface
    )?;
    writeln!(
        text,
        "    virtual_router_id {router}\n    priority {priority}"
    )?;
    writeln!(text, "    advert_int 0.3")?;
    if !wire.peers.is_empty() {
        writeln!(text, "    unicast_src_ip {}", wire.own)?;
        writeln!(text, "    unicast_peer {{")?;
        for peer in &wire.peers {
            writeln!(text, "        {peer}")?;
        }
        writeln!(text, "    }}")?;
    }
    writeln!(text, "    virtual_ipaddress {{")?;
    for address in &wire.addresses {
        writeln!(
            text,
            "        {} dev {}",
            host_route(address),
            wire.interface
        )?;
    }
    writeln!(text, "    }}\n}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_of_a_share_moves_with_the_others() {
        let wire = |side: &'static str, own: &str, peer: &str, address: &str| Wire {
            side,
            interface: "eth0".into(),
            own: own.parse().unwrap(),
            peers: vec![peer.parse().unwrap()],
            addresses: vec![address.parse().unwrap()],
        };
        let plan = EnginePlan {
            pool: "web".into(),
            node: "n2".into(),
            check: "check".into(),
            shares: vec![EngineShare {
                id: "a".into(),
                number: 256,
                place: 1,
                wires: vec![
                    wire("front", "192.0.2.2", "192.0.2.3", "192.0.2.51"),
                    wire("front", "2001:db8::2", "2001:db8::3", "2001:db8::51"),
                    wire("back", "10.0.0.2", "10.0.0.3", "10.0.0.51"),
                ],
            }],
        };
        let text = keepalived(&plan);
        for needle in [
            "a-front\n        a-front6\n        a-back\n",
            "script \"check a\"",
            "192.0.2.51/32 dev eth0",
            "2001:db8::51/128 dev eth0",
            "virtual_router_id 1\n    priority 190\n",
            "unicast_src_ip 10.0.0.2",
            "nopreempt",
        ] {
            assert!(text.contains(needle), "{needle}: {text}");
        }
        assert_eq!(text.matches('{').count(), text.matches('}').count());
    }
}
