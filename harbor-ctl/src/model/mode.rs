//! Which engine forwards, as an operator chooses it.

use std::str::FromStr;

/// `[datapath].mode`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The programs in the kernel where they can be had, at XDP too on physical devices; else the proxy alone.
    #[default]
    Auto,
    /// The programs in the kernel, at TC alone; without them the node is not ready.
    Tc,
    /// The programs in the kernel, at XDP too on every interface whose driver can, physical or not.
    Xdp,
    /// The proxy alone: nothing is loaded into the kernel.
    Proxy,
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "tc" => Ok(Self::Tc),
            "xdp" => Ok(Self::Xdp),
            "proxy" => Ok(Self::Proxy),
            _ => Err(format!("{text:?} is not a mode")),
        }
    }
}
