//! App hosts that are somebody: nobody else speaks for them, stands in their place, or shuts them out.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use kit::{
    Agent, Config, Lab, Redis, V4,
    app_host::{self, CONTROL, Instance},
    eventually, finish,
    traffic::{self, Live},
};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(20);

/// Fields are dropped in this order: the agent first, the ground under it last.
struct Ground {
    agent: Agent,
    redis: Option<Redis>,
    lab: Lab,
}

fn token(name: &str) -> String {
    format!("the-own-token-of-{name}")
}

/// The file with an app host's own token.
fn token_file(lab: &Lab, name: &str) -> PathBuf {
    let path = lab.folder().join(format!("{name}.token"));
    fs::write(&path, token(name)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn sha256(text: &str) -> String {
    let line = format!("printf %s {text} | sha256sum | cut -c1-64");
    let sum = finish(std::process::Command::new("sh").args(["-c", &line])).ok();
    sum.stdout.trim().to_owned()
}

impl Ground {
    /// Three app hosts with a file: `a` and `b`, each at its own address, and `free`, which proves
    /// nothing.
    fn start(with_redis: bool) -> Self {
        let lab = Lab::routed();
        let hosts = lab.folder().join("hosts");
        fs::create_dir(&hosts).unwrap();
        for (name, last) in [("a", 11), ("b", 12)] {
            let hash = sha256(&token(name));
            let text = format!(
                "dea = {name:?}\ntoken_sha256 = {hash:?}\nnetworks = [\"10.77.2.{last}\"]\n\
                 services = [\"web*\"]\ninstances = 2\n"
            );
            fs::write(hosts.join(format!("{name}.toml")), text).unwrap();
        }
        fs::write(hosts.join("free.toml"), "dea = \"free\"\n").unwrap();
        let address = SocketAddr::new(lab.app(V4, 1), 6_379);
        let redis = with_redis.then(|| Redis::start(&lab.apps[1], lab.folder(), address));
        let mut lines = app_host::reachable(&lab, "17s");
        lines.push_str(&format!("hosts = {hosts:?}\n"));
        lines.extend(redis.iter().map(|redis| redis.config("one")));
        let agent = Agent::start_with(&lab, &Config::with(&lines));
        Self { agent, redis, lab }
    }

    fn port(&self, name: &str) -> SocketAddr {
        SocketAddr::new(self.lab.public(V4), self.agent.create(&[name]))
    }

    /// `dea run` of app host `a`.
    fn own(&self) -> Instance {
        let file = token_file(&self.lab, "a");
        let url = format!("http://{CONTROL}");
        let more = [
            "--to",
            &url,
            "--token-file",
            file.to_str().unwrap(),
            "--dea",
            "a",
        ];
        let one = Instance::start(&self.lab, 0, ("web", "one"), 4_100, &more);
        self.wait_for("web", &["one"]);
        one
    }

    /// Says something with a token by HTTP.
    fn say(&self, token: &str, dea: &str, said: &Value) -> (u16, Value) {
        let bearer = format!("Authorization: Bearer {token}");
        let document = document(dea, 1 << 40, said);
        let url = format!("http://{CONTROL}/v1/announce");
        let (code, body) = app_host::ask(&self.lab, &["-H", &bearer, "-d", &document, &url]);
        (code, serde_json::from_str(&body).unwrap())
    }

    fn instances(&self, name: &str) -> Vec<String> {
        let items = self.agent.items(&["backends", "list", name]);
        let up = items.iter().filter(|item| item["state"] == "up");
        up.map(|item| item["instance"].as_str().unwrap().to_owned())
            .collect()
    }

    fn wait_for(&self, name: &str, instances: &[&str]) {
        eventually(SOON, || self.instances(name) == instances);
    }
}

/// Each is newer than all before.
fn document(dea: &str, epoch: u64, said: &Value) -> String {
    let seq = Instant::now().elapsed().as_nanos() as u64 + next();
    let mut document = json!({"v": 1, "dea": dea, "epoch": epoch, "seq": seq});
    for (key, value) in said.as_object().unwrap() {
        document[key] = value.clone();
    }
    document.to_string()
}

fn next() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1_000_000);
    NEXT.fetch_add(1_000, Ordering::Relaxed)
}

fn entry(service: &str, instance: &str, last: u8) -> Value {
    json!({
        "service": service, "instance": instance, "ip": format!("10.77.2.{last}"),
        "port": 4_100, "state": "up"
    })
}

