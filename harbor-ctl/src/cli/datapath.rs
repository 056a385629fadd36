//! `harbor-ctl datapath`: inspects the kernel's side. Works without an agent, on `[paths].bpf`.

use clap::Subcommand;
use serde::Serialize;
use serde_json::Value;

use super::{
    failure::{Exit, Failure},
    output::Row,
    session::Session,
};
use crate::{
    api::{List, StatusReport},
    config::Paths,
    control, datapath, forwarding,
    model::{DatapathReport, DetachReport, Verification},
};

/// Elements of a map that are printed at once.
const ROWS: usize = 1_000;

const DETACH_EXAMPLES: &str = "\
Every port stops forwarding at once, and its number is no longer reserved. Services stay in the \
registry; the next agent brings them back.

Examples:
  systemctl stop harbor && harbor-ctl datapath detach --yes";

const PROGRAMS_EXAMPLES: &str = "\
Runs and their time are counted only while the kernel is told to, which costs every program a little:

  sysctl kernel.bpf_stats_enabled=1 && sleep 10 && harbor-ctl datapath programs
  sysctl kernel.bpf_stats_enabled=0";

const VERIFY_EXAMPLES: &str = "\
Nobody but the agent writes these tables, but whoever is root can. The agent does not read them all \
again by itself: that takes about as long as its start. Repairing ends no flow that the damage did not. The exit code \
is 7 if something differs, or is wrong with the datapath otherwise, and has not been repaired.

Examples:
  harbor-ctl datapath verify
  harbor-ctl datapath verify --repair";

const ATTACH_EXAMPLES: &str = "\
The agent does this once a second, and this command asks it to do it now. Where no agent runs, the \
programs of this version take the place of those that are attached, and go by what the last agent told \
them, and by routes and neighbours as they are now: flows and ports stay as they were. PUT_BACK says how \
long ago an interface was given the program that others had taken off it. The exit code is 7 if an interface does not have it. To which interfaces: \
harbor-ctl config set node.interfaces NAME,NAME

Examples:
  harbor-ctl datapath attach";

