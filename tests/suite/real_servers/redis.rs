//! Redis and its own benchmark.

use std::os::unix::process::CommandExt;

use kit::{Lab, eventually};

use super::{MINUTES, Server, addresses};
use crate::scene::FAMILIES;

#[test]
fn redis_serves_its_benchmark() {
    let lab = Lab::routed();
    // Debian's redis-tools holds the server as well; it goes by the name it is called by.
    let mut command = lab.apps[0].command("redis-check-rdb");
    command.arg0("redis-server").current_dir(lab.folder());
    command.args(["--port", "6379", "--save", "", "--protected-mode", "no"]);
    let own = addresses(&lab).map(|address| address.to_string());
    command.arg("--bind").args(own);
    let redis = Server::start(lab, "redis", &mut command);
    for family in FAMILIES {
        let to = redis.port(family, 6379);
        let cli = ["redis-cli", "-h", "HOST", "-p", "PORT"];
        let ask = |words: &[&str]| redis.client(to, &[&cli[..], words].concat()).stdout;
        eventually(MINUTES, || ask(&["ping"]) == "PONG\n");
        let benchmark = ["redis-benchmark", "-h", "HOST", "-p", "PORT", "-q"];
        let amount = ["-n", "20000", "-t", "set,get"];
        let finished = redis.client(to, &[&benchmark[..], &amount].concat()).ok();
        let said = format!("{}{}", finished.stdout, finished.stderr);
        assert!(!said.to_lowercase().contains("error"), "{said}");
        for verb in ["SET: ", "GET: "] {
            let is_told = said.contains(verb) && said.contains("requests per second");
            assert!(is_told, "{said}");
        }
        assert_eq!(ask(&["dbsize"]), "1\n");
    }
}
