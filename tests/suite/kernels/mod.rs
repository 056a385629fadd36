//! What every kernel must do for Harbor, in a short form: run here with all the rest, and by
//! `cargo xtask matrix` on the kernels of Debian's releases.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use kit::{Config, Lab, V4, finish, traffic};
use serde_json::Value;

use crate::scene::{FAMILIES, Scene};

/// An answer takes a thousandth of this.
const A_MOMENT: Duration = Duration::from_millis(500);
/// A quarter of what the verifier looks at before it gives a program up.
const MOST_VERIFIED: u64 = 250_000;

/// A scene in which the kernel must forward: an agent that cannot load its programs does not serve.
fn insisting() -> Scene {
    // Where the processor is emulated, saying everything costs more than doing it.
    let config = "[datapath]\nmode = \"tc\"\n[log]\nlevel = \"info\"\n";
    Scene::on(Lab::routed(), &Config::with(config))
}

/// What is attached, without what changes with every load.
fn attachments(scene: &Scene) -> Vec<Value> {
    let report = scene.agent.ctl_json_whatever(&["datapath", "status"]);
    let links = report["links"].as_array().unwrap().iter();
    let kept = |link: &Value| -> Value {
        ["interface", "ifindex", "kind", "link_id"]
            .map(|key| link[key].clone())
            .into_iter()
            .collect()
    };
    links.map(kept).collect()
}

fn filters(scene: &Scene, interface: &str) -> String {
    let mut tc = scene.lab.node.command("tc");
    tc.args(["filter", "show", "dev", interface, "ingress"]);
    finish(&mut tc).ok().stdout
}

#[track_caller]
fn halves(scene: &Scene, to: SocketAddr, count: usize) {
    let tally = traffic::connect(&scene.lab.client, to, count);
    let served = (tally.of("app1"), tally.of("app2"), tally.errors.len());
    assert_eq!(served, (count / 2, count / 2, 0), "{tally:?}");
}

#[test]
fn a_port_of_each_protocol_outlives_a_killed_agent() {
    let mut scene = insisting();
    let (web, dns) = (scene.port("web"), scene.port("udp-dns"));
    halves(&scene, web, 10);
    assert_eq!(traffic::ask(&scene.lab.client, dns, 10).of("app1"), 10);
    for item in scene.agent.items(&["ports", "list"]) {
        assert_eq!(item["path"], "tc", "{item}");
    }
    let live = traffic::Live::open(&scene.lab.client, web, 10);
    let before = attachments(&scene);
    assert_eq!(before.len(), 2, "{before:?}");
    scene.agent.kill();
    live.progress();
    halves(&scene, web, 10);
    assert_eq!(traffic::ask(&scene.lab.client, dns, 10).of("app1"), 10);
    scene.agent.restart();
    assert_eq!(attachments(&scene), before, "adopted, not attached anew");
    live.progress();
    assert_eq!(live.finish().errors, Vec::<String>::new());
    halves(&scene, web, 10);
    scene.agent.stop();
    let file = scene.agent.config_file().display().to_string();
    let detach = ["datapath", "detach", "--yes", "--config", &file];
    scene.agent.ctl(&detach).ok();
    assert!(!scene.lab.bpf().exists());
    for interface in ["eth0", "eth1"] {
        assert_eq!(filters(&scene, interface), "");
        let mut tc = scene.lab.node.command("tc");
        let qdiscs = finish(tc.args(["qdisc", "show", "dev", interface])).ok();
        assert!(!qdiscs.stdout.contains("clsact"), "{}", qdiscs.stdout);
    }
}

#[test]
fn a_hundred_connections_and_fifty_megabytes_pass_in_both_families() {
    let mut scene = insisting();
    for family in FAMILIES {
        scene = scene.of(family);
        let (web, dns) = (
            scene.port(&format!("web-{family:?}")),
            scene.port(&format!("udp-{family:?}")),
        );
        halves(&scene, web, 100);
        assert_eq!(traffic::ask(&scene.lab.client, dns, 50).of("app1"), 50);
        traffic::transfer(&scene.lab.client, web, 50_000_000).unwrap();
    }
}

