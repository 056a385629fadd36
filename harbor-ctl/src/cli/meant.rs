//! Suggests the verb for words that other tools use.

use clap::{
    CommandFactory as _,
    error::{ContextKind, ErrorKind},
};

use super::arguments::Arguments;

/// Words of others, and what they lead to.
type Words<T> = (&'static [&'static str], T);

/// What others call it, and what it is called here, the likelier first.
const SYNONYMS: [Words<&[&str]>; 12] = [
    (&["ls", "get", "all", "ps"], &["list", "status", "show"]),
    (
        &[
            "rm", "del", "delete", "remove", "destroy", "unset", "end", "kill", "unload", "leave",
            "release", "free",
        ],
        &["delete", "remove", "kill", "detach", "unset", "forget"],
    ),
    (
        &["add", "new", "make", "create", "join", "allocate", "open"],
        &["create", "add", "attach"],
    ),
    (
        &[
            "describe", "info", "cat", "get", "inspect", "view", "print", "details", "display",
        ],
        &["show", "list", "status", "get"],
    ),
    (
        &[
            "edit",
            "update",
            "change",
            "modify",
            "put",
            "patch",
            "configure",
        ],
        &["set"],
    ),
    (
        &["stop", "pause", "disable", "cordon"],
        &["drain", "detach"],
    ),
    (
        &[
            "start", "unpause", "enable", "undrain", "uncordon", "continue",
        ],
        &["resume", "attach", "run"],
    ),
    (&["save", "snapshot"], &["backup", "export"]),
    (&["dump"], &["export", "show"]),
    (&["restore", "load"], &["import"]),
    (
        &[
            "audit", "validate", "test", "lint", "diff", "compare", "verify", "health",
        ],
        &["check", "verify"],
    ),
    (
        &["stats", "statistics", "total", "number"],
        &["count", "show"],
    ),
];

/// What systemd does.
const SERVICE: [Words<&str>; 6] = [
    (
        &["start", "up"],
        "systemctl start harbor; in the foreground: harbor-ctl agent",
    ),
    (
        &["stop", "down", "shutdown"],
        "systemctl stop harbor; the kernel goes on forwarding, to end that too: harbor-ctl datapath detach",
    ),
    (&["restart"], "systemctl restart harbor"),
    (
        &["reload", "refresh", "reconfigure"],
        "systemctl reload harbor",
    ),
    (&["enable"], "systemctl enable --now harbor"),
    (&["disable"], "systemctl disable --now harbor"),
];

/// Words without a noun that are about no port.
const WHOLE: [Words<&str>; 16] = [
    (&["log", "tail", "journal"], "harbor-ctl logs -f"),
    (&["audit", "history", "event"], "harbor-ctl events"),
    (&["info", "health", "summary"], "harbor-ctl status"),
    (&["watch", "monitor"], "harbor-ctl status --watch"),
    (
        &["ready", "readyz", "ping", "wait"],
        "harbor-ctl status --ready",
    ),
    (&["backup", "save", "snapshot"], "harbor-ctl state backup"),
    (&["restore", "import"], "harbor-ctl state import"),
    (&["export", "dump"], "harbor-ctl state export"),
    (&["confirm"], "harbor-ctl state confirm"),
    (
        &["check", "verify", "validate", "test", "diagnose", "lint"],
        "harbor-ctl doctor",
    ),
    (&["debug", "report", "diag"], "harbor-ctl support bundle"),
    (&["statistics", "counters", "metrics"], "harbor-ctl stats"),
    (
        &["connections", "conns", "sessions", "conntrack", "kill"],
        "harbor-ctl flows list",
    ),
    (&["cluster", "members"], "harbor-ctl node list"),
    (
        &["attach", "join"],
        "harbor-ctl node attach; programs onto interfaces: harbor-ctl datapath attach",
    ),
    (
        &["detach", "leave"],
        "harbor-ctl node detach; programs off the interfaces: harbor-ctl datapath detach",
    ),
];

/// What others call what there is, by the noun that it is here.
const NOUNS: [Words<&str>; 7] = [
    (
        &[
            "service",
            "svc",
            "app",
            "forward",
            "forwarding",
            "mapping",
            "map",
            "rule",
            "frontend",
            "vport",
            "listener",
            "route",
        ],
        "ports",
    ),
    (
        &[
            "instance", "endpoint", "target", "upstream", "server", "member",
        ],
        "backends",
    ),
    (&["setting", "configuration", "cfg", "option"], "config"),
    (&["connection", "conn", "session"], "flows"),
    (&["host", "peer"], "node"),
    (&["registry", "database", "db"], "state"),
    (&["credential"], "bindings"),
];

/// What is not a verb of a noun, for something else does it.
const ELSEWHERE: [(&str, Words<&str>); 6] = [
    ("flows", (&["top", "watch"], "harbor-ctl top")),
    (
        "datapath",
        (
            &["load", "reload", "restart"],
            "the agent loads the programs: systemctl start harbor",
        ),
    ),
    (
        "config",
        (
            &["reload", "apply", "refresh"],
            "systemctl reload harbor; a value that is set is used at once",
        ),
    ),
    ("logs", (&["tail", "follow", "watch"], "harbor-ctl logs -f")),
    (
        "events",
        (&["tail", "follow", "watch"], "harbor-ctl events -f"),
    ),
    (
        "status",
        (&["watch", "follow", "tail"], "harbor-ctl status --watch"),
    ),
];

