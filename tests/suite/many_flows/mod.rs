//! Flow tables with many flows: counted, listed and ended, by an agent that never holds all of them, while
//! it does whatever else it is asked for.

mod filled;

use std::{
    collections::HashSet,
    fs,
    io::{Read as _, Write as _},
    net::SocketAddr,
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use filled::{FEW, Filled, PER_CLIENT, PORTS};
use kit::{Agent, eventually, finish_within};
use serde_json::Value;

/// Flows of a test; `cargo xtask soak flows_million` has more.
const FLOWS: usize = 60_000;
const SOON: Duration = Duration::from_secs(20);
/// A sweep follows the one before after twenty times the processor time that it took.
const SWEPT: Duration = Duration::from_secs(180);
/// Rows of one step, twice over: what is read of a list that nobody wants more of, at most.
const STEP: usize = 2 * 4_096;
/// What the agent's memory may rise by for a moment: some steps, and what a debug build touches of itself.
/// It is a third of what all rows of twice as many flows would be.
const PEAK_KIB: u64 = 20 * 1_024;

fn count(agent: &Agent, which: &[&str]) -> usize {
    let words = [&["flows", "count"], which].concat();
    agent.ctl(&words).ok().stdout.trim().parse().unwrap()
}

/// What the agent has read of each list that has ended, and whether that was all.
fn lists(agent: &Agent) -> Vec<(usize, bool)> {
    let log = agent.log("node");
    let ends = log
        .lines()
        .filter(|line| line.contains("a list of flows has ended"));
    let field = |line: &str, name: &str| -> String {
        let rest = line.split(name).nth(1).unwrap();
        let end = rest.find(|c: char| !c.is_alphanumeric());
        rest[..end.unwrap_or(rest.len())].to_owned()
    };
    let read = |line: &str| {
        let flows = field(line, "flows=").parse().unwrap();
        (flows, field(line, "is_at_end=") == "true")
    };
    ends.map(read).collect()
}

#[test]
fn sixty_thousand_flows_are_counted_and_listed_each_once() {
    let filled = Filled::with(FLOWS);
    let agent = &filled.agent;
    assert_eq!(count(agent, &[]), FLOWS);
    for ((name, _), flows) in PORTS.into_iter().zip(filled.by_port) {
        assert_eq!(count(agent, &["-p", name]), flows);
    }
    assert_eq!(count(agent, &["--client", "100.64.0.7"]), PER_CLIENT);
    let first = SocketAddr::new(filled.lab.app(kit::V4, 0), crate::scene::APP_PORT);
    let [web, _, few] = filled.by_port;
    assert_eq!(
        count(agent, &["--backend", &first.to_string()]),
        (web + few) / 2
    );
    // A name is the client's end and the backend's.
    let listed = agent.ctl(&["flows", "list", "-o", "name"]).ok().stdout;
    let names: HashSet<&str> = listed.lines().collect();
    assert_eq!((listed.lines().count(), names.len()), (FLOWS, FLOWS));
    is_swept(&filled);
}

/// The sweep, which goes through the tables in turns, has met each flow once, too.
#[track_caller]
fn is_swept(filled: &Filled) {
    let shown = |name| filled.agent.ctl_json(&["ports", "show", name])["flows"].clone();
    eventually(SWEPT, || {
        PORTS.map(|(name, _)| shown(name)) == filled.by_port.map(Value::from)
    });
}

#[test]
fn a_list_that_fits_one_step_is_in_order_and_a_page_holds_the_first() {
    let filled = Filled::with(FLOWS);
    let listed = filled.agent.items(&["flows", "list", "-p", "few"]);
    let clients = |items: &[Value]| -> Vec<SocketAddr> {
        let client = |item: &Value| item["client"].as_str().unwrap().parse().unwrap();
        items.iter().map(client).collect()
    };
    let all = clients(&listed);
    assert_eq!((all.len(), all.is_sorted()), (FEW, true));
    let is_joined = |item: &Value| {
        item["reply_bytes"] == 1_000 && item["state"] == "live" && item["service"] == "few"
    };
    assert!(listed.iter().all(is_joined), "{}", listed[0]);
    let first = ["flows", "list", "-p", "few", "--limit", "20"];
    assert_eq!(clients(&filled.agent.items(&first)), all[..20]);

    let mut seen = HashSet::new();
    let mut rest = String::new();
    loop {
        let path = format!("GET /v1/flows?port=few&limit=999{rest}");
        let mut http = kit::http::Http::new(&filled.agent.socket());
        let (status, page) = http.ask(&path, "", b"").unwrap();
        assert_eq!(status, 200);
        let page: Value = serde_json::from_slice(&page).unwrap();
        seen.extend(clients(page["items"].as_array().unwrap()));
        let Some(next) = page["continue"].as_str() else {
            break;
        };
        rest = format!("&continue={}", next.replace(' ', "%20").replace('[', "%5B"));
    }
    assert_eq!(seen.len(), FEW);
}

#[test]
fn a_list_that_nobody_reads_on_is_not_read_on_and_keeps_no_change_waiting() {
    let filled = Filled::with(FLOWS);
    let agent = &filled.agent;
    agent.ctl(&["flows", "list", "--limit", "5"]).ok();
    eventually(SOON, || lists(agent).len() == 1);
    let mut held = begin_list(agent);
    // It waits half read, and nothing waits for it.
    agent.create(&["meanwhile"]);
    assert_eq!(count(agent, &[]), FLOWS);
    let killed = agent.ctl_json(&["flows", "kill", "-p", "few", "--yes"]);
    assert_eq!(killed["flows"], FEW);
    assert_eq!(agent.ctl_json(&["ports", "show", "few"])["flows"], 0);
    assert_eq!(count(agent, &[]), FLOWS - FEW);
    held.read_exact(&mut [0; 1_024]).unwrap();
    drop(held);
    eventually(SOON, || lists(agent).len() == 2);
    let head = piped(agent, "flows list --no-headers | head -n 3");
    assert_eq!(head.lines().count(), 3, "{head}");
    eventually(SOON, || lists(agent).len() == 3);
    for (read, is_at_end) in lists(agent) {
        assert!(read <= STEP * 4 && !is_at_end, "{:?}", lists(agent));
    }
}

#[test]
fn a_dump_has_each_entry_once_and_ends_where_its_reader_does() {
    let filled = Filled::with(FLOWS);
    let config = filled.agent.config_file();
    let dump = format!("datapath dump --config {} flows", config.display());
    let lines = piped(&filled.agent, &format!("{dump} | sort -u | wc -l"));
    let [web, _, few] = filled.by_port;
    assert_eq!(lines.trim().parse(), Ok(2 * (web + few)));
    assert_eq!(filled.agent.dump("flows6").len(), 2 * filled.by_port[1]);
    let head = piped(&filled.agent, &format!("{dump} | head -n 3"));
    assert_eq!(head.lines().count(), 3, "{head}");
    assert!(head.starts_with("{\"key\":{"), "{head}");
}

#[test]
fn nobody_holds_all_flows() {
    let mut filled = Filled::with(2 * FLOWS);
    let ask = |agent: &Agent, words: &[&str], path: &str| {
        agent.ctl(words).ok();
        let page = kit::http::Http::new(&agent.socket()).ask(path, "", b"");
        assert_eq!(page.unwrap().0, 200);
    };
    // Once before it counts: code and pools are there then.
    ask(
        &filled.agent,
        &["flows", "list", "-p", "few"],
        "GET /v1/flows?port=few",
    );
    let before = peak(&mut filled.agent, Peak::Anew);
    let whole: [&[&str]; 3] = [
        &["flows", "count"],
        &["flows", "list", "-o", "name"],
        &["flows", "kill", "-p", "web", "--yes"],
    ];
    for words in whole {
        ask(&filled.agent, words, "GET /v1/flows");
        let grown = peak(&mut filled.agent, Peak::SoFar) - before;
        println!("{grown} KiB at most after {words:?}");
        assert!(grown < PEAK_KIB, "{grown} KiB for {words:?}");
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Peak {
    Anew,
    SoFar,
}

/// The most memory that the agent has had, in KiB: since it was asked anew.
fn peak(agent: &mut Agent, which: Peak) -> u64 {
    let process = format!("/proc/{}", agent.process().id());
    if which == Peak::Anew {
        fs::write(format!("{process}/clear_refs"), "5").unwrap();
    }
    let status = fs::read_to_string(format!("{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.unwrap().split_whitespace().next().unwrap();
    kib.parse().unwrap()
}

/// Begins to read a list of all flows.
fn begin_list(agent: &Agent) -> UnixStream {
    let mut stream = UnixStream::connect(agent.socket()).unwrap();
    let request = "GET /v1/flows/stream HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut begin = [0; 12];
    stream.read_exact(&mut begin).unwrap();
    assert_eq!(&begin, b"HTTP/1.1 200");
    stream
}

/// What a shell prints for a command of ours and what it is piped into.
fn piped(agent: &Agent, words: &str) -> String {
    let ctl = kit::binary("harbor-ctl").display().to_string();
    let mut command = agent.host().command("sh");
    let line = format!("{ctl} --socket {} {words}", agent.socket().display());
    command.args(["-c", &line]);
    finish_within(Duration::from_secs(600), &mut command)
        .ok()
        .stdout
}

/// What an operator types, and what it is called here.
const TYPED: [(&str, &str); 7] = [
    ("counted", "flows count"),
    ("counted of one client", "flows count --client 100.64.0.7"),
    ("list, the first 10 lines", "flows list | head"),
    ("list, --limit 20", "flows list --limit 20"),
    ("all listed by name", "flows list -o name | sort -u | wc -l"),
    (
        "flows of one client listed",
        "flows list --client 100.64.0.7 -o name | wc -l",
    ),
    ("one port shown", "ports show few -o json"),
];

/// Counts, lists and ends so many flows; says how long each took, and what the agent needed for it.
/// Nothing here depends on how long.
pub(crate) fn run(flows: usize) -> String {
    let mut filled = Filled::with(flows);
    let before = (
        filled.agent.process().memory(),
        peak(&mut filled.agent, Peak::Anew),
    );
    let mut said = vec![format!("{flows} flows")];
    let took = |what: &str, begun: Instant| format!("{what}: {:.2?}", begun.elapsed());
    let begun = Instant::now();
    is_swept(&filled);
    said.push(took("ports show their flows", begun));
    for (what, words) in TYPED {
        let begun = Instant::now();
        let printed = piped(&filled.agent, words);
        said.push(took(what, begun));
        if let Ok(number) = printed.trim().parse::<usize>() {
            let is_of_one = words.contains("--client");
            assert_eq!(number, if is_of_one { PER_CLIENT } else { flows }, "{what}");
        }
        let peak = peak(&mut filled.agent, Peak::SoFar) - before.1;
        said.push(format!("  peak so far +{peak} KiB"));
    }
    let changes = changes_while_listing(&filled.agent);
    said.push(format!("ports created while all are listed: {changes:.2?}"));
    let begun = Instant::now();
    let killed = filled.agent.ctl_json(&["flows", "kill", "--all", "--yes"]);
    said.push(took("all ended", begun));
    assert_eq!(
        (&killed["flows"], count(&filled.agent, &[])),
        (&flows.into(), 0)
    );
    let after = filled.agent.process().memory();
    let peak = peak(&mut filled.agent, Peak::SoFar) - before.1;
    said.push(format!(
        "the agent's own memory {} KiB before and {after} KiB after; resident at most {peak} KiB more",
        before.0
    ));
    said.join("\n")
}

/// How long each of some changes takes while somebody reads a list of all flows as fast as it comes.
fn changes_while_listing(agent: &Agent) -> Vec<Duration> {
    let mut stream = begin_list(agent);
    std::thread::scope(|scope| {
        let reader = stream.try_clone().unwrap();
        scope.spawn(move || std::io::copy(&mut &reader, &mut std::io::sink()));
        let change = |number| {
            let begun = Instant::now();
            agent.create(&[&format!("meanwhile-{number}")]);
            begun.elapsed()
        };
        let took = (0..5).map(change).collect();
        stream.flush().unwrap();
        stream.shutdown(std::net::Shutdown::Both).unwrap();
        took
    })
}

/// What a list of networks no longer allows has ended when that is answered; until then others change what
/// they like.
#[test]
fn flows_that_a_list_no_longer_allows_end_while_others_change_what_they_like() {
    let filled = Filled::with(2 * FLOWS);
    let agent = &filled.agent;
    let words = ["ports", "set", "web", "allowed_cidrs=203.0.113.0/24"];
    let mut made = 0;
    std::thread::scope(|scope| {
        let denying = scope.spawn(|| agent.ctl(&words).ok());
        let mut http = kit::http::Http::new(&agent.socket());
        let json = "Content-Type: application/json\r\n";
        while !denying.is_finished() {
            let body = format!("{{\"name\":\"meanwhile{made}\"}}");
            let answer = http.ask("POST /v1/ports", json, body.as_bytes());
            assert_eq!(answer.unwrap().0, 201);
            made += 1;
        }
    });
    assert_eq!(count(agent, &["-p", "web"]), 0);
    let [web, six, few] = filled.by_port;
    assert_eq!(count(agent, &[]), six + few);
    // Changes that the datapath was brought to between the new list and the end of what it ends.
    let log = agent.log("node");
    let lines: Vec<&str> = log.lines().collect();
    let place = |part: &str| lines.iter().position(|line| line.contains(part)).unwrap();
    let (list, end) = (place("lists of networks"), place("not allowed have ended"));
    let applied = lines[list + 1..end].iter();
    let meanwhile = applied.filter(|line| line.contains("applying")).count();
    println!("{meanwhile} of {made} changes while {web} flows were ended");
    assert!(meanwhile > 0, "{made} changes, none of them meanwhile");
}

/// All pages together read each step a few times, however many pages there are.
#[test]
fn pages_of_many_flows_go_on_where_the_one_before_has_ended() {
    let filled = Filled::with(FLOWS);
    let agent = &filled.agent;
    let (mut names, mut pages, mut rest) = (HashSet::new(), 0, String::new());
    let mut http = kit::http::Http::new(&agent.socket());
    loop {
        let path = format!("GET /v1/flows?limit=1000{rest}");
        let (status, page) = http.ask(&path, "", b"").unwrap();
        assert_eq!(status, 200);
        let page: Value = serde_json::from_slice(&page).unwrap();
        for item in page["items"].as_array().unwrap() {
            let ends = format!(
                "{} {} {}",
                item["protocol"], item["client"], item["frontend"]
            );
            assert!(names.insert(ends), "twice: {item}");
        }
        pages += 1;
        let Some(next) = page["continue"].as_str() else {
            break;
        };
        rest = format!("&continue={}", next.replace(' ', "%20").replace('[', "%5B"));
    }
    assert_eq!((names.len(), pages >= FLOWS / 1_000), (FLOWS, true));
    let read: usize = lists(agent).iter().map(|(flows, _)| flows).sum();
    println!("{read} flows were read for {pages} pages of {FLOWS}");
    assert!(read < 10 * FLOWS, "{read} flows were read for {FLOWS}");
    // What no list has told.
    for token in ["x", "4-x", "35000", "p-0-tcp", "7-1"] {
        let path = format!("GET /v1/flows?continue={token}");
        assert_eq!(http.ask(&path, "", b"").unwrap().0, 400, "{token}");
    }
}
