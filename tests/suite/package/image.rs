//! The container image, as far as it can be told without a builder: it runs what the unit runs, with the
//! same rights.

use std::{collections::BTreeSet, fs};

use kit::{binary, finish};

use crate::documents::root;

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// The words of a list in JSON behind an instruction.
fn list(dockerfile: &str, instruction: &str) -> Vec<String> {
    let mut lines = dockerfile.lines();
    let line = lines.find_map(|line| line.strip_prefix(instruction));
    serde_json::from_str(line.unwrap_or_else(|| panic!("no {instruction}"))).unwrap()
}

#[test]
fn the_image_runs_what_the_unit_runs_with_the_same_rights() {
    let dockerfile = text("harbor-ctl/dist/Dockerfile");
    let unit = text("harbor-ctl/dist/harbor.service");
    let of_unit = |key: &str| {
        let mut lines = unit.lines();
        let value = lines.find_map(|line| line.strip_prefix(key)).unwrap();
        value.split(' ').map(str::to_owned).collect::<Vec<_>>()
    };
    let mut runs = list(&dockerfile, "ENTRYPOINT ");
    runs.extend(list(&dockerfile, "CMD "));
    assert_eq!(runs, of_unit("ExecStart="));
    let words: Vec<&str> = dockerfile.split_whitespace().collect();
    let pairs = words.windows(2).filter(|pair| pair[0] == "--cap-add");
    let added: BTreeSet<String> = pairs.map(|pair| format!("CAP_{}", pair[1])).collect();
    let bound = of_unit("CapabilityBoundingSet=").into_iter().collect();
    assert_eq!(added, bound);
    // What it asks of itself exists.
    let asked = list(&dockerfile, "HEALTHCHECK CMD ");
    let mut help = std::process::Command::new(binary("harbor-ctl"));
    let help = finish(help.args(&asked[1..]).arg("--help")).ok();
    assert!(help.stdout.contains("--ready"), "{}", help.stdout);
}

#[test]
fn an_image_without_a_builder_is_refused_before_anything_is_built() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let mut dist = std::process::Command::new(binary("xtask"));
    dist.args(["dist", "--image", "harbor", "--out"]).arg(&out);
    // Programs that pack are here, and nothing that builds images.
    let tools = folder.path().join("bin");
    fs::create_dir(&tools).unwrap();
    for name in ["dpkg-deb", "strip", "gzip", "tar", "readelf"] {
        let place = std::path::Path::new("/usr/bin").join(name);
        std::os::unix::fs::symlink(place, tools.join(name)).unwrap();
    }
    let refused = finish(dist.env("PATH", &tools));
    assert_ne!(refused.code, 0);
    assert!(
        refused.stderr.contains("docker, podman, buildah"),
        "{}",
        refused.stderr
    );
    assert!(!out.exists());
}
