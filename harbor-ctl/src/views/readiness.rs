//! Whether a node is ready: its ports are served as they should be, and changes are taken.

use super::Snapshot;
use crate::forwarding::KernelEngine;

/// Why a node is not ready, if it is not: what is not as it should be, and whether ports are forwarded.
pub(crate) fn not_ready(snapshot: &Snapshot) -> Option<String> {
    const FORWARDED: &str = "ports are forwarded, but no change is taken";
    let condition = &snapshot.condition;
    if let (false, KernelEngine::Down { reason, .. }) =
        (snapshot.engines.is_ready(), &snapshot.engines.kernel)
    {
        return Some(format!("the datapath does not run: {reason}"));
    }
    if let Some(reason) = &snapshot.not_applied {
        let text = "ports are forwarded as before the last change, which the kernel does not have";
        return Some(format!("{text}: {reason}"));
    }
    match (&condition.failed, &condition.emptied) {
        (Some(failed), _) => Some(format!("{FORWARDED}: {}", failed.reason)),
        (None, Some(emptied)) => Some(format!("{FORWARDED}: {emptied}")),
        (None, None) => None,
    }
}
