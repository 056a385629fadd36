//! Policy routing: which tables the kernel asks, in which order, for the packets of a flow, by their
//! source address. Sources that are treated alike share a view. Pure.
//!
//! A rule that is not understood is not guessed at: what would come after it is unknown.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;

/// One of the kernel's rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KernelRule {
    pub(super) priority: u32,
    pub(super) source: Option<IpNet>,
    pub(super) destination: Option<IpNet>,
    /// It applies to what the rest does not describe.
    pub(super) is_inverted: bool,
    /// What it says of packets beside their addresses.
    pub(super) reach: Reach,
    /// Routes with prefixes of this length and shorter ones do not count.
    pub(super) suppressed: Option<u32>,
    pub(super) then: Then,
}

/// Which of the packets of flows a rule's other selectors reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    None,
    /// It depends on what a view does not know.
    Some,
    Every,
}

impl Reach {
    /// Both selectors together.
    pub(super) fn and(self, other: Self) -> Self {
        self.min(other)
    }

    fn inverted(self) -> Self {
        match self {
            Self::None => Self::Every,
            Self::Some => Self::Some,
            Self::Every => Self::None,
        }
    }
}

/// What a rule does with those that it applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Table(u32),
    /// The table of the VRF that the source belongs to.
    VrfTable,
    Nothing,
    Refuse,
    /// Jumps to another rule, or what later kernels know.
    Unknown,
}

/// One look-up on the way to an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Step {
    /// Only for these destinations.
    pub(super) within: Option<IpNet>,
    pub(super) look: Look,
}

/// What a step looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Look {
    /// A table, but for its prefixes of `suppressed` bits and fewer.
    Table {
        table: u32,
        suppressed: Option<u32>,
    },
    Refuse,
    Unknown,
}

/// The steps for packets with this source; `vrf` is the table of the VRF that it belongs to.
pub(super) fn steps(rules: &[KernelRule], source: IpAddr, vrf: Option<u32>) -> Vec<Step> {
    let mut steps = Vec::new();
    for rule in rules {
        let (reach, within) = rule.applies(source);
        let look = match (rule.then, vrf) {
            (Then::Nothing, _) | (Then::VrfTable, None) => continue,
            (Then::VrfTable, Some(table)) | (Then::Table(table), _) => Look::Table {
                table,
                suppressed: rule.suppressed,
            },
            (Then::Refuse, _) => Look::Refuse,
            (Then::Unknown, _) => Look::Unknown,
        };
        match reach {
            Reach::None => {}
            Reach::Some => steps.push(Step {
                within,
                look: Look::Unknown,
            }),
            Reach::Every => steps.push(Step { within, look }),
        }
    }
    steps
}

impl KernelRule {
    /// Whether it applies to packets with this source, and to which of their destinations.
    fn applies(&self, source: IpAddr) -> (Reach, Option<IpNet>) {
        let of_source = match self.source {
            Some(network) if !network.contains(&source) => Reach::None,
            _ => Reach::Every,
        };
        let reach = self.reach.and(of_source);
        match (self.is_inverted, self.destination) {
            (false, within) => (reach, within),
            (true, None) => (reach.inverted(), None),
            // All but some destinations: no prefix says that.
            (true, Some(_)) if reach == Reach::None => (Reach::Every, None),
            (true, Some(_)) => (Reach::Some, None),
        }
    }
}

/// Steps by view, and the view of each source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Views {
    /// By number: those of IPv4's rules and those of IPv6's.
    pub(super) steps: Vec<[Vec<Step>; 2]>,
    pub(super) of: BTreeMap<IpAddr, u32>,
}

/// More views than this are not told apart: what the others would say is unknown.
pub(super) const VIEWS: usize = 16;