#[test]
fn an_app_host_s_name_instances_and_address_are_its_own() {
    let ground = Ground::start(false);
    let to = ground.port("web");
    ground.port("mail");
    let _one = ground.own();
    let live = Live::open(&ground.lab.client, to, 3);
    let (own, other, shared) = (token("a"), token("b"), "a-token-of-app-hosts");

    // In its name: everything withdrawn, an instance that is down, and an epoch that never ends.
    let gone = json!({"instances": []});
    let mut down = entry("web", "one", 11);
    down["state"] = json!("down");
    for token in [&other, shared] {
        for said in [&gone, &down] {
            assert_eq!(ground.say(token, "a", said).0, 403);
        }
    }
    let for_ever = document("a", u64::MAX, &gone);
    let bearer = format!("Authorization: Bearer {own}");
    let url = format!("http://{CONTROL}/v1/announce");
    let (code, body) = app_host::ask(&ground.lab, &["-H", &bearer, "-d", &for_ever, &url]);
    assert_eq!(code, 400, "{body}");
    assert!(body.contains("more than a day ahead"), "{body}");

    // In its place: its instance, its address, and where the other has nothing to do.
    for (said, error) in [
        (entry("web", "one", 12), "instance_taken"),
        (entry("web", "two", 11), "address_refused"),
        (entry("mail", "two", 12), "not_found"),
    ] {
        let (_, body) = ground.say(&other, "b", &said);
        assert_eq!(body["error"], error, "{said}: {body}");
        let (code, heard) = ground.say(&other, "b", &json!({"instances": [said]}));
        assert_eq!(
            (code, &heard["refused"][0]["error"]),
            (200, &json!(error)),
            "{heard}"
        );
    }
    // Not by those either who have no file of their own.
    let (_, body) = ground.say(shared, "nobody", &entry("web", "one", 11));
    assert_eq!(body["error"], "instance_taken", "{body}");
    // And not too many of them.
    let mut many: Vec<Value> = (0..3_u16)
        .map(|n| entry("web", &format!("b{n}"), 12))
        .collect();
    for (number, said) in many.iter_mut().enumerate() {
        said["port"] = json!(4_200 + number);
    }
    let (_, heard) = ground.say(&other, "b", &json!({"instances": many}));
    assert_eq!(heard["refused"][0]["error"], "quota_exceeded", "{heard}");
    assert_eq!(ground.instances("web"), ["one", "b0", "b1"]);
    assert_eq!(ground.say(&other, "b", &gone).0, 200);

    let status = ground.agent.ctl(&["status"]);
    assert!(status.stdout.contains("is refused"), "{}", status.stdout);
    ground.wait_for("web", &["one"]);
    live.progress();
    assert_eq!(live.finish().errors, Vec::<String>::new());
    let tally = traffic::connect(&ground.lab.client, to, 20);
    assert_eq!((tally.of("one"), tally.errors.len()), (20, 0), "{tally:?}");
}

#[test]
fn over_redis_nobody_speaks_for_an_app_host_that_proves_itself() {
    let ground = Ground::start(true);
    let to = ground.port("web");
    let _one = ground.own();
    let live = Live::open(&ground.lab.client, to, 3);
    let say = |document: &str| {
        let redis = ground.redis.as_ref().unwrap();
        redis
            .say(&["XADD", "{harbor:harbor}:announce", "*", "m", document])
            .ok();
    };
    let now = 1 << 50;
    say(&document("a", 1 << 40, &json!({"instances": []})));
    say(&document("a", now, &entry("web", "one", 12)));
    say(&document("stranger", 1 << 40, &entry("web", "one", 12)));
    say(&document("free", u64::MAX, &json!({"instances": []})));
    // Whoever has a file and proves nothing is heard, and takes nothing from others.
    say(&document(
        "free",
        1 << 40,
        &json!({"instances": [
            entry("web", "one", 12), entry("web", "free", 12)
        ]}),
    ));
    ground.wait_for("web", &["one", "free"]);
    let events = ground.agent.items(&["events"]);
    let refused = |dea: &str| {
        let is_it = |event: &&Value| event["kind"] == "announcement_refused" && event["dea"] == dea;
        events.iter().filter(is_it).count()
    };
    assert!(
        refused("a") == 1 && refused("stranger") == 1 && refused("free") == 2,
        "{events:?}"
    );
    live.progress();
    assert_eq!(live.finish().errors, Vec::<String>::new());
    let backends = ground.agent.items(&["backends", "list", "web"]);
    assert_eq!(backends[0]["address"], "10.77.2.11:4100", "{backends:?}");
}