#[test]
fn a_program_that_others_took_off_an_interface_is_put_back() {
    let hook = Config::with("[datapath]\nmode = \"tc\"\nhook = \"clsact\"\n");
    let scene = Scene::on(Lab::routed(), &hook);
    let to = scene.port("web");
    halves(&scene, to, 2);
    let mut tc = scene.lab.node.command("tc");
    finish(tc.args(["qdisc", "del", "dev", "eth0", "clsact"])).ok();
    kit::eventually(Duration::from_secs(5), || {
        filters(&scene, "eth0").contains("harbor_tc")
    });
    halves(&scene, to, 10);
}

/// How many questions one flow asked, one after the other, while something was done, and how many of them
/// nobody answered.
fn questions_during(scene: &Scene, to: SocketAddr, work: impl FnOnce()) -> (usize, usize) {
    let is_over = AtomicBool::new(false);
    let new = || traffic::Asker::new(&scene.lab.client, V4);
    let mut asker = new();
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let patience = kit::patient(A_MOMENT);
            let (mut asked, mut lost) = (0, 0);
            while !is_over.load(Ordering::Relaxed) {
                let answer = asker.try_ask(to, format!("{asked}").as_bytes(), patience);
                if answer.is_none() {
                    lost += 1;
                    // An answer that is only late is none to the next question.
                    asker = new();
                }
                asked += 1;
                thread::sleep(A_MOMENT / 500);
            }
            (asked, lost)
        });
        work();
        is_over.store(true, Ordering::Relaxed);
        asking.join().unwrap()
    })
}

/// Twenty; four where the processor is emulated, which takes a minute for each to be verified.
fn replacements() -> usize {
    match kit::patient(A_MOMENT) > A_MOMENT {
        true => 4,
        false => 20,
    }
}

/// Fifty connections talk and one flow asks while the agent is killed and the program is replaced.
fn replaced(scene: &mut Scene) {
    let (web, dns) = (scene.port("web"), scene.port("udp-dns"));
    let live = traffic::Live::open(&scene.lab.client, web, 50);
    let before = attachments(scene);
    scene.agent.kill();
    scene.agent.restart();
    let replacements = replacements();
    let (asked, lost) = questions_during(scene, dns, || {
        for turn in 0..replacements {
            let level = ["debug", "off"][turn % 2];
            scene
                .agent
                .ctl(&["config", "set", "log.datapath", level])
                .ok();
        }
    });
    let hook = &before[0][2];
    println!("{hook}: {lost} of {asked} questions lost over {replacements} replacements");
    assert_eq!(attachments(scene), before, "replaced in place");
    assert!(asked > 50, "{asked}");
    assert_eq!(lost, 0, "of {asked}");
    live.progress();
    assert_eq!(live.finish().errors, Vec::<String>::new());
}

#[test]
fn fifty_connections_outlive_a_kill_and_many_replacements_of_the_program() {
    replaced(&mut insisting());
}

#[test]
fn a_replacement_by_clsact_loses_no_more_than_one_by_tcx() {
    let report = insisting().agent.ctl_json_whatever(&["datapath", "status"]);
    if report["kernel"]["hook"] == "clsact" {
        // The test above has shown it.
        return;
    }
    let config = "[datapath]\nmode = \"tc\"\nhook = \"clsact\"\n";
    replaced(&mut Scene::on(Lab::routed(), &Config::with(config)));
}

#[test]
fn a_kernel_that_does_not_describe_its_types_forwards_and_says_so() {
    let mut scene = insisting();
    let to = scene.port("web");
    scene.agent.stop();
    let hidden = "mount -t tmpfs tmpfs /sys/kernel/btf && exec \"$0\" \"$@\"";
    let wrapper = ["unshare", "-m", "sh", "-c", hidden].map(str::to_owned);
    scene.agent.start_by(wrapper.to_vec());
    scene.agent.restart();
    halves(&scene, to, 10);
    let report = scene.agent.ctl_json_whatever(&["status"]);
    println!("{report}");
    let text = scene.agent.ctl(&["status"]).ok().stdout;
    assert!(text.contains("no BTF"), "{text}");
}

