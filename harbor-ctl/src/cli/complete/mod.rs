//! Completion by the program itself: shells ask it with the words of a line, so that names of ports and
//! keys are those that there are now.
//!
//! What comes next follows from the command line's own description. An agent that does not answer at
//! once has no names: nobody waits in a shell.

pub(super) mod script;

use std::{
    io::{self, Write as _},
    time::Duration,
};

use clap::{Arg, Command, CommandFactory as _, Parser as _};
use serde_json::Value;

use super::{arguments::Arguments, session::Session};
use crate::{
    api::List,
    config::{KEYS, Key, find_key},
    model::{ClientIp, EventKind, Policy, SETTINGS},
};

pub(super) use script::print;

/// The first word of a shell's question.
pub(super) const QUESTION: &str = "__complete";
/// An agent has answered within this time.
const PATIENCE: Duration = Duration::from_secs(1);

/// Answers a shell's question: one candidate a line. The last word is the one that is being typed.
pub(super) fn answer(words: &[String]) -> io::Result<()> {
    let mut lines = String::new();
    for candidate in candidates(words) {
        lines.push_str(&candidate);
        lines.push('\n');
    }
    io::stdout().lock().write_all(lines.as_bytes())
}

/// What may be typed in place of the last word.
fn candidates(words: &[String]) -> Vec<String> {
    let Some((current, before)) = words.split_last() else {
        return Vec::new();
    };
    let mut command = Arguments::command();
    command.build();
    let place = Place::after(&command, before);
    let (option, head) = place.value_of(current);
    let all = match (option, current.starts_with('-')) {
        (Some(option), _) => {
            let all = values(option, before, &place.given).into_iter();
            all.map(|value| format!("{head}{value}")).collect()
        }
        (None, true) => flags(place.command),
        (None, false) => place.next(before, current),
    };
    let fits = |candidate: &String| candidate.starts_with(current.as_str());
    let mut all: Vec<String> = all.into_iter().filter(fits).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Where on the command line the next word stands.
struct Place<'a> {
    command: &'a Command,
    /// The option whose value it is.
    option: Option<&'a Arg>,
    /// What was given without a name.
    given: Vec<String>,
}

impl<'a> Place<'a> {
    fn after(command: &'a Command, words: &[String]) -> Self {
        let mut place = Self {
            command,
            option: None,
            given: Vec::new(),
        };
        for word in words {
            if place.option.take().is_some() {
                continue;
            }
            if word.starts_with('-') {
                place.option = place.option_of(word);
            } else if let Some(verb) = place.command.find_subcommand(word) {
                place.command = verb;
            } else {
                place.given.push(word.clone());
            }
        }
        place
    }

    /// The option whose value is being typed, and what stands before that: `--sort=`, `-o`, or those of a
    /// list that are there.
    fn value_of<'w>(&self, current: &'w str) -> (Option<&'a Arg>, &'w str) {
        let (option, start) = match self.option {
            Some(option) => (Some(option), 0),
            None => self.glued(current),
        };
        let is_list = option.is_some_and(|option| option.get_value_delimiter() == Some(','));
        let comma = current.rfind(',').filter(|_| is_list);
        (option, &current[..comma.map_or(start, |comma| comma + 1)])
    }

    /// An option with its value in one word, and where the value begins.
    fn glued(&self, word: &str) -> (Option<&'a Arg>, usize) {
        let end = match (word.strip_prefix("--"), word.strip_prefix('-')) {
            (Some(_), _) => word.find('='),
            (None, Some(short)) => short.chars().next().map(|first| 1 + first.len_utf8()),
            (None, None) => None,
        };
        let Some(end) = end else {
            return (None, 0);
        };
        let option = self.option_of(&word[..end]);
        let is_long = word.starts_with("--");
        match is_long || end < word.len() {
            true => (option, end + usize::from(is_long)),
            false => (None, 0),
        }
    }

    /// The option of this flag, if its value is the next word.
    fn option_of(&self, word: &str) -> Option<&'a Arg> {
        let is_it = |arg: &&Arg| match word.strip_prefix("--") {
            Some(long) => arg.get_long() == Some(long),
            None => arg.get_short().is_some_and(|short| word.ends_with(short)),
        };
        let mut all = self.command.get_arguments();
        all.find(|arg| is_it(arg) && arg.get_action().takes_values())
    }

    /// Verbs, or values of the next argument.
    fn next(&self, words: &[String], current: &str) -> Vec<String> {
        if self.command.has_subcommands() {
            let verbs = self.command.get_subcommands();
            let shown = verbs.filter(|verb| !verb.is_hide_set());
            return shown.map(|verb| verb.get_name().to_owned()).collect();
        }
        let all: Vec<&Arg> = self.command.get_positionals().collect();
        let next = all.get(self.given.len()).or(all.last());
        let is_setting = |arg: &&Arg| is_named(arg, "KEY=VALUE");
        if let (Some((key, _)), Some(_)) =
            (current.split_once('='), next.copied().filter(is_setting))
        {
            let values = of_setting(key).into_iter();
            return values.map(|value| format!("{key}={value}")).collect();
        }
        next.map_or_else(Vec::new, |arg| values(arg, words, &self.given))
    }
}

fn is_named(arg: &Arg, wanted: &str) -> bool {
    let name = arg.get_value_names().and_then(|names| names.first());
    name.is_some_and(|name| name.as_str() == wanted)
}

