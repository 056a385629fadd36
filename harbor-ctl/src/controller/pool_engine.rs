//! Gathers what a configuration for keepalived needs to know of this node.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Controller;
use crate::{
    api::EngineText,
    model::{NodeRecord, Pool, Refusal, RefusalKind, Share},
    pools::{self, EnginePlan, EngineShare, Wire},
    registry::Registry,
};

impl<R: Registry> Controller<R> {
    /// This node's part of what moves a pool's addresses.
    pub(super) async fn engine_of_pool(
        &self,
        name: &str,
        engine: &str,
    ) -> Result<EngineText, Refusal> {
        let write = match engine {
            "keepalived" => pools::keepalived,
            other => {
                let text = format!("no engine {:?}", other.escape_default().to_string());
                return Err(Refusal::invalid("engine", text).fix("keepalived"));
            }
        };
        let pool = self.pools.get(name).cloned();
        let no_pool = || Refusal::new(RefusalKind::NotFound, "no such pool");
        let plan = self.engine_plan(&pool.ok_or_else(no_pool)?).await?;
        Ok(EngineText { text: write(&plan) })
    }

    async fn engine_plan(&self, pool: &Pool) -> Result<EnginePlan, Refusal> {
        let node = &self.running.config.node;
        let nodes = self.registry.nodes().await.unwrap_or_default();
        let mut shares = Vec::new();
        for share in &pool.shares {
            let place = share.nodes.iter().position(|member| member == node);
            if let Some(place) = place {
                shares.push(EngineShare {
                    id: share.id.clone(),
                    number: share.number,
                    place,
                    wires: self.wires(share, &nodes)?,
                });
            }
        }
        if shares.is_empty() {
            let text = format!("node {node} is in no share of pool {}", pool.name);
            return Err(Refusal::new(RefusalKind::Conflict, text)
                .fix(format!("harbor-ctl pool join {}", pool.name)));
        }
        // Of a program that was replaced since it started the kernel says that it is deleted.
        let program = std::env::current_exe().unwrap_or_default();
        let program = program.display().to_string();
        let program = program.trim_end_matches(" (deleted)");
        let socket = self.running.config.paths.socket();
        Ok(EnginePlan {
            pool: pool.name.clone(),
            node: node.clone(),
            check: format!(
                "{program} --socket {} --timeout 2s pool ready",
                socket.display()
            ),
            shares,
        })
    }

    /// The segments that a share's addresses are on, of each side and family.
    fn wires(&self, share: &Share, nodes: &[NodeRecord]) -> Result<Vec<Wire>, Refusal> {
        let others = nodes
            .iter()
            .filter(|node| share.has_member(&node.id) && node.id != self.running.config.node);
        let others: Vec<IpAddr> = others.flat_map(|node| node.addresses.clone()).collect();
        let shared: Vec<IpAddr> = self.pools.shares().flat_map(Share::addresses).collect();
        let networks = host_networks();
        let mut wires: Vec<Wire> = Vec::new();
        for (side, addresses) in [("front", &share.public), ("back", &share.translation)] {
            for is_v4 in [true, false] {
                let those = addresses
                    .iter()
                    .filter(|address| address.is_ipv4() == is_v4);
                let those: Vec<IpAddr> = those.copied().collect();
                let Some(first) = those.first() else { continue };
                let found = networks.iter().find(|(_, network)| {
                    network.contains(first) && !shared.contains(&network.addr())
                });
                let (interface, network) = found.ok_or_else(|| off_link(first))?;
                let is_peer =
                    |address: &&IpAddr| network.contains(*address) && !shared.contains(address);
                let is_here =
                    |wire: &&mut Wire| wire.interface == *interface && wire.own.is_ipv4() == is_v4;
                // Where clients and backends are on one segment, one virtual router has both.
                if let Some(wire) = wires.iter_mut().find(is_here) {
                    wire.addresses.extend(those);
                    continue;
                }
                wires.push(Wire {
                    side,
                    interface: interface.clone(),
                    own: network.addr(),
                    peers: others.iter().filter(is_peer).copied().collect(),
                    addresses: those,
                });
            }
        }
        Ok(wires)
    }
}

fn off_link(address: &IpAddr) -> Refusal {
    let text = format!("{address} is in no network of this node's interfaces");
    Refusal::new(RefusalKind::Conflict, text).fix(
        "give an interface an address of that network, or write the engine's configuration by hand",
    )
}

/// This host's interfaces, with the addresses and networks that they have.
fn host_networks() -> Vec<(String, IpNet)> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let network = |interface: nix::ifaddrs::InterfaceAddress| {
        let (address, mask) = (interface.address?, interface.netmask?);
        let pair: (IpAddr, IpAddr) = match (address.as_sockaddr_in(), mask.as_sockaddr_in()) {
            (Some(address), Some(mask)) => (address.ip().into(), mask.ip().into()),
            _ => (
                address.as_sockaddr_in6()?.ip().into(),
                mask.as_sockaddr_in6()?.ip().into(),
            ),
        };
        let network = IpNet::with_netmask(pair.0, pair.1).ok()?;
        Some((interface.interface_name, network))
    };
    interfaces.filter_map(network).collect()
}
