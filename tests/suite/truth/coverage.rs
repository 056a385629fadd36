//! The list of faults comes from what it must cover, in both directions: every row of `status` in the source
//! has a fault, and every way in which the kit makes something fail has a row. Whoever adds one of either
//! says so here, or a test fails.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::{APIS, faults::FAULTS};

/// How the kit says which parts of `status` name what a function makes fail.
const FAULT: &str = "/// Fault: ";

/// Functions of the kit, by their files, that make nothing fail that `status` would name: they start, stop,
/// ask and look, a clock that is set moves deadlines along, and an agent that is halted has no status.
const NEUTRAL: [(&str, &str); 26] = [
    (
        "agent",
        "config_file configured create ctl ctl_json ctl_json_whatever dump folder freeze host \
         inherit is_running items keep launch leaks log printed process restart set_program \
         socket start start_by start_with stop wait_until_ended wait_until_ready with",
    ),
    (
        "app_host",
        "ask cut kill_command reachable start start_with token",
    ),
    ("beyond", "address app client without_offloads"),
    ("bound", "dial greeting reset"),
    (
        "browser",
        "call click complaints fill follow new_tab open picture press show start strike turn_to \
         until value write",
    ),
    ("certificate", "certify certify_briefly certify_expired"),
    ("eventually", "eventually patient until"),
    ("family", "any loopback of"),
    ("http", "ask new post send tcp"),
    ("keepalived", "launch printed signal start"),
    (
        "lab",
        "another app app_ports backend_host backend_side bpf bpffs bridged client_address \
         client_host client_side folder forwarding keep named new public renew_client_link routed \
         tear_down translation unplug",
    ),
    (
        "netns",
        "command create enter get ifindex name nft open set",
    ),
    ("offloads", "finish_frames widen_switch"),
    ("pins", "link maps xdp_link"),
    (
        "process",
        "allow_many_descriptors binary cpu finish finish_within id is_running json keep memory ok \
         printed signal start wait",
    ),
    (
        "redis",
        "config config_within cpu launch restart say say_all signal start start_with url",
    ),
    ("relay", "relay"),
    ("service_manager", "clear kept names put start variables"),
    ("small_disk", "free mount"),
    (
        "traffic",
        "address ask connect ended exchanged finish for_crowds hold hold_udp new of open progress \
         send serve transfer try_ask",
    ),
    ("trickle", "half_closed"),
    ("tunnel", "between"),
    ("unanswered", "is_waited_for"),
    (
        "verdict",
        "act attached fire is_drop is_runnable link_ids run run_all run_here taken totals",
    ),
    ("wire", "open send"),
    ("wrong_clock", "new set variables"),
];

/// A function of the kit, and the parts that name what it makes fail.
#[derive(Debug, PartialEq, Eq)]
struct Function {
    file: String,
    name: String,
    parts: Vec<String>,
}

fn tests() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// What stands in the files of a folder, by their names without the ending.
fn texts(folder: &Path) -> Vec<(String, String)> {
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|end| end == "rs"));
    let read = |path: PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (name, fs::read_to_string(path).unwrap())
    };
    files.map(read).collect()
}

/// The parts of `status`, as its source lists them.
pub(super) fn rows() -> BTreeSet<String> {
    let source = tests().join("../harbor-ctl/src/api/status.rs");
    let text = fs::read_to_string(source).unwrap();
    let listed = text.split("fn parts(").nth(1).unwrap();
    let each = listed.split("&self.").skip(1);
    each.map(|rest| rest.split(')').next().unwrap().to_owned())
        .collect()
}

/// The parts of which a test of this folder says that a fault is named by them.
fn asserted() -> BTreeSet<String> {
    let mut parts: BTreeSet<String> = FAULTS.iter().map(|fault| fault.part.to_owned()).collect();
    parts.extend(APIS.map(str::to_owned));
    for (_, text) in texts(&tests().join("suite/truth")) {
        for call in text.split("is_named(").skip(1) {
            let part = call.split(',').nth(1).unwrap_or_default().trim();
            let literal = part
                .strip_prefix('"')
                .and_then(|part| part.strip_suffix('"'));
            parts.extend(literal.map(str::to_owned));
        }
    }
    parts
}

fn functions() -> Vec<Function> {
    let mut found = Vec::new();
    for (file, text) in texts(&tests().join("kit")) {
        let mut parts = Vec::new();
        for line in text.lines().map(str::trim) {
            if let Some(named) = line.strip_prefix(FAULT) {
                let named = named.trim_end_matches('.').split(", ");
                parts = named.map(str::to_owned).collect();
            } else if let Some(rest) = line.strip_prefix("pub fn ") {
                let end = rest.find(['(', '<']).unwrap();
                found.push(Function {
                    file: file.clone(),
                    name: rest[..end].to_owned(),
                    parts: std::mem::take(&mut parts),
                });
            } else if !line.starts_with("///") && !line.starts_with("#[") {
                assert_eq!(parts, [""; 0], "{file}: {FAULT}belongs to a function");
            }
        }
    }
    found
}

#[test]
fn every_row_of_status_has_a_fault_and_every_fault_a_row() {
    assert_eq!(rows(), asserted());
}

#[test]
fn whatever_the_kit_can_make_fail_is_made_to_fail_here_and_has_a_row() {
    let (rows, functions) = (rows(), functions());
    let here: String = texts(&tests().join("suite/truth"))
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    let mut neutral = BTreeSet::new();
    for Function { file, name, parts } in &functions {
        if parts.is_empty() {
            neutral.insert((file.as_str(), name.as_str()));
            continue;
        }
        let is_made = [".", "::"]
            .iter()
            .any(|by| here.contains(&format!("{by}{name}(")));
        assert!(is_made, "{file}: no test of the truth calls {name}");
        for part in parts {
            assert!(rows.contains(part), "{file}: {name}: status has no {part}");
        }
    }
    let listed = NEUTRAL.iter().flat_map(|(file, names)| {
        let each = names.split(' ');
        each.map(move |name| (*file, name))
    });
    assert_eq!(neutral, listed.collect());
}
