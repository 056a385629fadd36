//! APIs that somebody tries to hold: by saying nothing, by not reading, by asking without a right.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    process::Command,
    time::Duration,
};

use kit::{
    Agent, Config, Lab, Process, V4,
    app_host::{self, CONTROL, Instance},
    binary, eventually, finish,
    http::Http,
};

const READERS: &str = "4242";
const SOON: Duration = Duration::from_secs(20);
/// Connections of each attack.
const CONNECTIONS: &str = "20000";
/// Of a network of its own, as far as the node can see.
const ADDRESSES: std::ops::Range<u8> = 100..200;

/// An agent with every listener open, and a group that may look.
fn agent(lab: &Lab, more: &str) -> Agent {
    let side = app_host::reachable(lab, "17s");
    let lines = side.replacen(
        "[control]\n",
        &format!("[control]\nread_group = \"{READERS}\"\n{more}"),
        1,
    );
    // Clients are no app hosts, but they can reach the address.
    lab.client.ip("route add 10.77.2.0/24 via 10.77.1.1");
    Agent::start_with(lab, &Config::with(&lines))
}

/// Lets everybody get as far as the agent's own directory.
fn open_folders(agent: &Agent) {
    let socket = agent.socket();
    let folders = socket.ancestors().skip(2);
    for folder in folders.take_while(|folder| folder.parent().is_some()) {
        let mode = fs::metadata(folder).unwrap().permissions().mode();
        fs::set_permissions(folder, fs::Permissions::from_mode(mode | 0o011)).unwrap();
    }
}

/// A command of an ordinary user with this group.
fn as_user(lab: &Lab, group: &str) -> Command {
    let mut command = lab.node.command("setpriv");
    command.args(["--reuid", "12345", "--regid", group, "--clear-groups"]);
    command
}

fn started(lab: &Lab, name: &str, command: &mut Command) -> Process {
    let attack = Process::start(command, lab.folder(), name);
    eventually(Duration::from_secs(60), || {
        attack.printed().contains("ready")
    });
    attack
}

fn descriptors(agent: &mut Agent) -> usize {
    let id = agent.process().id();
    fs::read_dir(format!("/proc/{id}/fd")).unwrap().count()
}

#[test]
fn twenty_thousand_silent_connections_keep_nobody_out() {
    let lab = Lab::routed();
    let mut agent = agent(&lab, "");
    open_folders(&agent);
    agent.create(&["web"]);
    let _one = Instance::start(&lab, 0, ("web", "one"), 4_100, &[]);
    let up = |agent: &Agent| {
        let items = agent.items(&["backends", "list", "web"]);
        items.iter().filter(|item| item["state"] == "up").count()
    };
    eventually(SOON, || up(&agent) == 1);
    let (memory, before) = (agent.process().memory(), descriptors(&mut agent));

    // By TCP from one address, by TCP from a hundred, and by the socket as a user who may look.
    lab.client
        .ip("route add local 10.77.1.96/27 dev lo\nroute add local 10.77.1.128/25 dev lo");
    let silence = || {
        let mut command = lab.client.command(binary("harbor-traffic"));
        command.args(["silence", CONTROL, CONNECTIONS]);
        command
    };
    let one_address = started(&lab, "silence-one", &mut silence());
    let from = ADDRESSES.map(|last| format!("--from=10.77.1.{last}"));
    let many_addresses = started(&lab, "silence-many", silence().args(from));
    let mut user = as_user(&lab, READERS);
    user.arg(binary("harbor-traffic")).arg("silence");
    user.arg(agent.socket()).arg(CONNECTIONS);
    let by_socket = started(&lab, "silence-socket", &mut user);

    // Root asks, an app host goes on, and another one comes.
    let _two = Instance::start(&lab, 1, ("web", "two"), 4_101, &[]);
    let (mut slowest, mut count, start) = (Duration::ZERO, 0, std::time::Instant::now());
    // For longer than a lease.
    while count < 50 || start.elapsed() < Duration::from_secs(20) {
        count += 1;
        let begun = std::time::Instant::now();
        let status = agent.ctl(&["--timeout", "30s", "status"]);
        assert!(
            [0, 7].contains(&status.code),
            "{}{}",
            status.stdout,
            status.stderr
        );
        slowest = slowest.max(begun.elapsed());
    }
    eventually(SOON, || up(&agent) == 2);
    let more = descriptors(&mut agent) - before;
    let grown = agent.process().memory().saturating_sub(memory);
    println!(
        "{count} times, status took {slowest:?} at most; {more} descriptors and {grown} KiB more"
    );
    assert!((200..2_500).contains(&more), "{more} descriptors more");
    assert!(grown < 64 * 1_024, "{grown} KiB more");
    let ended = |event: &serde_json::Value| event["kind"] == "lease_ended";
    assert!(!agent.items(&["events"]).iter().any(ended));
    drop((one_address, many_addresses, by_socket));
    eventually(SOON, || descriptors(&mut agent) < before + 50);
}