/// What a port's setting can be, where that is one of a few words.
fn of_setting(key: &str) -> Vec<&'static str> {
    match key {
        "policy" | "udp_policy" => Policy::ALL.map(Policy::name).into(),
        "client_ip" => ClientIp::ALL.map(ClientIp::name).into(),
        "tls" => vec!["off", "on"],
        "health" => vec!["off", "tcp", "http:/", "udp:"],
        _ => Vec::new(),
    }
}

/// What a key of the configuration can be, where that is one of a few words.
fn of_key(name: &str) -> Vec<String> {
    let Some(key) = find_key(name) else {
        return Vec::new();
    };
    match key.is_switch() {
        true => vec!["false".into(), "true".into()],
        false => key.choices.iter().map(|&word| word.to_owned()).collect(),
    }
}

fn flags(command: &Command) -> Vec<String> {
    let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
    let longs = shown.filter_map(|arg| arg.get_long());
    longs.map(|long| format!("--{long}")).collect()
}

/// Values that an argument can have, as far as they can be known.
fn values(arg: &Arg, words: &[String], given: &[String]) -> Vec<String> {
    let possible = arg.get_possible_values();
    if !possible.is_empty() {
        let names = possible.iter().map(|value| value.get_name().to_owned());
        return names.collect();
    }
    let name = arg.get_value_names().and_then(|names| names.first());
    match name.map_or(arg.get_id().as_str(), |name| name.as_str()) {
        "PORT" | "port" => ports(words),
        "INSTANCE|IP:PORT" => names(words, &backends_of(given), &["instance", "address"]),
        "NODE" | "node" | "ID" if words.iter().any(|word| word == "node") => {
            names(words, "/v1/nodes", &["id"])
        }
        "NAME" | "dea" if words.iter().any(|word| word == "forget") => {
            names(words, "/v1/deas", &["dea"])
        }
        "KEY=VALUE" => SETTINGS.iter().map(|(key, _)| format!("{key}=")).collect(),
        "KEY VALUE" if given.len() == 1 => of_key(&given[0]),
        "KEY" | "KEY VALUE" if given.is_empty() => KEYS.iter().map(Key::path).collect(),
        "KIND,..." => EventKind::ALL.iter().map(|k| k.name().to_owned()).collect(),
        _ => Vec::new(),
    }
}

fn ports(words: &[String]) -> Vec<String> {
    names(words, "/v1/ports", &["name", "port"])
}

fn backends_of(given: &[String]) -> String {
    let port = given.first().map_or("", String::as_str);
    format!("/v1/backends?port={}", crate::control::segment(port))
}

/// These fields of everything that the agent lists at a path.
fn names(words: &[String], path: &str, fields: &[&str]) -> Vec<String> {
    let listed = asked(words, path);
    let items = listed.into_iter().flat_map(|list| list.items);
    let each = items.flat_map(|item| {
        let texts = fields.iter().filter_map(|field| match &item[*field] {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        });
        texts.collect::<Vec<_>>()
    });
    each.collect()
}

/// Asks the agent that the line is for.
fn asked(words: &[String], path: &str) -> Option<List<Value>> {
    let named = |flag: &str| {
        let place = words.iter().position(|word| word == flag)?;
        Some([flag.to_owned(), words.get(place + 1)?.clone()])
    };
    let places = ["--socket", "--config"]
        .iter()
        .filter_map(|flag| named(flag));
    let line = ["harbor-ctl".to_owned()].into_iter();
    let line = line.chain(places.flatten()).chain(["version".to_owned()]);
    let mut globals = Arguments::try_parse_from(line).ok()?.globals;
    globals.timeout = PATIENCE;
    globals.quiet = true;
    let session = Session::new(&globals).ok()?;
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().ok()?;
    runtime.block_on(async { session.client().ok()?.get(path).await.ok() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(line: &str) -> Vec<String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        candidates(&words)
    }

    #[test]
    fn verbs_flags_values_and_keys_follow_from_what_can_be_typed() {
        assert_eq!(after("por"), ["ports"]);
        assert_eq!(after("ports cr"), ["create"]);
        assert_eq!(after("-o json ports cr"), ["create"]);
        assert_eq!(after("ports list -o y"), ["yaml"]);
        assert_eq!(after("ports create web --prot"), ["--protocol"]);
        assert_eq!(after("ports create web --protocol b"), ["both"]);
        assert_eq!(after("ports create web drain"), ["drain_s="]);
        assert_eq!(after("ports set web max_c"), ["max_connections="]);
        assert_eq!(after("config get ports.ran"), ["ports.range"]);
        assert_eq!(after("config set log.lev"), ["log.level"]);
        assert_eq!(after("events --kind port_ch"), ["port_changed"]);
        let two = after("events --kind lease_ended,port_ch");
        assert_eq!(two, ["lease_ended,port_changed"]);
        assert_eq!(after("ports list --sort rea"), ["reason"]);
        assert_eq!(after("ports list --sort=na"), ["--sort=name"]);
        assert_eq!(after("ports list -oy"), ["-oyaml"]);
        assert_eq!(after("ports list --state up,do"), ["up,down"]);
        assert_eq!(after("ports list --state=up,do"), ["--state=up,down"]);
        assert_eq!(after("ports set web policy=f"), ["policy=first"]);
        assert_eq!(after("ports set web client_ip=proxy-v").len(), 2);
        assert_eq!(after("config set log.level inf"), ["info"]);
        assert_eq!(after("ports list -"), after("ports list --"));
        assert_eq!(after("completions ba"), ["bash"]);
        assert!(after("").contains(&"status".to_owned()));
        assert_eq!(after("frobnicate x"), [""; 0]);
    }
}
