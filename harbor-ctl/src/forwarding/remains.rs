//! Removes what an earlier agent left in the kernel when this one forwards without programs.

use std::{io, path::Path};

use crate::datapath;

/// What an earlier agent has left in the kernel for one that is to forward by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Remains {
    Nothing,
    /// Whoever runs this agent may not look.
    Unseen(String),
    /// Programs that could not be taken off, and why.
    Stuck(String),
}

/// Takes off what an earlier agent has left in the kernel: it would go on forwarding as it was told last.
pub(super) async fn take_off(bpf: &Path) -> Remains {
    let bpf = bpf.to_path_buf();
    let work = move || match std::fs::read_dir(&bpf) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Remains::Unseen(format!("{}: {error}", bpf.display()))
        }
        _ => match datapath::detach(&bpf) {
            Ok(report) if report.links.is_empty() => Remains::Nothing,
            Ok(report) => {
                let links = report.links.join(", ");
                tracing::warn!("the proxy is to forward alone: programs taken off {links}");
                Remains::Nothing
            }
            Err(error) => {
                tracing::error!("programs of an earlier agent may still forward: {error}");
                Remains::Stuck(error.to_string())
            }
        },
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Remains::Stuck(error.to_string()))
}