#[test]
fn an_app_host_that_spoke_too_far_ahead_is_forgotten_and_begins_again() {
    let ground = Ground::start(false);
    ground.port("web");
    let shared = "a-token-of-app-hosts";
    let bearer = format!("Authorization: Bearer {shared}");
    let url = format!("http://{CONTROL}/v1/announce");
    let say = |epoch: u64| {
        let document = document("c", epoch, &entry("web", "c", 12));
        app_host::ask(&ground.lab, &["-H", &bearer, "-d", &document, &url]).0
    };
    assert_eq!(say(1 << 40), 200);
    assert_eq!(say(5), 409, "older");
    assert_eq!(ground.agent.ctl(&["dea", "forget", "nobody"]).code, 4);
    ground.agent.ctl(&["dea", "forget", "c"]).ok();
    ground.wait_for("web", &["c"]);
    assert_eq!(say(5), 200);
}

#[test]
fn a_certificate_gives_the_right_that_its_subject_has() {
    let lab = Lab::routed();
    kit::certify(lab.folder(), "node", "IP:10.77.2.1");
    kit::certify(lab.folder(), "client", "DNS:client.test");
    let file = |name: &str| lab.folder().join(name).display().to_string();
    let both = fs::read_to_string(file("client.crt")).unwrap()
        + &fs::read_to_string(file("client.key")).unwrap();
    fs::write(file("client.pem"), both).unwrap();
    for (role, read, announce, create) in [
        ("admin_subjects", 200, 400, 201),
        ("read_subjects", 200, 403, 403),
        ("announce_subjects", 403, 400, 403),
        (
            "admin_subjects = [\"CN=other\"]\nread_subjects",
            200,
            403,
            403,
        ),
    ] {
        let lines = format!(
            "[control]\nlisten = {CONTROL:?}\ntls_cert = {:?}\ntls_key = {:?}\n\
             tls_client_ca = {:?}\ntls_clients = \"optional\"\n{role} = [\"CN=client\"]\n\
             [discovery]\ntoken_file = {:?}\n",
            file("node.crt"),
            file("node.key"),
            file("client.crt"),
            app_host::token(&lab),
        );
        let agent = Agent::start_with(&lab, &Config::with(&lines));
        let ask = |more: &[&str], path: &str| {
            let url = format!("https://{CONTROL}{path}");
            let (ca, own) = (file("node.crt"), file("client.pem"));
            let mut arguments = vec!["--cacert", &ca];
            let certified = !more.contains(&"-H");
            arguments.extend(certified.then_some(["--cert", &own]).into_iter().flatten());
            arguments.extend(more);
            arguments.push(&url);
            app_host::ask(&lab, &arguments).0
        };
        assert_eq!(ask(&[], "/v1/ports"), read, "{role}");
        assert_eq!(ask(&["-d", "{}"], "/v1/announce"), announce, "{role}");
        assert_eq!(
            ask(&["-d", r#"{"name":"web"}"#], "/v1/ports"),
            create,
            "{role}"
        );
        // Without a certificate a token is as good.
        let bearer = "Authorization: Bearer a-token-of-app-hosts";
        assert_eq!(ask(&["-H", bearer, "-d", "{}"], "/v1/announce"), 400);
        assert_eq!(ask(&["-H", "X: y"], "/v1/ports"), 401);
        if create == 201 {
            let log = agent.log("node");
            assert!(log.contains("subject=\"CN=client\""), "{log}");
        }
    }
}

#[test]
fn backends_are_where_the_operator_wants_them_and_nowhere_special() {
    let lab = Lab::routed();
    let lines = "[policy]\nbackend_networks = [\"10.77.2.0/24\"]\n";
    let agent = Agent::start_with(&lab, &Config::with(lines));
    agent.create(&["web", "--backend", "10.77.2.11:80"]);
    for bad in [
        "192.168.9.9:80",
        "169.254.169.254:80",
        "100.100.100.200:80",
        "168.63.129.16:80",
        "[64:ff9b::169.254.169.254]:80",
        "[2002:a9fe:a9fe::1]:80",
        "10.77.2.1:80",
        "10.77.2.255:80",
    ] {
        let refused = agent.ctl(&["backends", "add", "web", bad]);
        assert_eq!(refused.code, 2, "{bad}: {}", refused.stderr);
        assert!(
            refused.stderr.contains("cannot be a backend"),
            "{}",
            refused.stderr
        );
    }
    assert_eq!(agent.items(&["backends", "list", "web"]).len(), 1);
    agent
        .ctl(&["config", "set", "policy.backend_networks", "192.168.0.0/16"])
        .ok();
    // What stands there stays.
    assert_eq!(agent.items(&["backends", "list", "web"]).len(), 1);
    assert_eq!(
        agent.ctl(&["backends", "add", "web", "10.77.2.12:80"]).code,
        2
    );
    agent
        .ctl(&["backends", "add", "web", "192.168.9.9:80"])
        .ok();
}
