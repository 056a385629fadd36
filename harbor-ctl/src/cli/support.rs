//! `harbor-ctl support bundle`: what somebody who helps needs to see, in one tar. Works without an agent.
//!
//! No file of a secret is read into it; and in case one stands elsewhere, the secrets that the
//! configuration names are taken out of every text.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::Value;

use super::{
    doctor,
    failure::{Exit, Failure},
    globals::Globals,
    logs::{self, Part},
    session::Session,
};
use crate::{
    api::API_VERSION,
    config::{Loaded, config_items},
    datapath,
    model::Secret,
};

const EXAMPLES: &str = "\
Holds versions, status, doctor, the configuration's values, ports, backends, events, metrics, a summary of \
the maps, the ends of the logs, and what the host says of its kernel, addresses and routes. It holds no \
password, token or key. Names and addresses of apps and clients do stand in it.

Examples:
  harbor-ctl support bundle
  harbor-ctl support bundle --to /tmp/harbor.tar";

/// Lines of each log.
const LINES: usize = 2_000;
/// What is shorter is in too many words.
const SHORTEST: usize = 8;

#[derive(Debug, Subcommand)]
pub(crate) enum SupportVerb {
    /// Write one tar with everything that helps to find a fault, and no secret
    #[command(after_help = EXAMPLES)]
    Bundle(BundleArguments),
}

#[derive(Debug, Args)]
pub(crate) struct BundleArguments {
    /// The file to write [default: harbor-support-TIME.tar in this folder]
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

/// What was written.
#[derive(Debug, Serialize)]
struct Written {
    file: PathBuf,
    parts: Vec<String>,
}

/// What the agent is asked for.
const ASKED: [(&str, &str); 6] = [
    ("status.json", "/v1/status"),
    ("ports.json", "/v1/ports"),
    ("backends.json", "/v1/backends"),
    ("range.json", "/v1/range"),
    ("nodes.json", "/v1/nodes"),
    ("app-hosts.json", "/v1/deas"),
];
/// And for what is no JSON.
const TEXTS: [(&str, &str); 2] = [
    ("events.txt", "/v1/events?follow=false&last=1000"),
    ("metrics.txt", "/metrics"),
];

/// What the host is asked for.
const HOST: [(&str, &[&str]); 5] = [
    ("host/uname.txt", &["uname", "-a"]),
    ("host/addresses.txt", &["ip", "-d", "address"]),
    ("host/routes.txt", &["ip", "route", "show", "table", "all"]),
    ("host/rules.txt", &["ip", "rule"]),
    ("host/unit.txt", &["systemctl", "show", "harbor.service"]),
];

pub(super) fn run(globals: &Globals, verb: SupportVerb) -> Result<Exit, Failure> {
    let SupportVerb::Bundle(arguments) = verb;
    let session = Session::new(globals)?;
    let loaded = session.configuration();
    let mut parts = Vec::new();
    parts.push(("version.json".to_owned(), version()));
    parts.extend(from_agent(&session)?);
    parts.push(("doctor.json".to_owned(), found(doctor::report(&session))));
    match &loaded {
        Ok(loaded) => parts.extend(from_files(loaded)),
        Err(error) => parts.push(("config.json".to_owned(), error.to_string())),
    }
    for (name, words) in HOST {
        parts.push((name.to_owned(), said(words)));
    }
    let secrets = loaded.as_ref().map(secrets).unwrap_or_default();
    for (_, text) in &mut parts {
        for secret in &secrets {
            *text = text.replace(secret, "***");
        }
    }
    let file = arguments.to.unwrap_or_else(default_name);
    write(&file, &parts)
        .map_err(|error| Failure::failed(format!("{}: {error}", file.display())))?;
    let text = format!("{}\n", file.display());
    let parts = parts.into_iter().map(|(name, _)| name).collect();
    session.output.text(&text, &Written { file, parts })?;
    Ok(Exit::Ok)
}

fn default_name() -> PathBuf {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let time = crate::model::rfc3339(now.unwrap_or_default().as_secs(), 0);
    format!("harbor-support-{}.tar", time.replace(':', "")).into()
}

/// A part that could not be had says why.
fn found<T: Serialize>(part: Result<T, Failure>) -> String {
    match part {
        Ok(value) => serde_json::to_string_pretty(&value).unwrap_or_else(|error| error.to_string()),
        Err(failure) => format!("not there: {}", failure.description()),
    }
}

fn version() -> String {
    let value = serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "api_version": API_VERSION,
        "layout": harbor_common::maps::LAYOUT,
        "datapath": datapath::Datapath::is_built_in(),
    });
    value.to_string()
}

