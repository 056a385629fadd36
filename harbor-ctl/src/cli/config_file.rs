//! What `harbor-ctl config` says of files and keys without an agent: whether a file is right, what a
//! key is, and the schema for editors.

use std::path::PathBuf;

use serde::Serialize;

use super::{
    failure::{Exit, Failure},
    output::print,
    session::Session,
};
use crate::{
    api::List,
    config::{self, ConfigError, Key, Problem, Source},
    model::{ConfigItem, Refusal, counted},
};

/// One thing that is wrong with a file, as scripts see it.
#[derive(Debug, Serialize)]
struct ProblemItem {
    /// `FILE:LINE:COLUMN`, or the variable that said it.
    place: String,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

/// Everything that is wrong, or that nothing is.
pub(super) fn check(session: &Session, file: Option<PathBuf>) -> Result<(), Failure> {
    let path = file.or_else(|| session.globals.config.clone());
    let source = Source::new(path.as_deref(), Vec::new());
    let outcome = config::load(&source).and_then(|loaded| match loaded.left_out {
        left_out if left_out.is_empty() => Ok(()),
        problems => Err(ConfigError { problems }),
    });
    if session.output.is_for_people() {
        outcome.map_err(|error| Failure::from(Refusal::from(error)))?;
        session.say(&format!("{} is valid", source.path.display()));
        return Ok(());
    }
    let problems = outcome.err().map(|ConfigError { problems }| problems);
    let item = |problem: Problem| ProblemItem {
        place: problem.place,
        message: problem.message,
        fix: problem.fix,
    };
    let items: Vec<ProblemItem> = problems.into_iter().flatten().map(item).collect();
    let count = items.len();
    session.output.document(&List::of("ProblemList", items))?;
    match count {
        0 => Ok(()),
        count => Err(Failure::new(
            Exit::Usage,
            "invalid",
            format!("{} has {}", source.path.display(), counted(count, "error")),
        )),
    }
}

/// What a key is.
#[derive(Debug, Serialize)]
struct Explained<'a> {
    #[serde(flatten)]
    item: &'a ConfigItem,
    /// What it may be, in words.
    valid: String,
}

/// What a key means, what it may be, and what it is now and why.
pub(super) fn explain(session: &Session, key: &Key, item: &ConfigItem) -> Result<(), Failure> {
    let explained = Explained {
        item,
        valid: config::valid_values(key),
    };
    let applies = match item.applies.as_str() {
        "at-once" => "at once",
        _ => "when the agent starts",
    };
    let now = match item.restart_needed {
        true => format!(
            "{} (in force after a restart, now {})",
            item.toml, item.in_force
        ),
        false => item.toml.clone(),
    };
    let lines = [
        ("means", item.meaning.as_str()),
        ("valid", &explained.valid),
        ("default", &item.default),
        ("now", &now),
        ("said by", &item.origin),
        ("a change applies", applies),
    ];
    let mut text = format!("{}\n", item.key);
    for (label, words) in lines {
        let label = format!("{label}:");
        text.push_str(&format!("  {label:18}{}\n", crate::model::escaped(words)));
    }
    session.output.text(&text, &explained)
}

/// The JSON schema of a configuration file.
pub(super) fn schema() -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(&config::schema());
    print(&(text.map_err(|error| Failure::failed(error.to_string()))? + "\n"))
}
