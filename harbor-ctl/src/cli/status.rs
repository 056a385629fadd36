//! `harbor-ctl status`: prints every part, its state, what is wrong and how to fix it.

use std::{
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use clap::Args;

use super::{
    failure::{Exit, Failure},
    output,
    session::Session,
};
use crate::{
    api::{PartStatus, StatusReport},
    control::ClientError,
    model::{RefusalKind, escaped},
};

const EXAMPLES: &str = "\
Exit codes: 0 all is well, 7 degraded or not ready, 3 the agent is not reachable, 8 --wait ran out of time.

Examples:
  harbor-ctl status
  harbor-ctl status --wait --timeout 60s
  harbor-ctl status --watch
  harbor-ctl status --ready";

/// How often `--watch` asks.
const AGAIN: Duration = Duration::from_secs(1);
/// To the upper left, and everything after it gone.
const CLEAR: &str = "\u{1b}[H\u{1b}[J";
/// How often `--wait` asks.
const POLL: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StatusNoun {
    /// Wait until every part is ok, at most --timeout
    #[arg(long)]
    wait: bool,
    /// Show it again whenever it changes, until interrupted
    #[arg(long, conflicts_with = "wait")]
    watch: bool,
    /// Say only whether ports are served: for scripts that check a node
    #[arg(long, conflicts_with_all = ["wait", "watch"])]
    ready: bool,
}

pub(super) async fn run(session: &Session, noun: StatusNoun) -> Result<Exit, Failure> {
    if noun.ready {
        return ready(session).await;
    }
    if noun.watch {
        return watch(session).await;
    }
    let deadline = Instant::now() + session.globals.timeout;
    loop {
        let asked = ask(session).await;
        let is_ok = asked.as_ref().is_ok_and(|report| report.overall == "ok");
        if !noun.wait || is_ok {
            return show(session, &asked?);
        }
        if Instant::now() >= deadline {
            let waited = session.globals.timeout;
            let last = match asked {
                Ok(report) => format!("the agent is {}", report.overall),
                Err(failure) if failure.is_unreachable() => "the agent is not running".into(),
                Err(failure) => return Err(failure),
            };
            let text = format!("not ok within {waited:?}: {last}");
            return Err(Failure::new(Exit::Timeout, "timeout", text).fix("harbor-ctl status"));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Whether ports are served and changes taken, as `/readyz` says.
async fn ready(session: &Session) -> Result<Exit, Failure> {
    let why = match session.client()?.text("/readyz").await {
        Ok(_) => None,
        Err(ClientError::Refused(refusal)) if refusal.kind == RefusalKind::NotReady => {
            Some(refusal.description)
        }
        Err(error) => return Err(error.into()),
    };
    let (text, report, exit) = match &why {
        None => (
            "ready\n".into(),
            serde_json::json!({ "ready": true }),
            Exit::Ok,
        ),
        Some(why) => (
            format!("not ready: {}\n", escaped(why)),
            serde_json::json!({ "ready": false, "reason": why }),
            Exit::Degraded,
        ),
    };
    session.output.text(&text, &report)?;
    Ok(exit)
}

/// On a terminal the same place is written anew; elsewhere each change follows the one before.
async fn watch(session: &Session) -> Result<Exit, Failure> {
    let is_terminal = session.output.is_for_people() && std::io::stdout().is_terminal();
    let mut last = None;
    loop {
        let shown = match ask(session).await {
            Ok(report) => {
                let text = text(&report);
                Ok((steady(&report), text, report))
            }
            Err(failure) if failure.is_unreachable() => Err("the agent is not running\n"),
            Err(failure) => return Err(failure),
        };
        let state = shown
            .as_ref()
            .map_or_else(|gone| (*gone).to_owned(), |(steady, ..)| steady.clone());
        let is_new = last.replace(state.clone()).as_ref() != Some(&state);
        if is_terminal {
            let text = shown
                .as_ref()
                .map_or_else(|gone| *gone, |(_, text, _)| text);
            output::print(&format!("{CLEAR}{text}"))?;
        } else if is_new {
            match &shown {
                Ok((_, text, report)) => session.output.text(text, report)?,
                Err(gone) => session.say(gone.trim_end()),
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// What of a report is no mere passing of time.
fn steady(report: &StatusReport) -> String {
    let parts = report.parts();
    let lines = parts.iter().map(|(name, part)| match *name {
        "Agent" => format!("{name} {}\n", part.state),
        // Of a registry that is away it says for how long.
        "Registry" if part.state != "ok" => format!("{name} {}\n", part.state),
        _ => format!("{name} {} {}\n", part.state, part.text),
    });
    lines.collect()
}

async fn ask(session: &Session) -> Result<StatusReport, Failure> {
    Ok(session.client()?.get("/v1/status").await?)
}

fn show(session: &Session, report: &StatusReport) -> Result<Exit, Failure> {
    session.output.text(&text(report), report)?;
    Ok(if report.overall == "ok" {
        Exit::Ok
    } else {
        Exit::Degraded
    })
}

fn text(report: &StatusReport) -> String {
    let mut lines = String::new();
    for (name, part) in report.parts() {
        let PartStatus { state, text, fix } = part;
        let fix = fix
            .as_deref()
            .map(|fix| format!("    -> {fix}"))
            .unwrap_or_default();
        lines.push_str(&format!(
            "{name:<9} {state:<9} {}\n",
            escaped(&format!("{text}{fix}"))
        ));
    }
    lines.push_str(&format!("{:<9} {}\n", "Overall", report.overall));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_reads_as_in_the_manual() {
        let part = |state: &str, text: &str, fix: Option<&str>| PartStatus {
            state: state.into(),
            text: text.into(),
            fix: fix.map(Into::into),
        };
        let ok = |text: &str| part("ok", text, None);
        let report = StatusReport {
            api_version: "v1".into(),
            version: "0.1.0".into(),
            pid: 812,
            uptime_s: 1,
            config: "/etc/harbor/harbor.toml".into(),
            agent: ok("0.1.0, up 3d4h, pid 812, /etc/harbor/harbor.toml"),
            datapath: ok("tc on eth0 eth1"),
            proxy: ok("4 numbers held, 0 connections"),
            ports: part(
                "degraded",
                "4 of 5001 used; 38811/udp: no backend",
                Some("harbor-ctl ports show udp-game"),
            ),
            health: ok("no port is probed"),
            registry: ok("embedded, /var/lib/harbor/harbor.redb"),
            flows: ok("0 of 262144"),
            certificates: ok("no port ends TLS"),
            discovery: ok("no app host has announced anything"),
            nodes: ok("this node alone"),
            pools: ok("no pool"),
            control: ok("off: control.listen is not set"),
            gateway: ok("off: gateway.password_file is not set"),
            metrics: ok("off: metrics.listen is not set"),
            console: ok("off: console.listen is not set"),
            configuration: ok("/etc/harbor/harbor.toml"),
            events: ok("12 kept"),
            overall: "degraded".into(),
            port_states: Default::default(),
            datapath_report: None,
        };
        assert_eq!(
            text(&report),
            "Agent     ok        0.1.0, up 3d4h, pid 812, /etc/harbor/harbor.toml\n\
             Config    ok        /etc/harbor/harbor.toml\n\
             Datapath  ok        tc on eth0 eth1\n\
             Proxy     ok        4 numbers held, 0 connections\n\
             Ports     degraded  4 of 5001 used; 38811/udp: no backend    -> harbor-ctl ports \
             show udp-game\n\
             Flows     ok        0 of 262144\n\
             Tls       ok        no port ends TLS\n\
             Health    ok        no port is probed\n\
             Discovery ok        no app host has announced anything\n\
             Registry  ok        embedded, /var/lib/harbor/harbor.redb\n\
             Nodes     ok        this node alone\n\
             Pools     ok        no pool\n\
             Control   ok        off: control.listen is not set\n\
             Gateway   ok        off: gateway.password_file is not set\n\
             Metrics   ok        off: metrics.listen is not set\n\
             Console   ok        off: console.listen is not set\n\
             Events    ok        12 kept\n\
             Overall   degraded\n"
        );
    }
}
