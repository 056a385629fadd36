//! Tables of `harbor-ctl datapath`: links, differences, programs, maps.

use super::output::Row;
use crate::model::{Difference, LinkReport, MapReport, ProgramReport, XdpReport, format_age};

impl Row for LinkReport {
    const HEADINGS: &'static [&'static str] =
        &["INTERFACE", "INDEX", "KIND", "LINK", "PROGRAM", "PUT_BACK"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.interface.clone(),
            self.ifindex.to_string(),
            self.kind.clone(),
            self.link_id.map_or_else(|| "-".into(), |id| id.to_string()),
            self.program_id.to_string(),
            self.put_back_s
                .map_or_else(|| "-".into(), |s| format!("{} ago", format_age(s))),
        ]
    }

    fn name(&self) -> String {
        self.interface.clone()
    }
}

impl Row for Difference {
    const HEADINGS: &'static [&'static str] = &["MAP", "ELEMENT", "PROBLEM"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.map.clone(),
            self.element.clone(),
            self.problem.to_string(),
        ]
    }

    fn name(&self) -> String {
        self.element.clone()
    }
}

impl Row for XdpReport {
    const HEADINGS: &'static [&'static str] = &["XDP", "ATTACHED", "WHY"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.interface.clone(),
            if self.attached { "yes" } else { "no" }.into(),
            crate::model::escaped(&self.reason).into_owned(),
        ]
    }

    fn name(&self) -> String {
        self.interface.clone()
    }
}

impl Row for ProgramReport {
    const HEADINGS: &'static [&'static str] = &[
        "PROGRAM",
        "ID",
        "KIND",
        "VERIFIED",
        "JIT_BYTES",
        "AGE",
        "RUNS",
        "NS_A_RUN",
    ];

    fn cells(&self) -> Vec<String> {
        let known = |value: Option<String>| value.unwrap_or_else(|| "-".into());
        vec![
            self.name.clone(),
            self.id.to_string(),
            self.kind.clone(),
            known(self.verified_instructions.map(|count| count.to_string())),
            self.jit_bytes.to_string(),
            known(self.age_s.map(format_age)),
            self.runs.to_string(),
            known(
                self.run_time_ns
                    .checked_div(self.runs)
                    .map(|ns| ns.to_string()),
            ),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

impl Row for MapReport {
    const HEADINGS: &'static [&'static str] = &[
        "MAP",
        "KIND",
        "KEY_BYTES",
        "VALUE_BYTES",
        "MAX_ENTRIES",
        "PIN",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.kind.clone(),
            self.key_bytes.to_string(),
            self.value_bytes.to_string(),
            self.max_entries.to_string(),
            self.pin.display().to_string(),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}