impl Views {
    /// The views of these sources, each with the table of its VRF. View 0 is that of an address which
    /// no rule names.
    pub(super) fn of(
        rules: &[Vec<KernelRule>; 2],
        sources: impl IntoIterator<Item = (IpAddr, Option<u32>)>,
    ) -> Self {
        let plain = [
            steps(&rules[0], IpAddr::from([0, 0, 0, 0]), None),
            steps(&rules[1], IpAddr::from([0u16; 8]), None),
        ];
        let mut views = Self {
            steps: vec![plain.clone()],
            of: BTreeMap::new(),
        };
        for (source, vrf) in sources {
            let family = usize::from(source.is_ipv6());
            let mut wanted = plain.clone();
            wanted[family] = steps(&rules[family], source, vrf);
            let known = views.steps.iter().position(|held| *held == wanted);
            let number = known.unwrap_or_else(|| {
                if views.steps.len() < VIEWS {
                    views.steps.push(wanted);
                    return views.steps.len() - 1;
                }
                VIEWS
            });
            views.of.insert(source, number as u32);
        }
        views
    }

    /// Whether some source's routing is not told apart.
    pub(super) fn are_too_many(&self) -> bool {
        self.of.values().any(|view| *view as usize >= VIEWS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(priority: u32, then: Then) -> KernelRule {
        KernelRule {
            priority,
            source: None,
            destination: None,
            is_inverted: false,
            reach: Reach::Every,
            suppressed: None,
            then,
        }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn tables(steps: &[Step]) -> Vec<Option<u32>> {
        let table = |step: &Step| match step.look {
            Look::Table { table, .. } => Some(table),
            _ => None,
        };
        steps.iter().map(table).collect()
    }

    #[test]
    fn a_rule_for_marked_packets_changes_nothing_and_its_inversion_comes_first() {
        let marked = KernelRule {
            reach: Reach::None,
            ..rule(32_765, Then::Table(51_820))
        };
        let rules = [
            rule(0, Then::Table(255)),
            marked.clone(),
            rule(32_766, Then::Table(254)),
        ];
        let source = address("192.0.2.1");
        assert_eq!(tables(&steps(&rules, source, None)), [Some(255), Some(254)]);
        let inverted = KernelRule {
            is_inverted: true,
            ..marked
        };
        let rules = [inverted, rule(32_766, Then::Table(254))];
        assert_eq!(
            tables(&steps(&rules, source, None)),
            [Some(51_820), Some(254)]
        );
    }

    #[test]
    fn a_rule_for_a_source_makes_a_view_of_its_own() {
        let second = KernelRule {
            source: Some("198.51.100.0/24".parse().unwrap()),
            ..rule(100, Then::Table(2))
        };
        let rules = [vec![second, rule(32_766, Then::Table(254))], Vec::new()];
        let sources = ["192.0.2.1", "198.51.100.1", "192.0.2.2", "2001:db8::1"];
        let views = Views::of(&rules, sources.map(|text| (address(text), None)));
        assert_eq!(views.of.values().copied().collect::<Vec<_>>(), [0, 0, 1, 0]);
        assert_eq!(tables(&views.steps[1][0]), [Some(2), Some(254)]);
    }

    #[test]
    fn an_address_in_a_vrf_asks_its_table_and_others_do_not() {
        let rules = [
            vec![rule(1_000, Then::VrfTable), rule(32_766, Then::Table(254))],
            Vec::new(),
        ];
        let sources = [
            (address("192.0.2.1"), None),
            (address("192.0.2.2"), Some(10)),
        ];
        let views = Views::of(&rules, sources);
        assert_eq!(tables(&views.steps[0][0]), [Some(254)]);
        assert_eq!(tables(&views.steps[1][0]), [Some(10), Some(254)]);
    }

    #[test]
    fn what_a_rule_makes_of_ports_or_users_is_unknown() {
        let of_ports = KernelRule {
            reach: Reach::Some,
            ..rule(100, Then::Table(7))
        };
        let rules = [of_ports, rule(32_766, Then::Table(254))];
        let found = steps(&rules, address("192.0.2.1"), None);
        assert_eq!(tables(&found), [None, Some(254)]);
    }
}
