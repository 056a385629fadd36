//! `harbor-ctl logs`: what the agent has written to its files, in order of time. Works without an agent.

mod files;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{
    failure::{Exit, Failure},
    output::{Row, print},
    session::Session,
};
use crate::{
    api::List,
    model::{escaped, parse_period, rfc3339},
};
use files::{Follower, newest};

const EXAMPLES: &str = "\
Without a part all four are shown, merged by time. Files are read from paths.log of the configuration.

Examples:
  harbor-ctl logs
  harbor-ctl logs proxy --since 10m
  harbor-ctl logs node -f";

/// How often files are looked at for more.
const LOOK: Duration = Duration::from_millis(250);
/// Lines that are shown when nothing says how many.
const LINES: usize = 100;

/// A log of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Part {
    /// The agent itself
    Node,
    /// The platform API
    Gateway,
    /// The proxy, and conflicts about numbers
    #[value(alias = "proxy_connector")]
    Proxy,
    /// The registry
    Redis,
}

impl Part {
    pub(super) const ALL: [Self; 4] = [Self::Node, Self::Gateway, Self::Proxy, Self::Redis];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Gateway => "gateway",
            Self::Proxy => "proxy",
            Self::Redis => "redis",
        }
    }

    /// What its files' names begin with.
    fn prefix(self) -> &'static str {
        match self {
            Self::Node => "harbor_node",
            Self::Gateway => "harbor_gateway",
            Self::Proxy => "harbor_proxy_connector",
            Self::Redis => "harbor_redis",
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LogsNoun {
    /// One part alone
    part: Option<Part>,
    /// Go on with what is written from now on
    #[arg(short, long)]
    follow: bool,
    /// Only lines of this last period, for example 10m or 1d
    #[arg(long, value_name = "PERIOD", value_parser = parse_period)]
    since: Option<Duration>,
    /// The last lines, so many [default: 100; with --since: all]
    #[arg(short = 'n', long, value_name = "COUNT")]
    lines: Option<usize>,
}

/// One line, with those that belong to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct LogLine {
    /// As it is written: the same length and zone everywhere, so that texts compare as times do.
    pub(super) time: String,
    pub(super) part: &'static str,
    pub(super) text: String,
}

impl Row for LogLine {
    const HEADINGS: &'static [&'static str] = &["TIME", "PART", "TEXT"];

    fn cells(&self) -> Vec<String> {
        vec![self.time.clone(), self.part.to_owned(), self.text.clone()]
    }

    fn name(&self) -> String {
        self.text.clone()
    }
}

/// The last lines of these parts, by time.
pub(super) fn last_lines(
    folder: &std::path::Path,
    parts: &[Part],
    (since, most): (Option<Duration>, usize),
) -> Result<Vec<LogLine>, Failure> {
    let earliest = since.map(|period| SystemTime::now() - period);
    let mut all = Vec::new();
    for part in parts {
        all.extend(newest(folder, *part, (earliest, most))?);
    }
    all.sort_by(|a, b| a.time.cmp(&b.time));
    let surplus = all.len().saturating_sub(most);
    all.drain(..surplus);
    Ok(all)
}

/// A time as lines begin with, to the second.
fn stamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    rfc3339(since.as_secs(), 0).trim_end_matches('Z').to_owned()
}

pub(super) async fn run(session: &Session, noun: LogsNoun) -> Result<Exit, Failure> {
    let folder = session.paths()?.log;
    let parts = match noun.part {
        Some(part) => vec![part],
        None => Part::ALL.to_vec(),
    };
    let unlimited = if noun.since.is_some() {
        usize::MAX
    } else {
        LINES
    };
    let most = noun.lines.unwrap_or(unlimited);
    // Before they are read: what is written meanwhile is rather shown twice than lost.
    let mut followers = Vec::new();
    if noun.follow {
        for part in &parts {
            followers.push(Follower::at_the_end(&folder, *part));
        }
    }
    let lines = last_lines(&folder, &parts, (noun.since, most))?;
    if !noun.follow && !session.output.is_for_people() {
        session.output.list(&List::of("LogLineList", lines))?;
        return Ok(Exit::Ok);
    }
    show(session, &lines, parts.len() > 1)?;
    if !noun.follow {
        return Ok(Exit::Ok);
    }
    loop {
        tokio::time::sleep(LOOK).await;
        let mut more: Vec<LogLine> = followers.iter_mut().flat_map(Follower::more).collect();
        more.sort_by(|a, b| a.time.cmp(&b.time));
        show(session, &more, parts.len() > 1)?;
    }
}

/// For people as they are written; one object a line for scripts that follow.
fn show(session: &Session, lines: &[LogLine], are_many: bool) -> Result<(), Failure> {
    let mut text = String::new();
    for line in lines {
        if !session.output.is_for_people() {
            let object = serde_json::to_string(line);
            text.push_str(&object.map_err(|error| Failure::failed(error.to_string()))?);
        } else if are_many {
            text.push_str(&escaped(&format!(
                "{:<7} {} {}",
                line.part, line.time, line.text
            )));
        } else {
            text.push_str(&escaped(&format!("{} {}", line.time, line.text)));
        }
        text.push('\n');
    }
    print(&text)
}
