//! How backends learn a client's address.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{protocol::Protocol, refusal::Refusal, service::Service};

/// What a port's backends see of its clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ClientIp {
    /// The node's address.
    #[default]
    Snat,
    /// The PROXY protocol's line of text before a connection's first byte.
    ProxyV1,
    /// The PROXY protocol's binary header before a connection's first byte, and in each datagram.
    ProxyV2,
}

impl ClientIp {
    pub(crate) const ALL: [Self; 3] = [Self::Snat, Self::ProxyV1, Self::ProxyV2];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Snat => "snat",
            Self::ProxyV1 => "proxy-v1",
            Self::ProxyV2 => "proxy-v2",
        }
    }
}

impl fmt::Display for ClientIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for ClientIp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|way| way.name() == text);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            let shown: String = text.chars().take(80).collect();
            format!("{shown:?} tells no backend who its client is: use one of {names}")
        })
    }
}

impl Service {
    /// Refuses version 1 of the PROXY protocol where there is UDP.
    pub(super) fn check_client_ip(&self) -> Result<(), Refusal> {
        let is_v1 = self.settings.client_ip == ClientIp::ProxyV1;
        if is_v1 && self.protocols.contains(Protocol::Udp) {
            let text = format!(
                "client_ip = proxy-v1: port {} serves {}, and version 1 of the PROXY protocol knows no UDP",
                self.name, self.protocols
            );
            return Err(Refusal::invalid("client_ip", text).fix("client_ip=proxy-v2"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Protocols, testing::service};

    #[test]
    fn version_1_is_for_tcp_alone() {
        for (protocols, is_right) in [
            (Protocols::Tcp, true),
            (Protocols::Udp, false),
            (Protocols::Both, false),
        ] {
            let mut web = service("web", 35000, protocols);
            web.settings.client_ip = ClientIp::ProxyV2;
            assert_eq!(web.check_settings(), Ok(()));
            web.settings.client_ip = ClientIp::ProxyV1;
            let refused = web.check_settings().err().and_then(|refusal| refusal.field);
            let expected = (!is_right).then(|| "client_ip".to_owned());
            assert_eq!(refused, expected, "{protocols}");
        }
    }

    #[test]
    fn who_must_know_the_client_is_served_in_user_space() {
        let mut web = service("web", 35000, Protocols::Tcp);
        assert!(!web.needs_proxy(Protocol::Tcp));
        web.settings.client_ip = ClientIp::ProxyV1;
        assert!(web.needs_proxy(Protocol::Tcp));
        assert!(!web.needs_proxy(Protocol::Udp), "it serves none");
    }
}
