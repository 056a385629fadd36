//! `harbor-ctl config`: through the agent while it runs, else on the file.

use std::path::PathBuf;

use clap::Subcommand;

use super::{
    failure::{Exit, Failure},
    output::Row,
    session::Session,
};
use crate::{
    api::{ConfigChange, List, SetConfig},
    config::{self, Key},
    control::{Client, segment},
    model::{ConfigItem, Refusal},
};

const NAMES: &str = "\
A key is written as section.name; kato's names work too, with or without harbor_node in front: \
port_range, hostname_external, host_external.

Examples:
  harbor-ctl config get harbor_node port_range
  harbor-ctl config set port_range 36000-36999
  harbor-ctl config set log.level debug";

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigVerb {
    /// Print one value
    #[command(after_help = NAMES, override_usage = "harbor-ctl config get [harbor_node] KEY")]
    Get {
        /// The key
        #[arg(required = true, num_args = 1..=2, value_name = "KEY")]
        key: Vec<String>,
    },
    /// Change one value in the file, and use it at once where that is possible
    #[command(after_help = NAMES, override_usage = "harbor-ctl config set [harbor_node] KEY VALUE")]
    Set {
        /// The key and its new value; lists are separated by commas
        #[arg(required = true, num_args = 2..=3, value_name = "KEY VALUE")]
        words: Vec<String>,
    },
    /// Take one value out of the file, so that its default decides again; comments stay
    #[command(after_help = NAMES, override_usage = "harbor-ctl config unset [harbor_node] KEY")]
    Unset {
        /// The key
        #[arg(required = true, num_args = 1..=2, value_name = "KEY")]
        key: Vec<String>,
    },
    /// Check a configuration without using it: all that is wrong with it, and the place of each
    #[command(after_help = "Examples:\n  harbor-ctl config check")]
    Check {
        /// The file [default: the one of --config]
        file: Option<PathBuf>,
    },
    /// Print a file in which every key stands with its default and its meaning
    Template,
    /// Say what a key means, what it may be, and what it is now
    #[command(after_help = NAMES, override_usage = "harbor-ctl config explain [harbor_node] KEY")]
    Explain {
        /// The key
        #[arg(required = true, num_args = 1..=2, value_name = "KEY")]
        key: Vec<String>,
    },
    /// Print the JSON schema of the file, for editors
    Schema,
    /// Print every value
    #[command(after_help = "Examples:\n  harbor-ctl config show --origin")]
    Show {
        /// Say where each value comes from
        #[arg(long)]
        origin: bool,
    },
}

pub(super) async fn run(session: &Session, verb: ConfigVerb) -> Result<Exit, Failure> {
    match verb {
        ConfigVerb::Get { key } => {
            let key = find(without_component(&key, 1)?)?;
            let item = item(session, key).await?;
            session.output.text(&format!("{}\n", item.value), &item)?;
            if item.restart_needed && session.output.is_for_people() {
                session.say(&format!("in force until a restart: {}", item.in_force));
            }
        }
        ConfigVerb::Explain { key } => {
            let key = find(without_component(&key, 1)?)?;
            let item = item(session, key).await?;
            super::config_file::explain(session, key, &item)?;
        }
        ConfigVerb::Unset { key } => {
            let key = find(without_component(&key, 1)?)?;
            unset(session, key).await?;
        }
        ConfigVerb::Check { file } => super::config_file::check(session, file)?,
        ConfigVerb::Template => super::output::print(&config::template())?,
        ConfigVerb::Schema => super::config_file::schema()?,
        ConfigVerb::Set { words } => {
            let words = without_component(&words, 2)?;
            let key = find(words)?;
            let value = words.last().map(String::as_str).unwrap_or_default();
            set(session, key, value).await?;
        }
        ConfigVerb::Show { origin } => {
            let items = items(session).await?;
            match session.output.is_for_people() {
                true => super::output::print(&show_text(&items.items, origin))?,
                false => session.output.list(&items)?,
            }
        }
    }
    Ok(Exit::Ok)
}

/// Drops kato's component name in front of a key.
fn without_component(words: &[String], wanted: usize) -> Result<&[String], Failure> {
    match words {
        [component, rest @ ..] if component == "harbor_node" && rest.len() == wanted => Ok(rest),
        words if words.len() == wanted => Ok(words),
        [component, ..] => Err(Failure::usage(format!("unknown component {component:?}"))
            .fix("the only component is harbor_node")),
        [] => Err(Failure::usage("no key was given")),
    }
}

fn find(words: &[String]) -> Result<&'static Key, Failure> {
    let name = words.first().map(String::as_str).unwrap_or_default();
    config::find_key(name).ok_or_else(|| config::unknown_key(name).into())
}

