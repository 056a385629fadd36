//! Configuration: `harbor.toml`, `conf.d/*.toml`, `HARBOR_SECTION__KEY`, flags; later ones win.
//!
//! What was written ([`raw`]) and what is valid ([`Config`]) are different types; every value keeps
//! who said it. Only this module and `agent` read files and environment.

mod app_hosts;
mod check;
mod console;
mod control;
mod despite;
mod edit;
mod form;
mod gateway;
mod key_table;
mod keys;
mod logs;
mod look;
mod metrics;
mod pool;
mod problem;
mod proxy;
mod raw;
mod replace;
mod shown;
mod template;
#[cfg(test)]
mod tests;
mod timings;
mod validated;
mod value;

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use crate::model::{Refusal, RefusalKind, nearest};
pub(crate) use app_hosts::read_app_hosts;
pub(crate) use console::ConsoleConfig;
pub(crate) use control::ControlConfig;
pub(crate) use despite::{Despite, paths_despite};
pub(crate) use edit::{set_value, set_value_if, unset_value};
pub(crate) use gateway::GatewayConfig;
pub(crate) use keys::{Applies, KEYS, Key, find as find_key, kato_name};
pub(crate) use logs::LogConfig;
pub(crate) use look::{Look, look};
pub(crate) use metrics::MetricsConfig;
pub(crate) use pool::SyncConfig;
pub(crate) use problem::{ConfigError, Problem};
pub(crate) use proxy::ProxyConfig;
pub(crate) use shown::config_items;
pub(crate) use template::{schema, template, valid_values};
pub(crate) use validated::{Config, Paths, RegistryConfig};
pub(crate) use value::Entry;
#[cfg(test)]
pub(crate) use value::Origin;

/// Read when no other file is named; it may be missing.
pub(crate) const DEFAULT_PATH: &str = "/etc/harbor/harbor.toml";

/// Where a configuration comes from.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    /// A file named by the user must exist.
    pub(crate) must_exist: bool,
    pub(crate) environment: Vec<(String, String)>,
    /// `SECTION.KEY=VALUE`
    pub(crate) flags: Vec<String>,
}

impl Source {
    /// The named file or the default one, with this process's environment.
    pub(crate) fn new(path: Option<&Path>, flags: Vec<String>) -> Self {
        let variable = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self {
            path: path.unwrap_or(Path::new(DEFAULT_PATH)).to_owned(),
            must_exist: path.is_some(),
            environment: std::env::vars_os().filter_map(variable).collect(),
            flags,
        }
    }
}

/// A valid configuration, with every value as written and who said it.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) config: Config,
    pub(crate) entries: BTreeMap<String, Entry>,
    pub(crate) source: Source,
    /// What stands in `conf.d` under the name of a file and is none.
    pub(crate) left_out: Vec<Problem>,
}

/// Reads and checks every layer.
pub(crate) fn load(source: &Source) -> Result<Loaded, ConfigError> {
    let text = match read_file(&source.path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound && !source.must_exist => String::new(),
        Err(error) => return Err(ConfigError::unreadable(&source.path, &error)),
    };
    load_text(source, &text)
}

/// Reads and checks every layer, with `text` in the place of the main file.
pub(crate) fn load_text(source: &Source, text: &str) -> Result<Loaded, ConfigError> {
    let mut layers = raw::Layers::default();
    layers.add_defaults();
    layers.add_file(&source.path, text);
    let mut left_out = Vec::new();
    for path in drop_ins(&source.path)? {
        match read_file(&path) {
            Ok(text) => layers.add_file(&path, &text),
            // A link to nothing, a pipe: what never held a setting takes none away.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput) => {
                left_out.push(Problem::left_out(&path, &error));
            }
            Err(error) => return Err(ConfigError::unreadable(&path, &error)),
        }
    }
    layers.add_environment(&source.environment);
    for flag in &source.flags {
        layers.add_flag(flag);
    }
    let entries = layers.entries.clone();
    let config = validated::validate(layers)?;
    Ok(Loaded {
        config,
        entries,
        source: source.clone(),
        left_out,
    })
}

/// A pipe or a device would be waited for, perhaps for ever.
pub(super) fn read_file(path: &Path) -> std::io::Result<String> {
    if !std::fs::metadata(path)?.is_file() {
        let text = "it is no file";
        return Err(std::io::Error::new(ErrorKind::InvalidInput, text));
    }
    std::fs::read_to_string(path)
}

/// `conf.d/*.toml` beside the main file, by name; hidden ones are editors' own.
fn drop_ins(main: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let Some(directory) = main.parent().map(|parent| parent.join("conf.d")) else {
        return Ok(Vec::new());
    };
    let listing = match std::fs::read_dir(&directory) {
        Ok(listing) => listing,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(ConfigError::unreadable(&directory, &error)),
    };
    let is_hidden = |path: &Path| {
        let name = path.file_name().unwrap_or_default();
        name.as_encoded_bytes().starts_with(b".")
    };
    let mut paths: Vec<PathBuf> = listing
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .filter(|path| !is_hidden(path))
        .collect();
    paths.sort();
    Ok(paths)
}

/// The answer to a key that does not exist.
pub(crate) fn unknown_key(name: &str) -> Refusal {
    let shown: String = name.chars().take(80).collect();
    let refusal = Refusal::new(RefusalKind::UnknownField, format!("unknown key {shown:?}"));
    let near = nearest(&shown, KEYS.iter().map(Key::path));
    refusal.field("key").fix(match near {
        Some(near) => format!("did you mean {near}? see: harbor-ctl config show"),
        None => "harbor-ctl config show".to_owned(),
    })
}

/// Keys whose value differs between two configurations.
pub(crate) fn changed_keys(old: &Loaded, new: &Loaded) -> Vec<&'static Key> {
    let value =
        |loaded: &Loaded, key: &Key| loaded.entries.get(&key.path()).map(|e| e.value.clone());
    KEYS.iter()
        .filter(|key| value(old, key) != value(new, key))
        .collect()
}
