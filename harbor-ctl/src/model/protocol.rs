//! Transport protocols, and the set of them that a service uses.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One transport protocol.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// The protocols of one service: one number serves one or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protocols {
    Tcp,
    Udp,
    Both,
}

impl Protocols {
    /// What a service's name asks for: `udp…` UDP, `both…` both, anything else TCP.
    pub(crate) fn from_service_name(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        if name.starts_with("udp") {
            Self::Udp
        } else if name.starts_with("both") {
            Self::Both
        } else {
            Self::Tcp
        }
    }

    /// The protocols one by one, TCP first.
    pub(crate) fn each(self) -> &'static [Protocol] {
        match self {
            Self::Tcp => &[Protocol::Tcp],
            Self::Udp => &[Protocol::Udp],
            Self::Both => &[Protocol::Tcp, Protocol::Udp],
        }
    }

    pub(crate) fn contains(self, protocol: Protocol) -> bool {
        self.each().contains(&protocol)
    }
}

impl fmt::Display for Protocols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Both => "tcp+udp",
        })
    }
}

impl FromStr for Protocols {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "both" | "tcp+udp" => Ok(Self::Both),
            _ => Err(format!("unknown protocol {text:?}: use tcp, udp or both")),
        }
    }
}