/// The agent, if one runs; `None` when the file is all there is.
fn running_agent(session: &Session) -> Result<Option<Client>, Failure> {
    match session.client() {
        Ok(client) => Ok(Some(client)),
        Err(failure) if failure.is_unreachable() => Ok(None),
        Err(failure) => Err(failure),
    }
}

async fn item(session: &Session, key: &Key) -> Result<ConfigItem, Failure> {
    let items = items(session).await?.items;
    let item = items.into_iter().find(|item| item.key == key.path());
    item.ok_or_else(|| Failure::failed(format!("the agent does not know {}", key.path())))
}

async fn items(session: &Session) -> Result<List<ConfigItem>, Failure> {
    match running_agent(session)? {
        Some(client) => Ok(client.get("/v1/config").await?),
        None => {
            let loaded = session.configuration()?;
            Ok(List::of(
                "ConfigList",
                config::config_items(&loaded, &loaded),
            ))
        }
    }
}

async fn set(session: &Session, key: &'static Key, value: &str) -> Result<(), Failure> {
    let Some(client) = running_agent(session)? else {
        let written = config::set_value(&session.source(), key, value);
        let loaded = written.map_err(Refusal::from)?;
        session.say(&format!(
            "{} is set in {}; no agent runs",
            key.path(),
            loaded.source.path.display()
        ));
        return Ok(());
    };
    let path = format!("/v1/config/{}", segment(&key.path()));
    let request = SetConfig {
        value: value.to_owned(),
    };
    tell(session, &client.put(&path, &request).await?, "set")
}

async fn unset(session: &Session, key: &'static Key) -> Result<(), Failure> {
    let Some(client) = running_agent(session)? else {
        let written = config::unset_value(&session.source(), key);
        let loaded = written.map_err(Refusal::from)?;
        let (key, file) = (key.path(), loaded.source.path.display());
        session.say(&format!("{key} is not in {file} any more; no agent runs"));
        return Ok(());
    };
    let path = format!("/v1/config/{}", segment(&key.path()));
    tell(session, &client.delete(&path).await?, "unset")
}

/// What has changed, and whether it is in force.
fn tell(session: &Session, change: &ConfigChange, done: &str) -> Result<(), Failure> {
    if !session.output.is_for_people() {
        return session.output.item(change);
    }
    let file = change.file.display();
    session.say(&match change.applies.as_str() {
        "at-once" => format!("{} is {done} in {file} and in force", change.key),
        _ => format!(
            "{} is {done} in {file}; a restart is needed: systemctl restart harbor",
            change.key
        ),
    });
    for port in &change.outside {
        let protocols = super::port_text::joined(&port.protocols);
        session.say(&format!(
            "{}/{protocols} {} stays valid outside the range",
            port.port, port.name
        ));
    }
    Ok(())
}

/// As a file that could be used.
fn show_text(items: &[ConfigItem], has_origin: bool) -> String {
    let mut text = String::new();
    let mut section = "";
    for item in items {
        let (own, name) = item.key.split_once('.').unwrap_or(("", &item.key));
        if own != section {
            let gap = if section.is_empty() { "" } else { "\n" };
            text.push_str(&format!("{gap}[{own}]\n"));
            section = own;
        }
        text.push_str(&format!("{name} = {}", item.toml));
        if has_origin {
            text.push_str(&format!("  # {}", crate::model::escaped(&item.origin)));
        }
        if item.restart_needed {
            let now = crate::model::escaped(&item.in_force);
            text.push_str(&format!("  # in force after a restart, now {now}"));
        }
        text.push('\n');
    }
    text
}

impl Row for ConfigItem {
    const HEADINGS: &'static [&'static str] = &["KEY", "VALUE", "ORIGIN"];

    fn cells(&self) -> Vec<String> {
        vec![self.key.clone(), self.value.clone(), self.origin.clone()]
    }

    fn name(&self) -> String {
        self.key.clone()
    }
}

impl Row for ConfigChange {
    const HEADINGS: &'static [&'static str] = &["KEY", "VALUE", "APPLIES"];

    fn cells(&self) -> Vec<String> {
        vec![self.key.clone(), self.value.clone(), self.applies.clone()]
    }

    fn name(&self) -> String {
        self.key.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn katos_component_may_stand_in_front() {
        let words = |list: &[&str]| list.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        for list in [
            &["harbor_node", "port_range"][..],
            &["port_range"],
            &["ports.range"],
        ] {
            let list = words(list);
            let key = find(without_component(&list, 1).unwrap()).unwrap();
            assert_eq!(key.path(), "ports.range");
        }
        let wrong = words(&["router", "port_range"]);
        assert_eq!(
            without_component(&wrong, 1).unwrap_err().exit(),
            Exit::Usage
        );
        let unknown = words(&["no.such"]);
        assert_eq!(find(&unknown).unwrap_err().exit(), Exit::Usage);
    }
}