/// What to type instead, if that is known.
pub(super) fn meant(error: &clap::Error, words: &[String]) -> Option<String> {
    let wrong = match error.kind() {
        ErrorKind::InvalidSubcommand => ContextKind::InvalidSubcommand,
        ErrorKind::UnknownArgument => ContextKind::InvalidArg,
        ErrorKind::InvalidValue => ContextKind::InvalidValue,
        _ => return None,
    };
    let wrong = error.get(wrong)?.to_string();
    let place = words.iter().position(|word| *word == wrong)?;
    let command = Arguments::command();
    let mut before = words[..place].iter().rev();
    let noun = before.find_map(|word| command.find_subcommand(word));
    let Some(noun) = noun else {
        let next = words.get(place + 1);
        // Others put the verb first: `get ports`.
        let after = next.and_then(|word| named(&command, word));
        if let Some(noun) = after {
            return match noun.has_subcommands() {
                true => verb(noun, &wrong),
                false => Some(format!("harbor-ctl {}", noun.get_name())),
            };
        }
        // Others have other nouns: `services list`.
        if leads(&WHOLE, &wrong).is_none()
            && let Some(noun) = named(&command, &wrong)
        {
            return Some(with_verb(noun, next.map_or("list", |word| word)));
        }
        let known = leads(&SERVICE, &wrong).or_else(|| leads(&WHOLE, &wrong));
        // Without a noun it is about ports, which is what there is most of.
        let ports = command.find_subcommand("ports")?;
        return known.map(str::to_owned).or_else(|| verb(ports, &wrong));
    };
    let name = noun.get_name();
    let mut elsewhere = ELSEWHERE.iter().filter(|(of, _)| *of == name);
    if let Some(fix) = elsewhere.find_map(|(_, words)| leads(&[*words], &wrong)) {
        return Some(fix.to_owned());
    }
    if noun.has_subcommands() {
        return match error.kind() {
            // `list services` of another tool, with this one's noun before it.
            ErrorKind::InvalidSubcommand => {
                verb(noun, &wrong).or_else(|| Some(with_verb(named(&command, &wrong)?, "list")))
            }
            _ => None,
        };
    }
    if name == "agent" {
        let of_agent = leads(&SERVICE, &wrong).or_else(|| leads(&WHOLE, &wrong));
        let is_noun = || command.find_subcommand(&wrong).is_some();
        return of_agent
            .map(str::to_owned)
            .or_else(|| is_noun().then(|| format!("harbor-ctl {wrong}")));
    }
    // `status show`: the noun shows it by itself.
    let mut shows = SYNONYMS.iter().filter(|(_, verbs)| verbs.contains(&"show"));
    let is_shown = ["show", "list"].contains(&wrong.as_str())
        || shows.any(|(words, _)| words.contains(&wrong.as_str()));
    is_shown.then(|| format!("harbor-ctl {name}"))
}

/// The noun that a word is, in the singular or the plural, or in other words.
fn named<'a>(command: &'a clap::Command, word: &str) -> Option<&'a clap::Command> {
    let one = |text: &str| text.strip_suffix('s').unwrap_or(text).to_owned();
    let mut nouns = command.get_subcommands().filter(|noun| !noun.is_hide_set());
    let own = nouns.find(|noun| one(noun.get_name()) == one(word));
    own.or_else(|| command.find_subcommand(leads(&NOUNS, &one(word))?))
}

/// A noun with the verb that is meant, if it has one.
fn with_verb(noun: &clap::Command, typed: &str) -> String {
    let name = noun.get_name();
    let mut verbs = [typed, "list", "show"].into_iter();
    let found = verbs.find_map(|typed| verb(noun, typed));
    found.unwrap_or_else(|| format!("harbor-ctl {name}"))
}

