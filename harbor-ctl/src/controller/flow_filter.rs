//! Translates filters of flow requests into ports and backends as they are now.

use std::{net::SocketAddr, sync::Arc};

use crate::{
    api::KillFlows,
    control::Answer,
    model::{ClientName, FlowFilter, PortRef, Refusal, RefusalKind, Service},
};

/// What a request to end flows means. Ending all of them must be said.
pub(super) fn flow_filter(request: &KillFlows, services: &[Arc<Service>]) -> Answer<FlowFilter> {
    let KillFlows {
        port,
        client,
        backend,
        all,
    } = request;
    if !all && port.is_none() && client.is_none() && backend.is_none() {
        return Err(Refusal::invalid("all", "nothing says which flows to end")
            .fix("name a port, a client or a backend, or say all"));
    }
    let service = match port {
        Some(port) => Some(PortRef::parse(port)?.resolve(services)?),
        None => None,
    };
    let client = client.as_deref().map(ClientName::parse).transpose()?;
    let backends = match backend {
        Some(named) => Some(backends_named(named, service, services)?),
        None => None,
    };
    Ok(FlowFilter {
        port: service.map(|service| (service.port, service.protocols)),
        client,
        backends,
    })
}

/// By address even when it is no backend any more; by instance, of one port or of all.
fn backends_named(
    named: &str,
    service: Option<&Arc<Service>>,
    services: &[Arc<Service>],
) -> Answer<Vec<SocketAddr>> {
    if let Ok(address) = named.parse() {
        return Ok(vec![address]);
    }
    let among = service.map_or(services, std::slice::from_ref);
    let all = among.iter().flat_map(|service| &service.backends);
    let own = all.filter(|backend| backend.instance == named);
    let addresses: Vec<SocketAddr> = own.map(|backend| backend.address).collect();
    if addresses.is_empty() {
        let shown: String = named.chars().take(80).collect();
        let text = format!("no backend {shown:?}");
        return Err(Refusal::new(RefusalKind::NotFound, text)
            .field("backend")
            .fix("harbor-ctl backends list"));
    }
    Ok(addresses)
}
