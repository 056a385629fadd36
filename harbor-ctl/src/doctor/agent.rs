//! The agent: whether one runs, what it may use, and what it says of itself.

use std::fs;

use super::{finding::Finding, finding::or_ok, patient::Patient};

/// Descriptors beside the sockets of numbers: logs, registry, APIs, and some connections.
const BESIDE: u64 = 2_048;

pub(super) fn agent(patient: &Patient) -> Vec<Finding> {
    vec![match &patient.agent {
        Ok(Some(agent)) => Finding::ok(format!("pid {}", agent.pid)),
        Ok(None) => Finding::warning("no agent runs").fix("systemctl start harbor"),
        Err(text) => {
            Finding::fault(text.clone()).fix("journalctl -u harbor; systemctl restart harbor")
        }
    }]
}

pub(super) fn descriptors(patient: &Patient) -> Vec<Finding> {
    let (Some(config), Some(agent)) = (patient.config(), patient.running()) else {
        return vec![Finding::skipped("no agent runs")];
    };
    let Ok(limits) = fs::read_to_string(format!("/proc/{}/limits", agent.pid)) else {
        return vec![Finding::skipped(
            "the agent's limits cannot be read: run this as root",
        )];
    };
    let needed = 2 * config.range.len() as u64 + BESIDE;
    vec![judge(&limits, needed)]
}

/// What `/proc/PID/limits` means.
fn judge(limits: &str, needed: u64) -> Finding {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let word = line.and_then(|rest| rest.split_whitespace().next());
    match word.and_then(|word| word.parse::<u64>().ok()) {
        Some(limit) if limit < needed => {
            let text = format!("{limit} descriptors, and the range may need {needed}");
            let fix =
                format!("LimitNOFILE={needed} in the unit (systemctl edit harbor), then restart");
            Finding::warning(text).fix(fix)
        }
        Some(limit) => Finding::ok(format!("{limit} descriptors")),
        None if word == Some("unlimited") => Finding::ok("no limit"),
        None => Finding::skipped("the kernel does not say"),
    }
}

pub(super) fn parts(patient: &Patient) -> Vec<Finding> {
    let Some(agent) = patient.running() else {
        return vec![Finding::skipped("no agent runs")];
    };
    let told = agent.troubles.iter().map(|(part, text, fix)| {
        let finding = Finding::fault(format!("{part}: {text}"));
        match fix {
            Some(fix) => finding.fix(fix.clone()),
            None => finding.fix("harbor-ctl status"),
        }
    });
    or_ok(told.collect(), "all are")
}

#[cfg(test)]
mod tests {
    use super::{super::State, *};

    #[test]
    fn a_limit_below_what_the_range_needs_is_told() {
        let limits = |soft: &str| {
            format!(
                "Limit  Soft Limit  Hard Limit  Units\nMax open files            {soft}  65536  files\n"
            )
        };
        assert_eq!(judge(&limits("1024"), 12_050).state, State::Warning);
        assert_eq!(judge(&limits("65536"), 12_050).state, State::Ok);
        assert_eq!(judge(&limits("unlimited"), 12_050).state, State::Ok);
        assert_eq!(judge("", 12_050).state, State::Skipped);
    }
}
