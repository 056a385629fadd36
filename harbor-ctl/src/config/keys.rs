//! A configuration key, and finding one by what was typed.

use super::form::Form;
pub(crate) use super::key_table::KEYS;

/// What a key's value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Number,
    Bool,
    /// A list of strings; in the environment and on the command line separated by commas.
    List,
}

/// When a changed value takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Applies {
    AtOnce,
    OnRestart,
}

/// One configuration key.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) section: &'static str,
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// The default, written as TOML.
    pub(crate) default: &'static str,
    pub(crate) meaning: &'static str,
    pub(crate) applies: Applies,
    pub(crate) form: Form,
    /// Of a number: the least and the most.
    pub(crate) bounds: Option<(i64, i64)>,
    /// The only values accepted; empty: whatever its kind allows.
    pub(crate) choices: &'static [&'static str],
    /// What other values would ask for, if this version lacks it.
    pub(crate) lacks: &'static str,
}

impl Key {
    /// `section.name`
    pub(crate) fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    pub(super) const fn on_restart(mut self) -> Self {
        self.applies = Applies::OnRestart;
        self
    }

    pub(super) const fn form(mut self, form: Form) -> Self {
        self.form = form;
        self
    }

    pub(super) const fn within(mut self, least: i64, most: i64) -> Self {
        self.bounds = Some((least, most));
        self
    }

    /// Whether it is true or false.
    pub(crate) fn is_switch(&self) -> bool {
        self.kind == Kind::Bool
    }

    pub(super) const fn one_of(mut self, choices: &'static [&'static str]) -> Self {
        self.choices = choices;
        self
    }

    /// Restricts the key to `choices` because the rest belongs to a later version.
    pub(super) const fn only(
        mut self,
        choices: &'static [&'static str],
        lacks: &'static str,
    ) -> Self {
        self.choices = choices;
        self.lacks = lacks;
        self
    }
}

/// kato's names for keys, with or without `harbor_node` in front.
const KATO_NAMES: &[(&str, &str)] = &[
    ("port_range", "ports.range"),
    ("hostname_external", "public.hostname"),
    ("host_external", "public.address"),
];

/// Kato's name for a key, where it has one.
pub(crate) fn kato_name(key: &str) -> Option<&'static str> {
    let mut names = KATO_NAMES.iter();
    names.find(|(_, own)| *own == key).map(|(kato, _)| *kato)
}

/// The key that `section.name` or one of kato's names means.
pub(crate) fn find(name: &str) -> Option<&'static Key> {
    let name = KATO_NAMES
        .iter()
        .find(|(kato, _)| *kato == name)
        .map_or(name, |(_, own)| own);
    let (section, name) = name.split_once('.')?;
    KEYS.iter()
        .find(|key| key.section == section && key.name == name)
}

/// Whether any key has this section.
pub(crate) fn is_section(name: &str) -> bool {
    KEYS.iter().any(|key| key.section == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn katos_names_work() {
        assert_eq!(find("port_range").unwrap().path(), "ports.range");
        assert_eq!(find("host_external").unwrap().path(), "public.address");
        assert_eq!(find("ports.range").unwrap().path(), "ports.range");
        assert!(find("range").is_none());
    }

    #[test]
    fn every_default_passes_its_own_choices() {
        for key in KEYS.iter().filter(|k| !k.choices.is_empty()) {
            assert!(
                key.choices.contains(&key.default.trim_matches('"')),
                "{}",
                key.path()
            );
        }
    }
}
