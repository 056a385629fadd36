//! The platform API in the configuration: who listens, how nodes are called in credentials, and how
//! many ports there may be.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use super::check::Check;
use crate::model::{HttpLimits, Shares};

/// `[gateway]`, where it is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GatewayConfig {
    pub(crate) listen: SocketAddr,
    pub(crate) user: String,
    pub(crate) password_file: PathBuf,
    /// Certificate and key.
    pub(crate) tls: Option<(PathBuf, PathBuf)>,
    pub(crate) limits: HttpLimits,
    /// More names that it is asked by.
    pub(crate) hosts: Vec<String>,
}

/// `[public]`: how ports are reached from outside; `None`: not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Public {
    pub(crate) hostname: Option<String>,
    pub(crate) address: Option<IpAddr>,
}

/// `[limits]`: ports at once; 0: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) ports: usize,
    pub(crate) ports_per_organization: usize,
    pub(crate) ports_per_space: usize,
    pub(crate) shares: Shares,
}

impl Check {
    /// Off without a password file, and without an address.
    pub(super) fn gateway(&mut self) -> Option<GatewayConfig> {
        let address = |text: &str| match text {
            "" => Ok(None),
            text => text.parse::<SocketAddr>().map(Some).map_err(|_| {
                format!("{text:?} is not an address with a port, for example 127.0.0.1:8443")
            }),
        };
        let listen = self.read("gateway.listen", address, None);
        let password_file = self.file("gateway.password_file");
        let pair = (self.file("gateway.tls_cert"), self.file("gateway.tls_key"));
        if pair.0.is_some() != pair.1.is_some() {
            let text = "gateway.tls_cert and gateway.tls_key belong together".to_owned();
            let fix = Some("give both, or neither".into());
            self.problem("gateway.tls_cert", text, fix);
        }
        let user = |text: &str| match text {
            "" => Err("there must be one".to_owned()),
            text if text.contains(':') || text.chars().any(char::is_control) => {
                Err(format!("{text:?} holds what a user's name may not"))
            }
            text => Ok(text.to_owned()),
        };
        let user = self.read("gateway.user", user, String::new());
        let limits = self.http_limits("gateway");
        let (listen, password_file, tls) = (listen?, password_file?, pair.0.zip(pair.1));
        if tls.is_none() && !listen.ip().is_loopback() {
            let text =
                format!("gateway.listen = \"{listen}\": the password would travel in the clear");
            let fix = "give gateway.tls_cert and gateway.tls_key, or listen on 127.0.0.1";
            self.problem("gateway.listen", text, Some(fix.into()));
        }
        Some(GatewayConfig {
            listen,
            user,
            password_file,
            tls,
            limits,
            hosts: self.host_names("gateway.hosts"),
        })
    }

    pub(super) fn public(&mut self) -> Public {
        let address = |text: &str| match text {
            "" => Ok(None),
            text => match text.parse() {
                Ok(address) => Ok(Some(address)),
                Err(_) => Err(format!("{text:?} is not an IP address")),
            },
        };
        let hostname = self.host_name("public.hostname");
        Public {
            hostname: (!hostname.is_empty()).then_some(hostname),
            address: self.read("public.address", address, None),
        }
    }

    /// A host name, or nothing.
    pub(super) fn host_name(&mut self, key: &str) -> String {
        self.read(key, host_name, String::new())
    }

    pub(super) fn host_names(&mut self, key: &str) -> Vec<String> {
        let items = self.items(key);
        let read = |text: &String| host_name(text);
        let names: Result<Vec<String>, String> = items.iter().map(read).collect();
        names.unwrap_or_else(|message| {
            self.problem(key, format!("{key}: {message}"), None);
            Vec::new()
        })
    }

    pub(super) fn limits(&mut self) -> Limits {
        let mut limit = |key| self.number(key) as usize;
        Limits {
            ports: limit("limits.ports"),
            ports_per_organization: limit("limits.ports_per_organization"),
            ports_per_space: limit("limits.ports_per_space"),
            shares: Shares {
                port: limit("limits.flows_per_port") as u32,
                organization: limit("limits.flows_per_organization") as u32,
                client: limit("limits.flows_per_client") as u32,
            },
        }
    }
}

fn host_name(text: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    match text.chars().all(good) && text.len() <= 253 {
        true => Ok(text.to_owned()),
        false => {
            let shown: String = text.chars().take(80).collect();
            Err(format!("{shown:?} is not a host name"))
        }
    }
}