fn from_agent(session: &Session) -> Result<Vec<(String, String)>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
    runtime.block_on(async {
        let mut parts = Vec::new();
        for (name, path) in ASKED {
            let asked = async { Ok(session.client()?.get::<Value>(path).await?) };
            parts.push((name.to_owned(), found(asked.await)));
        }
        for (name, path) in TEXTS {
            let asked = async { Ok::<_, Failure>(session.client()?.text(path).await?) };
            let text = asked.await;
            let text =
                text.unwrap_or_else(|failure| format!("not there: {}", failure.description()));
            parts.push((name.to_owned(), text));
        }
        Ok(parts)
    })
}

fn from_files(loaded: &Loaded) -> Vec<(String, String)> {
    let paths = &loaded.config.paths;
    let values = config_items(loaded, loaded);
    let mut parts = vec![
        ("config.json".to_owned(), found(Ok(values))),
        (
            "datapath.json".to_owned(),
            found(datapath::status(&paths.bpf).map_err(Failure::from)),
        ),
        (
            "maps.json".to_owned(),
            found(datapath::maps(&paths.bpf).map_err(Failure::from)),
        ),
        (
            "programs.json".to_owned(),
            found(datapath::programs(&paths.bpf).map_err(Failure::from)),
        ),
    ];
    for part in Part::ALL {
        let text = match logs::last_lines(&paths.log, &[part], (None, LINES)) {
            Ok(lines) => lines
                .iter()
                .map(|line| format!("{} {}\n", line.time, line.text))
                .collect(),
            Err(failure) => format!("not there: {}", failure.description()),
        };
        parts.push((format!("logs/{}.log", part.name()), text));
    }
    parts
}

/// What a program of the host prints.
fn said(words: &[&str]) -> String {
    match Command::new(words[0]).args(&words[1..]).output() {
        Ok(said) => {
            let (out, error) = (
                String::from_utf8_lossy(&said.stdout),
                String::from_utf8_lossy(&said.stderr),
            );
            format!("{out}{error}")
        }
        Err(error) => format!("not there: {}: {error}", words[0]),
    }
}

/// What must not stand in it, as far as the configuration says where that is.
fn secrets(loaded: &Loaded) -> Vec<String> {
    let config = &loaded.config;
    let gateway = config
        .gateway
        .as_ref()
        .map(|gateway| &gateway.password_file);
    let files: [Option<&PathBuf>; 4] = [
        config.control.token_file.as_ref(),
        config.control.announcer_token_file.as_ref(),
        config.registry.password_file.as_ref(),
        gateway,
    ];
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(path).ok()?;
        Some(Secret::from_file(&text).reveal().to_owned())
    };
    let secrets = files.into_iter().flatten().filter_map(read);
    secrets.filter(|secret| secret.len() >= SHORTEST).collect()
}

/// Nobody else reads it: addresses of clients stand in it.
fn write(file: &Path, parts: &[(String, String)]) -> io::Result<()> {
    let out = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)?;
    let mut out = io::BufWriter::new(out);
    for (name, text) in parts {
        out.write_all(&header(&format!("harbor-support/{name}"), text.len()))?;
        out.write_all(text.as_bytes())?;
        let padding = text.len().next_multiple_of(BLOCK) - text.len();
        out.write_all(&vec![0; padding])?;
    }
    out.write_all(&[0; 2 * BLOCK])?;
    out.into_inner()?.sync_all()
}

const BLOCK: usize = 512;

/// The head of a file in a tar (ustar, POSIX.1-1988): names here are short, and all files are plain.
fn header(name: &str, length: usize) -> [u8; BLOCK] {
    let mut head = [0; BLOCK];
    let mut put =
        |at: usize, text: &str| head[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000600");
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{length:011o}"));
    put(136, "00000000000");
    // The checksum is of the head with blanks in its own place.
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\u{0}00");
    let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
    head[148..156].copy_from_slice(format!("{sum:06o}\u{0} ").as_bytes());
    head
}