#[test]
fn a_connection_has_its_time_and_an_answer_is_not_cut_off() {
    let lab = Lab::routed();
    let agent = agent(&lab, "header_timeout = \"2s\"\nidle_timeout = \"4s\"\n");
    let connect = || {
        let stream = lab.client.enter(|| TcpStream::connect(CONTROL)).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream
    };
    let is_closed = |stream: &mut TcpStream| {
        let mut rest = Vec::new();
        // Closed or reset: it is over.
        stream.read_to_end(&mut rest).map_or(true, |_| true) && rest.is_empty()
    };
    // Nothing, half a head, and a head that trickles.
    let (mut silent, mut half, mut trickling) = (connect(), connect(), connect());
    half.write_all(b"GET /healthz HTTP/1.1\r\nHo").unwrap();
    trickling
        .write_all(b"GET /healthz HTTP/1.1\r\nX: ")
        .unwrap();
    eventually(SOON, || trickling.write_all(b"x").is_err());
    assert!(is_closed(&mut silent));
    assert!(is_closed(&mut half));
    // Between two requests.
    let mut idle = connect();
    let ask = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    idle.write_all(ask).unwrap();
    let mut answer = [0; 512];
    let length = idle.read(&mut answer).unwrap();
    assert!(answer[..length].starts_with(b"HTTP/1.1 200"));
    assert!(is_closed(&mut idle));
    // An answer that goes on for longer than both.
    let mut stream = UnixStream::connect(agent.socket()).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let ask = b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(ask).unwrap();
    let begun = std::time::Instant::now();
    eventually(SOON, || begun.elapsed() > Duration::from_secs(8));
    agent.create(&["late"]);
    let mut heard = String::new();
    eventually(SOON, || {
        let mut chunk = [0; 4_096];
        let length = stream.read(&mut chunk).unwrap();
        assert_ne!(length, 0, "cut off: {heard}");
        heard.push_str(&String::from_utf8_lossy(&chunk[..length]));
        heard.contains("port_allocated")
    });
}

#[test]
fn streams_of_events_are_bounded_and_the_command_line_goes_on() {
    let lab = Lab::routed();
    let agent = agent(&lab, "");
    let stream = || {
        let mut stream = UnixStream::connect(agent.socket()).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let ask = b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(ask).unwrap();
        let mut head = [0; 64];
        let length = stream.read(&mut head).unwrap();
        let head = String::from_utf8_lossy(&head[..length]).into_owned();
        (
            stream,
            head.split(' ').nth(1).unwrap_or_default().to_owned(),
        )
    };
    let mut all: Vec<_> = (0..257).map(|_| stream()).collect();
    let codes = |code: &str| all.iter().filter(|(_, got)| got == code).count();
    assert_eq!((codes("200"), codes("503")), (256, 1));
    let refused = agent.ctl(&["events"]);
    assert_eq!(refused.code, 7, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("256 streams of events"),
        "{}",
        refused.stderr
    );
    assert_eq!(agent.ctl(&["status"]).code, 0);
    all.truncate(10);
    eventually(SOON, || agent.ctl(&["events"]).code == 0);
}

#[test]
fn requests_without_a_right_are_told_once_a_minute_and_no_line_is_long() {
    let lab = Lab::routed();
    let agent = agent(&lab, "");
    let mut http = Http::tcp(&lab.client, CONTROL.parse().unwrap());
    let path = format!("GET /{}", "x".repeat(60_000));
    let header = "Authorization: Bearer a-token-of-nobody-at-all\r\n";
    let size = || agent.log("node").len();
    let before = size();
    for _ in 0..30 {
        assert_eq!(http.ask(&path, header, &[]).unwrap().0, 401);
    }
    let log = agent.log("node");
    let refused: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("no token"))
        .collect();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(refused[0].contains("address=10.77.1.2"), "{refused:?}");
    assert!(size() - before < 8_192, "{} bytes of log", size() - before);
    // The record of events has it too: who, what for, and why.
    let events = agent.items(&["events", "--kind", "request_refused"]);
    assert_eq!(events.len(), 1, "{events:?}");
    let (text, actor) = (events[0]["text"].as_str().unwrap(), &events[0]["actor"]);
    assert!(
        text.contains("no token") && text.starts_with("GET /x"),
        "{text}"
    );
    let address = actor["address"].as_str().unwrap();
    assert!(address.starts_with("10.77.1.2"), "{address}");
    let audited = agent.ctl(&["events", "--audit"]).ok().stdout;
    assert!(audited.contains("no token"), "{audited}");
    // With a right, but as long.
    let token = fs::read_to_string(app_host::token(&lab)).unwrap();
    let header = format!("Authorization: Bearer {}\r\n", token.trim());
    let path = format!("POST /v1/announce?{}", "x".repeat(60_000));
    assert_eq!(http.ask(&path, &header, b"{}").unwrap().0, 400);
    let longest = agent.log("node").lines().map(str::len).max().unwrap();
    assert!(longest < 2_048, "{longest}");
}

#[test]
fn the_socket_s_rights_say_who_may_connect() {
    let lab = Lab::routed();
    let mut agent = agent(&lab, "admin_group = \"4241\"\n");
    let run = agent.socket().parent().unwrap().to_owned();
    // As the unit makes its directory, before the agent starts.
    agent.stop();
    fs::set_permissions(&run, fs::Permissions::from_mode(0o750)).unwrap();
    agent.restart();
    open_folders(&agent);
    let mode = fs::metadata(agent.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let connects = |group: &str| {
        let mut command = as_user(&lab, group);
        command.args(["curl", "-sS", "-m", "10", "--unix-socket"]);
        command.arg(agent.socket()).arg("http://localhost/v1/ports");
        finish(&mut command)
    };
    let looked = connects(READERS).ok();
    assert!(looked.stdout.contains("PortList"), "{}", looked.stdout);
    let stranger = connects("100");
    assert_ne!(stranger.code, 0, "{}", stranger.stdout);
    assert_eq!(stranger.stdout, "", "nobody is spoken to who may not ask");
    assert_eq!(lab.public(V4).to_string(), "10.77.1.1");
}
