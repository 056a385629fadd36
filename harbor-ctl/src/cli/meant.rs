//! Suggests the verb for words that other tools use.

use clap::{CommandFactory as _, error::ContextKind};

use super::arguments::Arguments;

/// What others call it, and what it is called here, the likelier first.
const SYNONYMS: [(&[&str], &[&str]); 9] = [
    (&["ls", "get", "all"], &["list", "status", "show"]),
    (
        &["rm", "del", "delete", "remove", "destroy", "unset", "end"],
        &["delete", "remove", "kill", "detach", "unset"],
    ),
    (
        &["add", "new", "make", "create"],
        &["create", "add", "attach"],
    ),
    (
        &["describe", "info", "cat", "get"],
        &["show", "list", "status", "get"],
    ),
    (&["edit", "update", "change", "modify", "put"], &["set"]),
    (&["stop", "pause", "disable", "cordon"], &["drain"]),
    (
        &["start", "unpause", "enable", "undrain", "uncordon"],
        &["resume"],
    ),
    (&["save", "dump"], &["backup", "export"]),
    (&["restore", "load"], &["import"]),
];

/// What is not a verb, for it happens by itself.
const BY_ITSELF: [(&str, &str, &str); 2] = [
    (
        "datapath",
        "load",
        "the agent loads the programs: systemctl start harbor",
    ),
    (
        "agent",
        "start",
        "systemctl start harbor; in the foreground: harbor-ctl agent",
    ),
];

/// What to type instead, if that is known.
pub(super) fn meant(error: &clap::Error, words: &[String]) -> Option<String> {
    let wrong = error.get(ContextKind::InvalidSubcommand)?.to_string();
    let place = words.iter().position(|word| *word == wrong)?;
    let command = Arguments::command();
    let mut before = words[..place].iter().rev();
    let noun = before.find_map(|word| command.find_subcommand(word));
    // Without a noun it is about ports, which is what there is most of.
    let noun = noun.or_else(|| command.find_subcommand("ports"))?;
    let name = noun.get_name();
    let by_itself = BY_ITSELF
        .iter()
        .find(|(of, verb, _)| (*of, *verb) == (name, wrong.as_str()));
    if let Some((_, _, fix)) = by_itself {
        return Some((*fix).to_owned());
    }
    let same = SYNONYMS
        .iter()
        .filter(|(words, _)| words.contains(&wrong.as_str()));
    let own = [wrong.as_str()];
    let mut verbs = own.iter().chain(same.flat_map(|(_, verbs)| verbs.iter()));
    let verb = verbs.find(|verb| noun.find_subcommand(verb).is_some())?;
    Some(format!("harbor-ctl {name} {verb}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

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
            ("ports frobnicate", None),
            ("frobnicate", None),
        ] {
            let words: Vec<String> = ["harbor-ctl"]
                .into_iter()
                .chain(typed.split(' '))
                .map(Into::into)
                .collect();
            let error = Arguments::try_parse_from(&words).unwrap_err();
            assert_eq!(meant(&error, &words).as_deref(), expected, "{typed}");
        }
        let words = ["harbor-ctl", "datapath", "load"].map(str::to_owned);
        let error = Arguments::try_parse_from(&words).unwrap_err();
        assert!(
            meant(&error, &words)
                .unwrap()
                .contains("systemctl start harbor")
        );
    }
}