#[derive(Debug, Subcommand)]
pub(crate) enum DatapathVerb {
    /// Show where the programs are attached and what they decided
    Status,
    /// List the loaded programs: their sizes, and what a run costs
    #[command(after_help = PROGRAMS_EXAMPLES)]
    Programs,
    /// List the pinned maps
    Maps,
    /// Print the contents of a pinned map, or of all
    #[command(after_help = "Examples:\n  harbor-ctl datapath dump frontends -o json")]
    Dump {
        /// The map's name, as `datapath maps` shows it
        map: Option<String>,
    },
    /// Attach the programs to every interface of [node].interfaces that does not have them
    #[command(after_help = ATTACH_EXAMPLES)]
    Attach,
    /// Compare the kernel's tables with what the agent wrote there
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify {
        /// Write anew what differs
        #[arg(long)]
        repair: bool,
    },
    /// Remove programs, links and maps from the kernel
    #[command(after_help = DETACH_EXAMPLES)]
    Detach {
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

pub(super) async fn run(session: &Session, verb: DatapathVerb) -> Result<Exit, Failure> {
    match verb {
        DatapathVerb::Status => status(session).await?,
        DatapathVerb::Programs => {
            let programs = datapath::programs(&paths(session)?.bpf)?;
            session.output.list(&List::of("ProgramList", programs))?;
        }
        DatapathVerb::Maps => {
            let maps = datapath::maps(&paths(session)?.bpf)?;
            session.output.list(&List::of("MapList", maps))?;
        }
        DatapathVerb::Dump { map } => dump(session, map)?,
        DatapathVerb::Attach => return attach(session).await,
        DatapathVerb::Verify { repair } => return verify(session, repair).await,
        DatapathVerb::Detach { yes } => detach(session, yes)?,
    }
    Ok(Exit::Ok)
}

fn paths(session: &Session) -> Result<Paths, Failure> {
    Ok(session.paths()?)
}

/// The agent knows more; without one the pins speak for themselves.
pub(super) async fn report(session: &Session) -> Result<DatapathReport, Failure> {
    let asked = match session.client() {
        Ok(client) => client.get::<StatusReport>("/v1/status").await.ok(),
        Err(_) => None,
    };
    match asked.and_then(|report| report.datapath_report) {
        Some(report) => Ok(report),
        None => Ok(datapath::status(&paths(session)?.bpf)?),
    }
}

async fn status(session: &Session) -> Result<(), Failure> {
    let report = report(session).await?;
    session.output.text(&status_text(session, &report), &report)
}

async fn attach(session: &Session) -> Result<Exit, Failure> {
    let loaded = session.configuration();
    let is_alone = session.globals.socket.is_none()
        && loaded
            .as_ref()
            .is_ok_and(|loaded| !control::is_locked(&loaded.config.paths.run));
    let report = match is_alone {
        true => {
            let report = forwarding::attach_without_agent(&loaded?.config)?;
            session.say("no agent runs: the programs go by what the last one told them");
            report
        }
        false => attached_by_agent(session).await?,
    };
    session
        .output
        .text(&attach_text(session, &report), &report)?;
    Ok(match report.state.as_str() {
        "ok" => Exit::Ok,
        _ => Exit::Degraded,
    })
}

/// The agent attaches before it tells what is attached.
async fn attached_by_agent(session: &Session) -> Result<DatapathReport, Failure> {
    let status: StatusReport = session.client()?.get("/v1/status").await?;
    let part = status.datapath;
    status.datapath_report.ok_or_else(|| {
        let failure = Failure::new(Exit::Conflict, "datapath", part.text);
        match part.fix {
            Some(fix) => failure.fix(fix),
            None => failure,
        }
    })
}

fn attach_text(session: &Session, report: &DatapathReport) -> String {
    let problem = |problem: &String| format!("Problem {}\n", crate::model::escaped(problem));
    let mut text: String = report.problems.iter().map(problem).collect();
    if !text.is_empty() && !report.links.is_empty() {
        text.push('\n');
    }
    text + &session.output.table(&report.links)
}

fn dump(session: &Session, map: Option<String>) -> Result<(), Failure> {
    let bpf = paths(session)?.bpf;
    let names = match map {
        Some(map) => vec![map],
        None => datapath::maps(&bpf)?
            .into_iter()
            .map(|map| map.name)
            .collect(),
    };
    let mut listing = session.output.listing("MapEntryList", ROWS);
    for name in &names {
        let map = (names.len() > 1).then(|| name.clone());
        datapath::dump(&bpf, name, &mut |element| {
            let map = map.clone();
            listing.add(Element { element, map })
        })?;
    }
    listing.finish()
}

/// An element of a map as it is printed.
#[derive(Debug, Serialize)]
struct Element {
    #[serde(flatten)]
    element: Value,
    /// Where there is more than one.
    #[serde(skip_serializing_if = "Option::is_none")]
    map: Option<String>,
}

impl Row for Element {
    const HEADINGS: &'static [&'static str] = &[];

    fn cells(&self) -> Vec<String> {
        vec![self.name()]
    }

    fn name(&self) -> String {
        let map = self.map.iter().map(|map| format!("{map} "));
        map.chain([self.element.to_string()]).collect()
    }
}

async fn verify(session: &Session, repair: bool) -> Result<Exit, Failure> {
    let client = session.client()?;
    let progress = session.progress("comparing the kernel's tables".into());
    let found: Verification = match repair {
        true => client.post("/v1/datapath/repair", &()).await?,
        false => client.get("/v1/datapath/verify").await?,
    };
    drop(progress);
    session
        .output
        .text(&verified_text(session, &found), &found)?;
    Ok(match found.is_well() {
        true => Exit::Ok,
        false => Exit::Degraded,
    })
}

fn verified_text(session: &Session, found: &Verification) -> String {
    let elements = found.elements;
    let mut text = match (found.count, found.is_repaired) {
        (0, _) => format!("All {elements} elements are as they were written.\n"),
        (1, true) => format!("1 of {elements} elements was not as it was written, and is again.\n"),
        (count, true) => {
            format!(
                "{count} of {elements} elements were not as they were written, and are again.\n"
            )
        }
        (count, false) => {
            let verb = if count == 1 { "is" } else { "are" };
            let pronoun = if count == 1 { "it was" } else { "they were" };
            format!(
                "{count} of {elements} elements {verb} not as {pronoun} written: \
                 harbor-ctl datapath verify --repair\n"
            )
        }
    };
    for problem in &found.problems {
        text.push_str(&format!("Problem {}\n", crate::model::escaped(problem)));
    }
    if !found.differences.is_empty() {
        text.push('\n');
        text.push_str(&session.output.table(&found.differences));
    }
    let more = found.count - found.differences.len() as u64;
    if more > 0 {
        text.push_str(&format!("and {more} more\n"));
    }
    text
}

fn detach(session: &Session, yes: bool) -> Result<(), Failure> {
    let paths = paths(session)?;
    if control::is_locked(&paths.run) {
        let text = format!(
            "an agent runs on {}: it would attach again",
            paths.run.display()
        );
        return Err(Failure::new(Exit::Conflict, "conflict", text)
            .fix("stop it first: systemctl stop harbor"));
    }
    let question = format!(
        "remove the datapath under {} and end every flow",
        paths.bpf.display()
    );
    session.confirm(&question, yes)?;
    let mut report = datapath::detach(&paths.bpf)?;
    report.reserved = datapath::release(&paths.state)?.to_string();
    session.output.text(&detach_text(&report), &report)
}

fn detach_text(report: &DetachReport) -> String {
    let mut text = String::new();
    for link in &report.links {
        text.push_str(&format!("detached {link}\n"));
    }
    for map in &report.maps {
        text.push_str(&format!("removed map {map}\n"));
    }
    for directory in &report.directories {
        text.push_str(&format!("removed {}\n", directory.display()));
    }
    if !report.reserved.is_empty() {
        text.push_str(&format!("no longer reserved: {}\n", report.reserved));
    }
    if text.is_empty() {
        "nothing was attached\n".into()
    } else {
        text
    }
}

fn status_text(session: &Session, report: &DatapathReport) -> String {
    let mut text = format!(
        "State   {}\nKernel  {}\nLayout  {}\nPins    {}\n",
        report.state,
        report.kernel,
        report.layout,
        report.pins.display()
    );
    for problem in &report.problems {
        text.push_str(&format!("Problem {}\n", crate::model::escaped(problem)));
    }
    if !report.links.is_empty() {
        text.push('\n');
        text.push_str(&session.output.table(&report.links));
    }
    if !report.xdp.is_empty() {
        text.push('\n');
        text.push_str(&session.output.table(&report.xdp));
    }
    let mut counted = report.verdicts.clone();
    counted.retain(|count| count.packets > 0);
    if !counted.is_empty() {
        text.push('\n');
        text.push_str(&session.output.table(&counted));
    }
    if let Some(carried) = &report.carried
        && carried.requests + carried.replies > 0
    {
        text.push_str(&format!(
            "\nCarried by the agent, fragments out of order: {} datagrams to backends, {} to clients\n",
            carried.requests, carried.replies
        ));
    }
    text
}
