//! Where a lab's agent pins its maps and programs.

use std::path::PathBuf;

use crate::lab::Lab;

impl Lab {
    /// `<bpf>/v<layout>/maps`.
    pub fn maps(&self) -> PathBuf {
        self.bpf()
            .join(format!("v{}", harbor_common::maps::LAYOUT))
            .join("maps")
    }

    /// The pin of one of the node's interfaces: a link, or without tcx the program of a filter.
    pub fn link(&self, interface: &str) -> PathBuf {
        let links = self
            .bpf()
            .join(format!("v{}/links", harbor_common::maps::LAYOUT));
        let index = self.node.ifindex(interface);
        let filter = links.join(format!("clsact-{index}"));
        match filter.exists() {
            true => filter,
            false => links.join(index.to_string()),
        }
    }

    /// The pin of the XDP link of one of the node's interfaces.
    pub fn xdp_link(&self, interface: &str) -> PathBuf {
        let index = self.node.ifindex(interface);
        let links = format!("v{}/links", harbor_common::maps::LAYOUT);
        self.bpf().join(links).join(format!("xdp-{index}"))
    }
}
