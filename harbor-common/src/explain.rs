//! What a dry run has found: the answer to "what would happen to this packet, and why".

/// The element of the `explanation` map, written by the dry-run load of the packet program alone.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// Index of the `verdicts` map: the verdict.
    pub verdict: u32,
    /// Steps that were taken: a sum of the constants below.
    pub steps: u32,
    /// The frontend's slot, if [`Explanation::FRONTEND`].
    pub frontend: u32,
    /// The backend's slot, if [`Explanation::FLOW`] or [`Explanation::SELECTED`].
    pub backend: u32,
    /// The flow's word, if [`Explanation::FLOW`].
    pub word: u64,
    /// The policy that was applied, if [`Explanation::SELECTED`].
    pub policy: u32,
    /// Element of `next_hops`, if [`Explanation::ROUTED`]; 0 = the kernel finds the neighbour.
    pub next_hop: u32,
    /// The interface that the packet would leave by, if [`Explanation::ROUTED`].
    pub ifindex: u32,
    /// Zero.
    pub _pad: u32,
}
crate::assert_size!(Explanation, 40);

impl Explanation {
    /// The frame was read.
    pub const PARSED: u32 = 1;
    /// A frontend answers on the destination port.
    pub const FRONTEND: u32 = 2;
    /// The destination port lies in the translation range.
    pub const REPLY: u32 = 4;
    /// The packet belongs to a flow.
    pub const FLOW: u32 = 8;
    /// The packet may open a flow.
    pub const ADMITTED: u32 = 16;
    /// A backend was selected.
    pub const SELECTED: u32 = 32;
    /// The backend was the client's by affinity.
    pub const AFFINITY: u32 = 64;
    /// A route was found.
    pub const ROUTED: u32 = 128;
    /// It is an ICMP error about a packet of a flow.
    pub const QUOTED: u32 = 256;
    /// The flow's backend is gone or unhealthy: the flow ends here.
    pub const RETIRED: u32 = 512;

    /// The steps' names, the words of `explain` where it has them, in the order of the packet path.
    pub const NAMES: [(u32, &str); 10] = [
        (Self::PARSED, "parse"),
        (Self::QUOTED, "icmp"),
        (Self::FRONTEND, "frontend"),
        (Self::REPLY, "reply"),
        (Self::FLOW, "flow"),
        (Self::RETIRED, "retire"),
        (Self::ADMITTED, "admit"),
        (Self::AFFINITY, "affinity"),
        (Self::SELECTED, "select"),
        (Self::ROUTED, "route"),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_has_a_bit_and_a_name_of_its_own() {
        let mut steps = 0;
        for (at, (step, name)) in Explanation::NAMES.iter().enumerate() {
            assert!(step.is_power_of_two() && steps & step == 0, "{name}");
            let before = &Explanation::NAMES[..at];
            assert!(before.iter().all(|(_, other)| other != name), "{name}");
            steps |= step;
        }
        assert_eq!(steps.count_ones() as usize, Explanation::NAMES.len());
    }
}
