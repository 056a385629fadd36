//! Explains what the proxy would do with a packet, without changing anything.

use std::sync::Arc;

use harbor_common::verdict::{DropReason, FIRST_DROP, PassReason, Verdict};

use super::{
    Proxy,
    select::{Choice, backend::Backend, choose, frontend::Frontend, limits::would_admit},
    worker::clock::now_ns,
};
use crate::model::{
    ClientName, Finding, FlowFilter, FlowRecord, FoundBackend, Protocol, Question, Steps, TcpFlag,
};

pub(super) fn explain(proxy: &Proxy, question: &Question, is_here: bool) -> Finding {
    let key = (question.protocol, question.destination.port());
    let (frontend, is_held) = {
        let board = proxy.board();
        (
            board.frontends.get(&key).cloned(),
            board.seats.contains_key(&key),
        )
    };
    let is_ours = is_here && proxy.0.common.only.has(question.destination.ip());
    let mut finding = Finding {
        steps: Steps {
            parsed: true,
            ..Steps::default()
        },
        ..Finding::default()
    };
    let verdict = match frontend {
        None => Verdict::Pass(PassReason::NotOurs),
        Some(_) if !is_held || !is_ours => Verdict::Pass(PassReason::NotOurs),
        Some(frontend) => {
            finding.frontend = Some(key);
            let flow = flow_of(proxy, question);
            judge(&frontend, (proxy, question), flow, &mut finding)
        }
    };
    let number = verdict.number();
    let (name, meaning) = Verdict::describe(number).unwrap_or(("unknown", ""));
    let side = match number {
        0 => "forward",
        number if number < FIRST_DROP => "pass",
        _ => "drop",
    };
    (finding.verdict, finding.name, finding.meaning) = (side.into(), name.into(), meaning.into());
    finding
}

fn judge(
    frontend: &Frontend,
    (proxy, question): (&Proxy, &Question),
    flow: Option<FlowRecord>,
    finding: &mut Finding,
) -> Verdict {
    let now = now_ns();
    if let Some(flow) = flow {
        let mut backends = frontend.backends().into_iter();
        let backend = backends.find(|backend| backend.address == flow.backend);
        finding.backend = backend.map(|backend| found(frontend, &backend));
        finding.flow = Some(flow.state);
        return Verdict::Forward(0);
    }
    let opens = question.protocol == Protocol::Udp || question.flags == [TcpFlag::Syn];
    if !opens {
        return Verdict::Pass(PassReason::NoFlow);
    }
    finding.steps.admitted = true;
    let client = question.source.ip();
    let shares = &proxy.0.common.shares;
    let admitted = would_admit(frontend, client, now);
    let entered = admitted.and_then(|()| shares.would_enter(frontend, client, now));
    if let Err(reason) = entered {
        return Verdict::Drop(reason);
    }
    match choose(frontend, question.source.ip(), now, &[], Choice::Dry) {
        None => Verdict::Drop(DropReason::NoBackend),
        Some(chosen) => {
            finding.steps.affinity = chosen.is_kept;
            finding.policy = Some(frontend.policy().to_string());
            finding.backend = Some(found(frontend, &chosen.backend));
            Verdict::Forward(0)
        }
    }
}

fn flow_of(proxy: &Proxy, question: &Question) -> Option<FlowRecord> {
    let filter = FlowFilter {
        client: ClientName::parse(&question.source.to_string()).ok(),
        ..FlowFilter::default()
    };
    proxy.flows(filter).flatten().flatten().find(|flow| {
        flow.protocol == question.protocol
            && flow.client == question.source
            && flow.frontend == question.destination
    })
}

fn found(frontend: &Frontend, backend: &Arc<Backend>) -> FoundBackend {
    let (protocol, port) = frontend.key;
    let mut takers = frontend.roster().takers.iter();
    let state = match () {
        () if takers.any(|taker| Arc::ptr_eq(&taker.backend, backend)) => {
            match backend.is_ejected() {
                true => "ejected",
                false => "active",
            }
        }
        () if backend.is_gone() => "gone",
        () if backend.is_left() => "unhealthy",
        () => "draining",
    };
    FoundBackend {
        protocol,
        port,
        address: backend.address,
        state: state.into(),
        is_suspect: false,
    }
}
