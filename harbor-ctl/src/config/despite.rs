//! What can be read of a configuration that cannot be used: where the agent's folders are.
//!
//! A drop-in that is wrong says nothing about an agent that runs, so whoever only asks that agent goes on.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use toml::de::DeTable;

use super::{Paths, Source, drop_ins, raw::Layers, read_file, value::Value};

/// The folders that a configuration names in spite of what is wrong with it.
#[derive(Clone, Debug)]
pub(crate) struct Despite {
    pub(crate) paths: Paths,
    /// What is wrong is that somebody may not read all of it.
    pub(crate) is_denied: bool,
}

/// Reads what can be read. `None`: the main file cannot, and nobody knows what it says.
pub(crate) fn paths_despite(source: &Source) -> Option<Despite> {
    let mut layers = Layers::default();
    layers.add_defaults();
    let text = match read_file(&source.path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound && !source.must_exist => String::new(),
        Err(_) => return None,
    };
    let (_, errors) = DeTable::parse_recoverable(&text);
    if !errors.is_empty() {
        return None;
    }
    layers.add_file(&source.path, &text);
    let mut is_denied = false;
    for path in drop_ins(&source.path).unwrap_or_default() {
        match read_file(&path) {
            Ok(text) => layers.add_file(&path, &text),
            Err(error) => is_denied |= error.kind() == ErrorKind::PermissionDenied,
        }
    }
    layers.add_environment(&source.environment);
    let path = |key: &str| -> Option<PathBuf> {
        match &layers.entries.get(key)?.value {
            Value::Text(text) => Some(Path::new(text).to_owned()),
            _ => None,
        }
    };
    let paths = Paths {
        run: path("paths.run")?,
        state: path("paths.state")?,
        log: path("paths.log")?,
        bpf: path("paths.bpf")?,
    };
    Some(Despite { paths, is_denied })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn drop_ins_that_are_wrong_hide_no_folder_and_a_main_file_that_is_does() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("harbor.toml");
        let drop_ins = folder.path().join("conf.d");
        fs::create_dir(&drop_ins).unwrap();
        fs::write(&main, "nonsense = 1\n[paths]\nrun = \"/main\"\nstate = 3\n").unwrap();
        fs::write(drop_ins.join("1.toml"), "[paths\n").unwrap();
        fs::write(drop_ins.join("2.toml"), "[paths]\nlog = \"/second\"\n").unwrap();
        let source = Source {
            path: main.clone(),
            must_exist: true,
            environment: vec![("HARBOR_PATHS__BPF".into(), "/variable".into())],
            flags: Vec::new(),
        };
        let found = paths_despite(&source).unwrap();
        let Paths { run, log, bpf, .. } = &found.paths;
        let said = [run, log, bpf].map(|path| path.to_str().unwrap());
        assert_eq!(said, ["/main", "/second", "/variable"]);
        assert!(!found.is_denied);
        fs::write(&main, "[paths\n").unwrap();
        assert!(paths_despite(&source).is_none());
    }
}
