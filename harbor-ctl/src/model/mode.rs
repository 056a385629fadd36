//! Which engine forwards, as an operator chooses it.

use std::str::FromStr;

/// `[datapath].mode`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The programs in the kernel where they can be had, else the proxy alone.
    #[default]
    Auto,
    /// The programs in the kernel; without them the node is not ready.
    Tc,
    /// The proxy alone: nothing is loaded into the kernel.
    Proxy,
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "tc" => Ok(Self::Tc),
            "proxy" => Ok(Self::Proxy),
            _ => Err(format!("{text:?} is not a mode")),
        }
    }
}
