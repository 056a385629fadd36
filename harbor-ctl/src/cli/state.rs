//! `harbor-ctl state`: everything that the registry holds, as a document, a copy and a comparison.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use clap::Subcommand;

use super::{
    failure::{Exit, Failure},
    output::Row,
    session::Session,
};
use crate::{
    api::{BackupItem, ServiceCount, StateCheck, StateDocument},
    model::{are, counted},
};

const IMPORT_EXAMPLES: &str = "\
All of the document is taken, or nothing: a name, id or number that somebody else has, or an address \
that may not be a backend, refuses it. What is there already, exactly so, is left alone. What is served \
and is missing after it is named.

Examples:
  harbor-ctl state export > state.json
  harbor-ctl state import state.json";

#[derive(Debug, Subcommand)]
pub(crate) enum StateVerb {
    /// Print every service with its port and backends, as JSON
    #[command(after_help = "Examples:\n  harbor-ctl state export")]
    Export,
    /// Take the services of an exported document in
    #[command(after_help = IMPORT_EXAMPLES)]
    Import {
        /// The document; - for stdin
        file: PathBuf,
    },
    /// Compare the registry, its journal and the kernel
    #[command(after_help = "Exit codes: 0 all agree, 7 they differ.")]
    Check,
    /// Copy the registry to a file while the agent runs
    Backup,
    /// Let go of ports that the registry does not have any more
    Confirm {
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

pub(super) async fn run(session: &Session, verb: StateVerb) -> Result<Exit, Failure> {
    if let StateVerb::Import { file } = &verb {
        import(session, file).await?;
        return Ok(Exit::Ok);
    }
    let client = session.client()?;
    match verb {
        StateVerb::Import { .. } => unreachable!("answered above"),
        StateVerb::Export => {
            let progress = session.progress("exporting".into());
            let document: StateDocument = client.get("/v1/state").await?;
            drop(progress);
            let text = serde_json::to_string_pretty(&document);
            let text = text.map_err(|error| Failure::failed(error.to_string()))?;
            session.output.text(&(text + "\n"), &document)?;
        }
        StateVerb::Check => {
            let check: StateCheck = client.get("/v1/state/check").await?;
            session.output.text(&check_text(&check), &check)?;
            return Ok(match check.differences.is_empty() {
                true => Exit::Ok,
                false => Exit::Degraded,
            });
        }
        StateVerb::Backup => {
            let progress = session.progress("copying the registry".into());
            let nothing = serde_json::json!({});
            let item: BackupItem = client.post("/v1/state/backup", &nothing).await?;
            drop(progress);
            session.output.item(&item)?;
        }
        StateVerb::Confirm { yes } => {
            session.confirm("let go of the ports that the registry does not have", yes)?;
            let nothing = serde_json::json!({});
            let count: ServiceCount = client.post("/v1/state/confirm", &nothing).await?;
            session.output.text(
                &format!(
                    "{} {} gone\n",
                    counted(count.services, "port"),
                    are(&count.services)
                ),
                &count,
            )?;
        }
    }
    Ok(Exit::Ok)
}

/// Takes a document in, and names what is still missing then.
async fn import(session: &Session, file: &Path) -> Result<(), Failure> {
    let document = read(file)?;
    let client = session.client()?;
    let services = counted(document.services.len(), "service");
    let progress = session.progress(format!("importing {services}"));
    let count: ServiceCount = client.post("/v1/state/import", &document).await?;
    drop(progress);
    session
        .output
        .text(&format!("{}\n", counted(count.services, "service")), &count)?;
    for missing in &count.missing {
        super::output::warn(missing);
    }
    if !count.missing.is_empty() {
        session.say("what is to become of it: harbor-ctl status");
    }
    Ok(())
}

/// Reads the document; what is wrong with it on its own is said before anybody is asked.
fn read(file: &Path) -> Result<StateDocument, Failure> {
    let mut text = String::new();
    let outcome = match file == Path::new("-") {
        true => std::io::stdin().read_to_string(&mut text).map(drop),
        false => std::fs::read_to_string(file).map(|read| text = read),
    };
    outcome.map_err(|error| Failure::usage(format!("{}: {error}", file.display())))?;
    serde_json::from_str(&text).map_err(|error| {
        Failure::usage(format!("{}: {error}", file.display()))
            .fix("a document of: harbor-ctl state export")
    })
}

fn check_text(check: &StateCheck) -> String {
    let mut text = format!(
        "{}: {} compared\n",
        check.state,
        counted(check.services, "service")
    );
    for difference in &check.differences {
        text.push_str(&format!("  {}\n", crate::model::escaped(difference)));
    }
    text
}

impl Row for BackupItem {
    const HEADINGS: &'static [&'static str] = &["FILE", "BYTES"];

    fn cells(&self) -> Vec<String> {
        vec![self.file.display().to_string(), self.bytes.to_string()]
    }

    fn name(&self) -> String {
        self.file.display().to_string()
    }
}
