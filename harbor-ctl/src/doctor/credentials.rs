//! Secrets, certificates, groups and app hosts: whom the APIs let in, and by what they are known.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use nix::unistd::Group;

use super::{finding::Finding, finding::or_ok, folders::set_mode, patient::Patient};
use crate::{
    config::{Config, read_app_hosts},
    model::Secret,
    tls::{Identity, certificates as read_certificates},
};

/// A certificate that ends within this time is told: 14 days.
const SOON: u64 = 14 * 86_400;

fn unknown() -> Vec<Finding> {
    vec![Finding::skipped("the configuration cannot be used")]
}

pub(super) fn secrets(patient: &Patient) -> Vec<Finding> {
    let Some(config) = patient.config() else {
        return unknown();
    };
    let control = &config.control;
    let gateway = config
        .gateway
        .as_ref()
        .map(|gateway| &gateway.password_file);
    let files: [(&str, Option<&PathBuf>); 4] = [
        ("control.token_file", control.token_file.as_ref()),
        (
            "discovery.token_file",
            control.announcer_token_file.as_ref(),
        ),
        ("gateway.password_file", gateway),
        (
            "registry.password_file",
            config.registry.password_file.as_ref(),
        ),
    ];
    let mut findings = Vec::new();
    let mut count = 0;
    for (key, path) in files {
        let Some(path) = path else { continue };
        count += 1;
        // A Redis' password may be as short as it likes.
        let read = match key {
            "registry.password_file" => fs::read(path).map(drop),
            _ => Secret::read(path).map(drop),
        };
        findings.extend(open_to_all(key, path));
        if let Err(error) = read
            && !is_open_to_all(path)
        {
            let text = format!("{key}: {}: {error}", path.display());
            let fix = "a file of one line of 16 characters or more, mode 0640, of root";
            findings.push(Finding::fault(text).fix(fix));
        }
    }
    let text = match count {
        0 => "none are configured".to_owned(),
        count => format!("{count} of them"),
    };
    or_ok(findings, text)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).map_or(0, |about| about.permissions().mode() & 0o7777)
}

fn is_open_to_all(path: &Path) -> bool {
    mode(path) & 0o007 != 0
}

fn open_to_all(key: &str, path: &Path) -> Option<Finding> {
    is_open_to_all(path).then(|| {
        let text = format!("{key}: everybody may read {}", path.display());
        let mend = set_mode(path.to_owned(), mode(path) & !0o007);
        Finding::fault(text)
            .fix(format!("chmod o= {}", path.display()))
            .mend(mend)
    })
}

pub(super) fn certificates(patient: &Patient) -> Vec<Finding> {
    let Some(config) = patient.config() else {
        return unknown();
    };
    let mut findings = Vec::new();
    let pairs = pairs(config);
    for (key, certificate, secret) in &pairs {
        findings.extend(pair(key, certificate, secret));
    }
    for (key, authority) in [
        ("control.tls_client_ca", config.control.client_ca.as_ref()),
        ("registry.ca_file", config.registry.ca_file.as_ref()),
    ] {
        if let Some(Err(text)) = authority.map(|path| read_certificates(path)) {
            let fix = "put certificates in PEM there";
            findings.push(Finding::fault(format!("{key}: {text}")).fix(fix));
        }
    }
    let text = match pairs.len() {
        0 => "none are configured".to_owned(),
        count => format!("{count} pairs"),
    };
    or_ok(findings, text)
}

/// Pairs of the APIs, and of ports in the folder.
fn pairs(config: &Config) -> Vec<(String, PathBuf, PathBuf)> {
    let mut pairs = Vec::new();
    let gateway = config
        .gateway
        .as_ref()
        .and_then(|gateway| gateway.tls.as_ref());
    for (key, pair) in [
        ("control.tls_cert", config.control.tls.as_ref()),
        ("gateway.tls_cert", gateway),
    ] {
        pairs.extend(
            pair.map(|(certificate, secret)| (key.to_owned(), certificate.clone(), secret.clone())),
        );
    }
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(&config.certificates)
        .into_iter()
        .flatten()
        .flatten()
    {
        let path = entry.path();
        if path
            .extension()
            .is_some_and(|end| end == "crt" || end == "key")
        {
            names.insert(path.with_extension(""));
        }
    }
    let of_port = |name: PathBuf| {
        let file = |end: &str| PathBuf::from(format!("{}.{end}", name.display()));
        ("tls.folder".to_owned(), file("crt"), file("key"))
    };
    pairs.extend(names.into_iter().map(of_port));
    pairs
}

fn pair(key: &str, certificate: &Path, secret: &Path) -> Vec<Finding> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs());
    let mut findings: Vec<Finding> = open_to_all(key, secret).into_iter().collect();
    let renew = "put a new pair there: certificate with its chain, and its key, in PEM";
    match Identity::load(certificate, secret, now) {
        Err(text) => findings.push(Finding::fault(format!("{key}: {text}")).fix(renew)),
        Ok(identity) if identity.not_after < now + SOON => {
            let days = (identity.not_after - now) / 86_400;
            let text = format!("{key}: {} expires in {days} days", certificate.display());
            findings.push(Finding::warning(text).fix(renew));
        }
        Ok(_) => {}
    }
    findings
}

pub(super) fn groups(patient: &Patient) -> Vec<Finding> {
    let Some(config) = patient.config() else {
        return unknown();
    };
    let control = &config.control;
    let mut findings = Vec::new();
    for (key, name) in [
        ("control.admin_group", &control.admin_group),
        ("control.read_group", &control.read_group),
    ] {
        let is_there = name.is_empty()
            || name.parse::<u32>().is_ok()
            || matches!(Group::from_name(name), Ok(Some(_)));
        if !is_there {
            let text = format!("{key}: there is no group {name}");
            findings.push(Finding::warning(text).fix(format!("groupadd --system {name}")));
        }
    }
    or_ok(findings, "they exist, or none is named")
}

pub(super) fn app_hosts(patient: &Patient) -> Vec<Finding> {
    let Some(config) = patient.config() else {
        return unknown();
    };
    let Some(folder) = &config.app_hosts else {
        return vec![Finding::skipped("discovery.hosts is not set")];
    };
    vec![match read_app_hosts(folder) {
        Ok(hosts) => Finding::ok(format!("{} of them", hosts.len())),
        Err(text) => Finding::fault(format!("discovery.hosts: {text}"))
            .fix("see docs/how-to/announce.md for what stands in a file"),
    }]
}
