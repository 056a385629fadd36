//! The files of `[discovery].hosts`: one TOML file an app host.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::read_file;
use crate::model::{HostRule, check_name, parse_network};

/// The most instances of an app host whose file does not say it.
const INSTANCES: usize = 2_000;

/// A file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    dea: String,
    token_sha256: Option<String>,
    subject: Option<String>,
    #[serde(default)]
    networks: Vec<String>,
    #[serde(default)]
    services: Vec<String>,
    instances: Option<usize>,
}

/// Every app host of the folder; what is wrong names its file.
pub(crate) fn read_app_hosts(folder: &Path) -> Result<Vec<HostRule>, String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(wrong)? {
        let path: PathBuf = entry.map_err(wrong)?.path();
        let is_hidden = path
            .file_name()
            .is_none_or(|n| n.as_encoded_bytes()[0] == b'.');
        if !is_hidden && path.extension().is_some_and(|kind| kind == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    let (mut hosts, mut seen) = (Vec::new(), BTreeSet::new());
    for path in paths {
        let of_file = |text: String| format!("{}: {text}", path.display());
        let text = read_file(&path).map_err(|e| of_file(e.to_string()))?;
        let host = read(&text).map_err(of_file)?;
        let own = [
            Some(format!("dea {}", host.dea)),
            host.token_sha256
                .map(|token| format!("token_sha256 {token:x?}")),
            host.subject
                .as_ref()
                .map(|subject| format!("subject {subject:?}")),
        ];
        for word in own.into_iter().flatten() {
            if !seen.insert(word.clone()) {
                let key = word.split(' ').next().unwrap_or_default();
                return Err(of_file(format!("another file has the same {key}")));
            }
        }
        hosts.push(host);
    }
    Ok(hosts)
}

fn read(text: &str) -> Result<HostRule, String> {
    let written: Written = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    check_name("dea", &written.dea).map_err(|refusal| refusal.description)?;
    let networks = written.networks.iter().map(|text| parse_network(text));
    let token = written.token_sha256.as_deref().map(digest).transpose()?;
    Ok(HostRule {
        dea: written.dea,
        token_sha256: token,
        subject: written.subject,
        networks: networks.collect::<Result<_, _>>()?,
        services: written.services,
        instances: written.instances.unwrap_or(INSTANCES),
    })
}

fn digest(text: &str) -> Result<[u8; 32], String> {
    let wrong = || {
        "token_sha256 is not 64 hexadecimal digits: printf %s TOKEN | sha256sum prints them"
            .to_owned()
    };
    if text.len() != 64 || !text.is_ascii() {
        return Err(wrong());
    }
    let mut octets = [0; 32];
    for (octet, at) in octets.iter_mut().zip((0..64).step_by(2)) {
        *octet = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| wrong())?;
    }
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> Result<Vec<HostRule>, String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        read_app_hosts(folder.path())
    }

    #[test]
    fn a_file_is_an_app_host_and_what_is_wrong_names_it() {
        let hash = "a".repeat(64);
        let good = format!(
            "dea = \"one\"\ntoken_sha256 = \"{hash}\"\nnetworks = [\"10.0.0.0/8\"]\ninstances = 3\n"
        );
        let files = [
            ("b.toml", good.as_str()),
            (".#b.toml", "x"),
            ("c.toml~", "x"),
        ];
        let hosts = folder(&files).unwrap();
        assert_eq!((hosts.len(), hosts[0].instances), (1, 3));
        assert_eq!(hosts[0].token_sha256, Some([0xaa; 32]));
        for (text, words) in [
            ("", "missing field `dea`"),
            ("dea = \"a b\"", "not allowed"),
            ("dea = \"a\"\ncolour = 1", "unknown field"),
            ("dea = \"a\"\ntoken_sha256 = \"12\"", "sha256sum"),
            ("dea = \"a\"\nnetworks = [\"x\"]", "not a network"),
        ] {
            let error = folder(&[("bad.toml", text)]).unwrap_err();
            assert!(
                error.contains("bad.toml") && error.contains(words),
                "{error}"
            );
        }
        let twice = [("a.toml", "dea = \"a\""), ("b.toml", "dea = \"a\"")];
        assert!(
            folder(&twice)
                .unwrap_err()
                .contains("b.toml: another file has the same dea")
        );
    }
}
