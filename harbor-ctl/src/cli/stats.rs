//! `harbor-ctl stats`: what became of packets, and why. Works without an agent, as `datapath` does.

use clap::Args;

use super::{
    datapath::report,
    failure::{Exit, Failure},
    output::Row,
    session::Session,
};
use crate::{api::List, model::VerdictCount};

const EXAMPLES: &str = "\
Every packet that comes in is counted under exactly one verdict. JSON has those of no packets too.

Examples:
  harbor-ctl stats
  harbor-ctl stats --all
  harbor-ctl stats -o json";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StatsNoun {
    /// Show verdicts of no packets too
    #[arg(long)]
    all: bool,
}

pub(super) async fn run(session: &Session, noun: StatsNoun) -> Result<Exit, Failure> {
    let mut counts = report(session).await?.verdicts;
    if session.output.is_for_people() && !noun.all {
        counts.retain(|count| count.packets > 0);
    }
    session.output.list(&List::of("VerdictList", counts))?;
    Ok(Exit::Ok)
}

impl Row for VerdictCount {
    const HEADINGS: &'static [&'static str] = &["VERDICT", "REASON", "PACKETS", "MEANING"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.verdict.clone(),
            self.name.clone(),
            self.packets.to_string(),
            self.meaning.clone(),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}
