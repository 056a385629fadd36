//! Runs dry runs and describes their outcome.

use std::net::SocketAddr;

use harbor_common::{
    backend::Backend, explain::Explanation, flow::Phase, frontend::Policy, verdict::Verdict,
};

use super::{super::heap, Forwarder};
use crate::{
    datapath::{self, DatapathError, Explainer, Interface},
    model::{Finding, FoundBackend, Question, Steps},
};

impl Forwarder {
    /// What would become of this packet. The program for it is loaded at the first question.
    pub(super) fn explain(&mut self, question: &Question) -> Result<Finding, DatapathError> {
        let interface = self.entrance(question)?;
        let mut explainer = match self.explainer.take() {
            Some(explainer) => explainer,
            None => {
                let loaded = Explainer::load(&self.datapath.pins, &self.settings.options())?;
                // Reading and relocating the object takes far more than what is kept of it.
                heap::give_back();
                loaded
            }
        };
        let found = explainer.ask(question, &interface)?;
        self.explainer = Some(explainer);
        self.finding(&found)
    }

    /// The interface that the packet would come in by: the one that leads to its sender.
    fn entrance(&self, question: &Question) -> Result<Interface, DatapathError> {
        let sender = question.source.ip();
        let routes = self.host.routes(&[sender].into());
        let towards = routes.get(&sender).map(|route| route.ifindex);
        let attached = || self.attached.keys().copied();
        let index = attached()
            .find(|index| Some(*index) == towards)
            .or_else(|| attached().next());
        let mut interfaces = self.snapshot.interfaces.iter();
        let found = interfaces.find(|interface| Some(interface.index) == index);
        found.cloned().ok_or_else(|| {
            DatapathError::with_fix(
                "the datapath is attached to no interface",
                "harbor-ctl datapath status",
            )
        })
    }

    fn finding(&self, found: &Explanation) -> Result<Finding, DatapathError> {
        let has = |step| found.steps & step != 0;
        let (is_flow, is_selected) = (has(Explanation::FLOW), has(Explanation::SELECTED));
        let (name, meaning) = Verdict::describe(found.verdict).unwrap_or(("unknown", ""));
        let is_routed = has(Explanation::ROUTED);
        Ok(Finding {
            verdict: datapath::verdict_side(found.verdict).into(),
            name: name.into(),
            meaning: meaning.into(),
            steps: Steps {
                parsed: has(Explanation::PARSED),
                reply: has(Explanation::REPLY),
                quoted: has(Explanation::QUOTED),
                retired: has(Explanation::RETIRED),
                admitted: has(Explanation::ADMITTED),
                affinity: has(Explanation::AFFINITY),
                routed: is_routed,
            },
            passed_as: None,
            frontend: has(Explanation::FRONTEND)
                .then(|| self.frontend_of(found.frontend))
                .flatten(),
            backend: match is_flow || is_selected {
                true => self.backend_of(found.backend)?,
                false => None,
            },
            policy: is_selected.then(|| policy(found.policy)),
            // One direction's word cannot say that both have closed.
            flow: is_flow.then(|| Phase::of(found.word, 0).name().into()),
            interface: is_routed
                .then(|| self.interface_name(found.ifindex))
                .flatten(),
            next_hop: is_routed
                .then(|| self.ways.hardware_of(found.next_hop))
                .flatten(),
        })
    }

    fn frontend_of(&self, slot: u32) -> Option<(crate::model::Protocol, u16)> {
        let mut served = self.mirror.actual.frontends.iter();
        let (key, _) = served.find(|(_, (frontend, _))| frontend.slot == slot)?;
        Some((key.protocol, key.port))
    }

    fn backend_of(&self, slot: u32) -> Result<Option<FoundBackend>, DatapathError> {
        let mut backends = self.mirror.actual.backends.iter();
        let Some((key, (_, row))) = backends.find(|(_, (held, _))| *held == slot) else {
            return Ok(None);
        };
        let learnt = self.counters.of_backend(slot)?;
        let address: SocketAddr = key.address;
        Ok(Some(FoundBackend {
            protocol: key.frontend.protocol,
            port: key.frontend.port,
            address,
            state: Backend::state_name(row.state).into(),
            is_suspect: learnt.generation == row.generation
                && datapath::is_ahead(learnt.suspect_until_ns),
        }))
    }

    fn interface_name(&self, index: u32) -> Option<String> {
        let mut interfaces = self.snapshot.interfaces.iter();
        let found = interfaces.find(|interface| interface.index == index);
        found.map(|interface| interface.name.clone())
    }
}

fn policy(number: u32) -> String {
    let found = Policy::ALL.iter().find(|policy| **policy as u32 == number);
    found.map_or("unknown", |policy| policy.name()).into()
}