#[test]
#[ignore = "needs a kernel that is locked down: cargo xtask matrix --suite lockdown"]
fn a_kernel_that_is_locked_down_forwards_and_says_so() {
    let scene = insisting();
    halves(&scene, scene.port("web"), 10);
    let text = scene.agent.ctl(&["status"]).stdout;
    assert!(text.contains("lockdown confidentiality"), "{text}");
    let found = scene.agent.items(&["doctor", "--only", "kernel"]);
    let states: Vec<&Value> = found.iter().map(|item| &item["state"]).collect();
    assert!(!states.contains(&&"fault".into()), "{found:?}");
}

#[test]
fn status_says_what_the_kernel_has_and_attaches_by_it() {
    let scene = insisting();
    let report = scene.agent.ctl_json_whatever(&["datapath", "status"]);
    let release = finish(scene.lab.node.command("uname").arg("-r"))
        .ok()
        .stdout;
    let kernel = &report["kernel"];
    assert_eq!(kernel["release"], release.trim());
    assert_eq!(kernel["hook"], report["links"][0]["kind"]);
    let text = scene.agent.ctl(&["status"]).ok().stdout;
    let hook = kernel["hook"].as_str().unwrap();
    assert!(
        text.contains(&format!("Linux {}, {hook}", release.trim())),
        "{text}"
    );
}

/// What each program came to on this kernel when it was last decided that it may.
pub(crate) struct Recorded {
    program: &'static str,
    verified: u64,
    octets: u64,
}

/// The kernel that the records are of, and they: a change by more than [`TOLERANCE`] asks for a decision,
/// which is a changed number here.
const RECORDED_ON: &str = "6.18.";
const RECORDED: [Recorded; 5] = [
    recorded("harbor_arm", 3_881, 5_260),
    recorded("harbor_lookup", 200, 1_069),
    recorded("harbor_sweep", 2_030, 3_905),
    recorded("harbor_tc", 100_275, 90_541),
    recorded("harbor_xdp", 7_926, 11_611),
];
/// Those that stand in while flows are taken over, as long as new ones begin with the former program.
pub(crate) const RECORDED_FOR_HANDOVER: [Recorded; 2] = [
    recorded("harbor_adopt", 12_020, 10_113),
    recorded("harbor_handover", 52_833, 65_985),
];
const TOLERANCE: f64 = 0.05;

const fn recorded(program: &'static str, verified: u64, octets: u64) -> Recorded {
    Recorded {
        program,
        verified,
        octets,
    }
}

#[test]
fn every_program_stays_within_a_quarter_of_the_verifiers_limit_and_what_was_recorded() {
    let lab = Lab::routed();
    let config = "[datapath]\nmode = \"xdp\"\n[log]\nlevel = \"info\"\n";
    lab.finish_frames();
    let scene = Scene::on(lab, &Config::with(config));
    let file = scene.agent.config_file().display().to_string();
    let programs = scene
        .agent
        .items(&["datapath", "programs", "--config", &file]);
    for program in &programs {
        let count = program["verified_instructions"].as_u64().unwrap();
        assert!(count <= MOST_VERIFIED, "{program}");
    }
    stay_as_recorded(&programs, &RECORDED);
}

/// Whether programs are as large as was recorded on this kernel.
#[track_caller]
pub(crate) fn stay_as_recorded(programs: &[Value], recorded: &[Recorded]) {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    for program in programs {
        println!(
            "{}: {} verified, {} octets of machine code",
            program["name"], program["verified_instructions"], program["jit_bytes"]
        );
    }
    for record in recorded {
        let mut found = programs.iter();
        let found = found.find(|program| program["name"] == record.program);
        if !kernel.starts_with(RECORDED_ON) {
            // Others have what they can have: XDP not before Linux 6.3.
            assert!(
                found.is_some() || record.program == "harbor_xdp",
                "{programs:?}"
            );
            continue;
        }
        let found = found.unwrap_or_else(|| panic!("{} is not loaded", record.program));
        for (key, was) in [
            ("verified_instructions", record.verified),
            ("jit_bytes", record.octets),
        ] {
            let is = found[key].as_u64().unwrap();
            let change = is as f64 / was as f64 - 1.0;
            assert!(
                change.abs() <= TOLERANCE,
                "{}: {key} {was} -> {is}: decide, and write the new number into RECORDED",
                record.program
            );
        }
    }
}