fn leads(table: &[Words<&'static str>], word: &str) -> Option<&'static str> {
    let found = table.iter().find(|(words, _)| words.contains(&word));
    found.map(|(_, fix)| *fix)
}

/// The verb of a noun that is meant.
fn verb(noun: &clap::Command, wrong: &str) -> Option<String> {
    let same = SYNONYMS.iter().filter(|(words, _)| words.contains(&wrong));
    let own = [wrong];
    let mut verbs = own.iter().chain(same.flat_map(|(_, verbs)| verbs.iter()));
    let verb = verbs.find(|verb| noun.find_subcommand(verb).is_some())?;
    Some(format!("harbor-ctl {} {verb}", noun.get_name()))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn said(typed: &str) -> Option<String> {
        let words = ["harbor-ctl"].into_iter().chain(typed.split(' '));
        let words: Vec<String> = words.map(Into::into).collect();
        let error = Arguments::try_parse_from(&words).unwrap_err();
        meant(&error, &words)
    }

    #[test]
    fn words_of_other_tools_find_the_verb() {
        for (typed, expected) in [
            ("ports ls", Some("harbor-ctl ports list")),
            ("ports rm web", Some("harbor-ctl ports delete")),
            ("backends delete web", Some("harbor-ctl backends remove")),
            ("flows rm", Some("harbor-ctl flows kill")),
            ("config edit", Some("harbor-ctl config set")),
            ("-o json node ls", Some("harbor-ctl node list")),
            ("bindings describe x", Some("harbor-ctl bindings show")),
            ("ls", Some("harbor-ctl ports list")),
            ("rm web", Some("harbor-ctl ports delete")),
            ("list", Some("harbor-ctl ports list")),
            ("ports describe web", Some("harbor-ctl ports show")),
            ("ports stop web", Some("harbor-ctl ports drain")),
            ("ports start web", Some("harbor-ctl ports resume")),
            ("node inspect x", Some("harbor-ctl node show")),
            ("node leave", Some("harbor-ctl node detach")),
            ("state restore x", Some("harbor-ctl state import")),
            ("state audit", Some("harbor-ctl state check")),
            ("state save", Some("harbor-ctl state backup")),
            ("flows stats", Some("harbor-ctl flows count")),
            ("config validate", Some("harbor-ctl config check")),
            ("config view", Some("harbor-ctl config show")),
            ("config dump", Some("harbor-ctl config show")),
            ("datapath unload", Some("harbor-ctl datapath detach")),
            ("datapath info", Some("harbor-ctl datapath status")),
            ("dea start", Some("harbor-ctl dea run")),
            ("describe web", Some("harbor-ctl ports show")),
            ("inspect web", Some("harbor-ctl ports show")),
            ("get web", Some("harbor-ctl ports list")),
            ("ps", Some("harbor-ctl ports list")),
            ("info", Some("harbor-ctl status")),
            ("tail", Some("harbor-ctl logs -f")),
            ("audit", Some("harbor-ctl events")),
            ("backup", Some("harbor-ctl state backup")),
            ("restore x", Some("harbor-ctl state import")),
            ("statistics", Some("harbor-ctl stats")),
            ("status show", Some("harbor-ctl status")),
            ("stats get", Some("harbor-ctl stats")),
            ("logs tail", Some("harbor-ctl logs -f")),
            ("events follow", Some("harbor-ctl events -f")),
            ("agent status", Some("harbor-ctl status")),
            ("ports list --sort nonsense", None),
            ("get ports", Some("harbor-ctl ports list")),
            ("get nodes", Some("harbor-ctl node list")),
            ("describe backend x", Some("harbor-ctl backends list")),
            ("delete port web", Some("harbor-ctl ports delete")),
            ("show status", Some("harbor-ctl status")),
            ("ports frobnicate", None),
            ("frobnicate", None),
        ] {
            assert_eq!(said(typed).as_deref(), expected, "{typed}");
        }
    }

    #[test]
    fn nouns_of_other_tools_find_the_noun() {
        for (typed, expected) in [
            ("services", Some("harbor-ctl ports list")),
            ("service ls", Some("harbor-ctl ports list")),
            ("services create web", Some("harbor-ctl ports create")),
            ("services web", Some("harbor-ctl ports list")),
            ("list services", Some("harbor-ctl ports list")),
            ("rm service web", Some("harbor-ctl ports delete")),
            ("ports services", Some("harbor-ctl ports list")),
            ("port list", Some("harbor-ctl ports list")),
            ("endpoints", Some("harbor-ctl backends list")),
            ("settings", Some("harbor-ctl config show")),
        ] {
            assert_eq!(said(typed).as_deref(), expected, "{typed}");
        }
    }

    #[test]
    fn what_systemd_does_leads_there() {
        for (typed, expected) in [
            ("start", "systemctl start harbor"),
            ("stop", "systemctl stop harbor"),
            ("restart", "systemctl restart harbor"),
            ("reload", "systemctl reload harbor"),
            ("agent start", "systemctl start harbor"),
            ("agent restart", "systemctl restart harbor"),
            ("config reload", "systemctl reload harbor"),
            ("datapath load", "systemctl start harbor"),
        ] {
            let said = said(typed).unwrap_or_default();
            assert!(said.contains(expected), "{typed}: {said}");
        }
    }

    /// Whatever is advised exists, whichever way it is written.
    #[test]
    fn every_word_leads_to_something_that_can_be_typed() {
        let command = Arguments::command();
        let fixes = SERVICE.iter().chain(&WHOLE).map(|(_, fix)| *fix);
        let fixes = fixes.chain(ELSEWHERE.iter().map(|(_, (_, fix))| *fix));
        for fix in fixes {
            for advice in fix.split("harbor-ctl ").skip(1) {
                let mut words = advice.split([' ', ';', ':']);
                let noun = words.next().unwrap();
                let found = command.find_subcommand(noun).expect(fix);
                if let Some(verb) = words.next().filter(|_| found.has_subcommands()) {
                    assert!(found.find_subcommand(verb).is_some(), "{fix}");
                }
            }
        }
    }
}
