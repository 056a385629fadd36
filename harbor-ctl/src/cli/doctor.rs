//! `harbor-ctl doctor`: looks at everything that Harbor assumes of its host. Works without an agent.

use clap::Args;
use serde::Serialize;

use super::{
    failure::{Exit, Failure},
    globals::Globals,
    output::Row,
    session::Session,
};
use crate::{
    api::{BackendItem, List, StatusReport},
    control,
    doctor::{self, AgentFacts, CHECKS, Check, Finding, Patient, State},
    model::{RegistryUrl, counted, escaped},
};

const EXAMPLES: &str = "\
Changes nothing without --fix, which mends what harms nobody else: folders, rights of files, settings \
of the kernel that are Harbor's business. The rest is said with the command that does it.

Exit codes: 0 nothing is at fault (there may be warnings), 7 something is.

Examples:
  harbor-ctl doctor
  harbor-ctl doctor --fix
  harbor-ctl doctor --list
  harbor-ctl doctor -o json";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DoctorNoun {
    /// Mend what can be mended without harm to others
    #[arg(long)]
    fix: bool,
    /// Show what is looked at, and why; look at nothing
    #[arg(long, conflicts_with = "fix")]
    list: bool,
    /// Look at this alone, for example certificates; may be given more than once
    #[arg(long, value_name = "CHECK", value_parser = check_name)]
    only: Vec<String>,
}

fn check_name(text: &str) -> Result<String, String> {
    let names: Vec<&str> = CHECKS.iter().map(|check| check.name).collect();
    match names.contains(&text) {
        true => Ok(text.to_owned()),
        false => Err(format!("checks are {}", names.join(", "))),
    }
}

/// One row: a check, or one thing that it has found.
#[derive(Debug, Serialize)]
struct CheckItem {
    check: &'static str,
    state: State,
    what: &'static str,
    why: &'static str,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
    /// Whether --fix does it.
    can_mend: bool,
    /// What --fix has done.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mended: Vec<String>,
}

/// A check, as `--list` shows it.
#[derive(Debug, Serialize)]
struct CheckRow {
    check: &'static str,
    what: &'static str,
    why: &'static str,
}

impl Row for CheckRow {
    const HEADINGS: &'static [&'static str] = &["CHECK", "WHAT", "WHY"];

    fn cells(&self) -> Vec<String> {
        [self.check, self.what, self.why]
            .map(str::to_owned)
            .to_vec()
    }

    fn name(&self) -> String {
        self.check.to_owned()
    }
}

pub(super) fn run(globals: &Globals, noun: &DoctorNoun) -> Result<Exit, Failure> {
    let session = Session::new(globals)?;
    let is_wanted =
        |check: &&Check| noun.only.is_empty() || noun.only.iter().any(|n| n == check.name);
    let checks: Vec<&Check> = CHECKS.iter().filter(is_wanted).collect();
    if noun.list {
        let row = |check: &&Check| CheckRow {
            check: check.name,
            what: check.what,
            why: check.why,
        };
        let rows = checks.iter().map(row).collect();
        session.output.list(&List::of("CheckList", rows))?;
        return Ok(Exit::Ok);
    }
    let patient = patient(&session)?;
    let items = checks
        .iter()
        .flat_map(|check| examine(check, &patient, noun.fix));
    let items: Vec<CheckItem> = items.collect();
    let text = text(&items, noun.fix);
    let worst = items.iter().map(|item| item.state).max();
    session.output.text(&text, &List::of("CheckList", items))?;
    Ok(match worst {
        Some(State::Fault) => Exit::Degraded,
        _ => Exit::Ok,
    })
}

/// What every check finds, with nothing mended.
pub(super) fn report(session: &Session) -> Result<impl Serialize, Failure> {
    let checks: Vec<&Check> = CHECKS.iter().collect();
    Ok(List::of("CheckList", examined(session, &checks, false)?))
}

