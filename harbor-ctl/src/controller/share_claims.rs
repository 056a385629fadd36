//! What the nodes of shares say of them at one moment, and what is wrong with a share by that. Pure.

use std::collections::BTreeMap;

use crate::{model::Share, registry::Claim};

/// By share and node.
#[derive(Debug, Default)]
pub(super) struct Claims {
    pub(super) said: BTreeMap<(String, String), Claim>,
    /// Whether the registry has said what others are; a node knows itself in any case.
    pub(super) is_known: bool,
}

impl Claims {
    /// `None`: the node has said nothing lately.
    pub(super) fn of(&self, share: &Share, node: &str) -> Option<Claim> {
        let key = (share.id.clone(), node.to_owned());
        self.said.get(&key).copied()
    }

    /// The nodes of a share that are so.
    pub(super) fn those(&self, share: &Share, is_so: fn(&Claim) -> bool) -> Vec<String> {
        let is_so = |node: &&String| self.of(share, node).as_ref().is_some_and(is_so);
        share.nodes.iter().filter(is_so).cloned().collect()
    }

    /// What is wrong with a share, as far as that is known: what a registry that is away does not say is no
    /// fault of a share.
    pub(super) fn problem_of(&self, share: &Share) -> Option<String> {
        let partial = self.those(share, |claim| claim.is_partial);
        if !partial.is_empty() {
            let nodes = partial.join(", ");
            return Some(format!("only some of its addresses are on {nodes}"));
        }
        if !self.is_known {
            return None;
        }
        let holders = self.those(share, |claim| claim.is_held);
        match holders.as_slice() {
            [] => return Some("no node has its addresses".into()),
            [_] => {}
            several => return Some(format!("several nodes have it: {}", several.join(", "))),
        }
        let ready = self.those(share, |claim| claim.is_ready);
        let has_standby = ready.iter().any(|node| !holders.contains(node));
        (share.nodes.len() > 1 && !has_standby)
            .then(|| "no other node is ready to take it over".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share() -> Share {
        Share {
            id: "a".into(),
            number: 1,
            public: Vec::new(),
            translation: Vec::new(),
            nodes: vec!["n1".into(), "n2".into()],
            moved_to: String::new(),
        }
    }

    /// `h` held, `p` partial, `r` ready; nothing: nothing was said.
    fn claims(flags: [&str; 2]) -> Claims {
        let said = share().nodes.into_iter().zip(flags);
        let said = said.filter(|(_, flags)| !flags.is_empty());
        let claim = |flags: &str| Claim {
            is_held: flags.contains('h'),
            is_partial: flags.contains('p'),
            is_ready: flags.contains('r'),
        };
        Claims {
            said: said
                .map(|(node, flags)| (("a".into(), node), claim(flags)))
                .collect(),
            is_known: true,
        }
    }

    #[test]
    fn a_share_is_well_where_one_node_has_it_whole_and_another_could() {
        assert_eq!(claims(["hr", "r"]).problem_of(&share()), None);
        for (flags, said) in [
            (["hr", "hr"], "several nodes have it: n1, n2"),
            (["r", "r"], "no node has its addresses"),
            (["hpr", "r"], "only some of its addresses are on n1"),
            (["hr", ""], "no other node is ready"),
            (["hr", "-"], "no other node is ready"),
        ] {
            let found = claims(flags).problem_of(&share()).unwrap();
            assert!(found.contains(said), "{flags:?}: {found}");
        }
    }

    #[test]
    fn what_a_registry_that_is_away_does_not_say_is_no_fault_of_a_share() {
        for (flags, is_wrong) in [(["hr", ""], false), (["r", ""], false), (["hp", ""], true)] {
            let claims = Claims {
                is_known: false,
                ..claims(flags)
            };
            assert_eq!(claims.problem_of(&share()).is_some(), is_wrong, "{flags:?}");
        }
    }
}
