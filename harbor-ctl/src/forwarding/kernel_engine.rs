//! The programs in the kernel, as far as there are any: without them the proxy forwards, and says why.

use std::{io, path::Path};

use super::{
    kernel::{Forwarding, ForwardingError},
    remains::{Remains, take_off},
    settings,
};
use crate::{
    config::Config,
    datapath::{self, DatapathError, DatapathErrorKind},
    model::Mode,
};

/// Why the engines did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// Another agent has the pins, or they are not this version's.
    #[error(transparent)]
    Pins(DatapathError),
    #[error("cannot start the proxy: {0}")]
    Proxy(io::Error),
}

/// The datapath, or why there is none.
#[derive(Clone, Debug)]
pub(crate) enum KernelEngine {
    Up(Forwarding),
    /// The operator wants none.
    Off(Remains),
    Down {
        reason: String,
        fix: Option<String>,
        can_retry: bool,
        /// Where programs of an earlier agent still forward as it told them last.
        left: Vec<String>,
    },
}

impl KernelEngine {
    /// Starts or adopts the datapath. Without one the agent still runs, and says so.
    pub(crate) async fn start(config: &Config) -> Result<Self, StartError> {
        if config.mode == Mode::Proxy {
            return Ok(Self::Off(take_off(&config.paths.bpf).await));
        }
        match Forwarding::start(settings::of(config)).await {
            Ok(forwarding) => Ok(Self::Up(forwarding)),
            Err(ForwardingError::Datapath(error)) if error.kind != DatapathErrorKind::Failed => {
                Err(StartError::Pins(error))
            }
            Err(error) => {
                tracing::error!("the proxy forwards alone: {error}");
                Ok(Self::down(&error, &config.paths.bpf))
            }
        }
    }

    pub(crate) fn down(error: &ForwardingError, bpf: &Path) -> Self {
        let (fix, can_retry) = match error {
            ForwardingError::NoObject => {
                let fix = "build it with the eBPF toolchain: cargo xtask setup, then build again";
                (Some(fix.to_owned()), false)
            }
            ForwardingError::Datapath(error) => (error.fix.clone(), true),
            ForwardingError::Ended | ForwardingError::Silent(_) => (None, true),
        };
        Self::Down {
            reason: error.to_string(),
            fix,
            can_retry,
            // Whoever may not look is told of nothing more than that the start has failed.
            left: datapath::attached(bpf).unwrap_or_default(),
        }
    }
}