fn examined(session: &Session, checks: &[&Check], fix: bool) -> Result<Vec<CheckItem>, Failure> {
    let patient = patient(session)?;
    let items = checks
        .iter()
        .flat_map(|check| examine(check, &patient, fix));
    Ok(items.collect())
}

/// Looks once, mends if it is to, and looks again at what was mended.
fn examine(check: &Check, patient: &Patient, fix: bool) -> Vec<CheckItem> {
    let mut findings = (check.look)(patient);
    let mut mended = Vec::new();
    if fix {
        let mends = findings
            .iter_mut()
            .filter_map(|finding| finding.mend.take());
        for mend in mends {
            mended.push(mend().unwrap_or_else(|error| format!("not mended: {error}")));
        }
        if !mended.is_empty() {
            findings = (check.look)(patient);
        }
    }
    let item = |finding: Finding| CheckItem {
        check: check.name,
        state: finding.state,
        what: check.what,
        why: check.why,
        text: finding.text,
        fix: finding.fix,
        can_mend: finding.mend.is_some(),
        mended: std::mem::take(&mut mended),
    };
    findings.into_iter().map(item).collect()
}

/// What checks look at; the agent and the registry are asked before.
fn patient(session: &Session) -> Result<Patient, Failure> {
    let loaded = session.configuration();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
    let agent = runtime.block_on(ask(session));
    let agent = match (agent, &loaded) {
        (Err(failure), Ok(loaded)) if failure.is_unreachable() => {
            match control::is_locked(&loaded.config.paths.run) {
                true => Err("an agent runs, and does not answer at its socket".to_owned()),
                false => Ok(None),
            }
        }
        (Err(failure), Err(_)) if failure.is_unreachable() => Ok(None),
        (Err(failure), _) => Err(failure.description().to_owned()),
        (Ok(facts), _) => Ok(Some(facts)),
    };
    let redis = loaded.as_ref().ok().and_then(|loaded| {
        let RegistryUrl::Redis(url) = loaded.config.registry.url.clone() else {
            return None;
        };
        Some(runtime.block_on(doctor::ask_registry(&loaded.config.registry, url)))
    });
    drop(runtime);
    let mut patient = Patient::new(loaded);
    (patient.agent, patient.redis) = (agent, redis);
    Ok(patient)
}

async fn ask(session: &Session) -> Result<AgentFacts, Failure> {
    let client = session.client()?;
    let status: StatusReport = client.get("/v1/status").await?;
    let backends: List<BackendItem> = client.list("/v1/backends", None).await?;
    let troubles = status
        .parts()
        .into_iter()
        .filter(|(_, part)| part.state != "ok");
    let troubles = troubles.map(|(name, part)| {
        let (text, fix) = (part.text.clone(), part.fix.clone());
        (name.to_owned(), text, fix)
    });
    Ok(AgentFacts {
        pid: status.pid,
        troubles: troubles.collect(),
        backends: backends.items.iter().map(|b| b.address).collect(),
    })
}

fn text(items: &[CheckItem], fixed: bool) -> String {
    let mut text = String::new();
    let mut last = "";
    for item in items {
        let named = if item.check == last { "" } else { item.check };
        last = item.check;
        let mut line = |label: &str, words: &str| {
            text.push_str(&format!("{label:<8} {}\n", escaped(words)));
        };
        line(item.state.name(), &format!("{named:<13} {}", item.text));
        let mut more = |label: &str, words: &str| line("", &format!("{:<13} {label} {words}", ""));
        for done in &item.mended {
            more("done:", done);
        }
        if matches!(item.state, State::Warning | State::Fault) {
            more("why: ", item.why);
            if let Some(fix) = &item.fix {
                more("fix: ", fix);
            }
            if item.can_mend && !fixed {
                more("     ", "harbor-ctl doctor --fix does it");
            }
        }
    }
    let count = |state| items.iter().filter(|item| item.state == state).count();
    let (faults, warnings) = (count(State::Fault), count(State::Warning));
    text.push_str(&format!(
        "\n{}, {}\n",
        counted(faults, "fault"),
        counted(warnings, "warning")
    ));
    text
}
