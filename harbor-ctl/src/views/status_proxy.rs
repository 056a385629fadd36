//! The proxy's part of `status`: what it holds, who has most of it, and which of its threads hang.

use crate::{
    api::PartStatus,
    model::counted,
    proxy::{ProxyReport, ShareReport, Unheld},
};

/// What to do about a thread of the proxy that hangs.
const SILENT_PROXY_FIX: &str =
    "if it lasts: harbor-ctl support bundle, then systemctl restart harbor";
/// What to do about a port that has its share of descriptors, or about all of them.
const SHARES_FIX: &str = "end flows: harbor-ctl flows list; or limit who may open them: harbor-ctl \
    ports set NAME new_per_second=N; or let one port have more: harbor-ctl config set \
    proxy.descriptors_per_port 50%";
/// What is full is named up to here.
const NAMED: usize = 4;

/// How many numbers the proxy holds, and which it cannot; one that another process has is the
/// port's trouble, and told there.
pub(super) fn proxy_part(report: &ProxyReport) -> PartStatus {
    let ProxyReport {
        held,
        connections,
        descriptors,
        descriptor_limit,
        shed,
        ..
    } = report;
    let mut text = format!(
        "{} held, {}, {descriptors} of {descriptor_limit} descriptors",
        counted(*held, "number"),
        counted(*connections, "connection")
    );
    if *shed > 0 {
        text.push_str(&format!(", {shed} turned away"));
    }
    if report.shares.ended > 0 {
        text.push_str(&format!(", {} ended for others", report.shares.ended));
    }
    let (most, full) = shares(&report.shares);
    text.push_str(&most);
    let mut failed = report
        .unheld
        .iter()
        .filter(|(_, why)| *why != Unheld::Taken);
    if report.silent > 0 {
        let (silent, threads) = (report.silent, counted(report.threads, "thread"));
        let (does, them) = match silent {
            1 => ("does", "it"),
            _ => ("do", "them"),
        };
        return PartStatus {
            fix: Some(SILENT_PROXY_FIX.into()),
            ..part(
                "degraded",
                format!("{text}; {silent} of {threads} {does} not answer: clients of {them} wait"),
            )
        };
    }
    let Some(((protocol, port), why)) = failed.next() else {
        return PartStatus {
            state: if full { "degraded" } else { "ok" }.into(),
            text,
            fix: full.then(|| SHARES_FIX.to_owned()),
        };
    };
    let others = match failed.count() {
        0 => String::new(),
        others => format!(", and {others} more"),
    };
    let is_scarce = *why == Unheld::Scarce;
    PartStatus {
        fix: is_scarce.then(|| more_descriptors(report.descriptors_needed)),
        ..part(
            "degraded",
            format!("{text}; {port}/{protocol} is not held: {why}{others}"),
        )
    }
}

/// Who has most of the proxy's descriptors, and what is full or nearly so; whether that concerns more
/// than one client.
fn shares(report: &ShareReport) -> (String, bool) {
    let fullest = report.fullest.iter().filter(|one| one.what != "all");
    let most: Vec<String> = fullest.map(ToString::to_string).collect();
    let mut text = match most.is_empty() {
        true => String::new(),
        false => format!("; most: {}", most.join(", ")),
    };
    let (mut whole_or_port, mut named) = (false, 0);
    for one in &report.full {
        // A client that has all it may have is that client's matter alone.
        whole_or_port |= one.what != "client";
        named += 1;
        if named <= NAMED {
            let how = if one.is_full() { "full" } else { "nearly full" };
            text.push_str(&format!("; {how}: {one}"));
        }
    }
    if named > NAMED {
        text.push_str(&format!("; and {} more", named - NAMED));
    }
    (text, whole_or_port)
}

fn part(state: &str, text: String) -> PartStatus {
    PartStatus {
        state: state.to_owned(),
        text,
        fix: None,
    }
}

/// What to do where numbers have no socket for want of descriptors.
pub(crate) fn more_descriptors(needed: u64) -> String {
    format!("set LimitNOFILE={needed} or more in the unit (systemctl edit harbor), then restart")
}
