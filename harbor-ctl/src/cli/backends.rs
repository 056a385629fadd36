//! `harbor-ctl backends`: the instances behind a port.

use std::io::{self, IsTerminal as _};

use clap::Subcommand;

use super::{
    failure::{Exit, Failure},
    output::Row,
    ports::parse_settings,
    session::Session,
};
use crate::{
    api::{AddBackend, BackendItem, CheckBackends, CheckItem, List, NameBackend},
    model::known,
};

const ADD_EXAMPLES: &str = "\
With policy round-robin, source-hash or least-flows a backend of weight 3 gets three times the new \
flows of one of weight 1.

Examples:
  harbor-ctl backends add web 10.0.0.5:8080 --instance web-0
  harbor-ctl backends add web [2001:db8::5]:8080 --weight 3";

const REMOVE_EXAMPLES: &str = "\
A removed backend takes no new flows and keeps its old ones for the port's drain time; with --now \
they end at once.

Examples:
  harbor-ctl backends remove web 10.0.0.5:8080
  harbor-ctl backends remove web web-0 --now";

const CHECK_EXAMPLES: &str = "\
Asks as the port's health check does, and changes nothing. A TCP port without a check is asked for a \
connection. Exit codes: 0 all are well, 7 one is not.

Examples:
  harbor-ctl backends check web
  harbor-ctl backends check web health=http:/up health_status=200";

#[derive(Debug, Subcommand)]
pub(crate) enum BackendsVerb {
    /// Add an instance to a port, or make a draining one active again
    #[command(
        after_help = ADD_EXAMPLES
    )]
    Add {
        /// Number, NUMBER/tcp, NUMBER/udp, name or id
        port: String,
        /// Where the instance listens
        #[arg(value_name = "IP:PORT")]
        address: String,
        /// The instance's name [default: its address, with '-' for ':']
        #[arg(long, value_name = "ID")]
        instance: Option<String>,
        /// Its share of new flows, 1 to 100 [default: 1, or as it was]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=100))]
        weight: Option<u8>,
    },
    /// Remove an instance from a port
    #[command(after_help = REMOVE_EXAMPLES)]
    Remove {
        /// Number, NUMBER/tcp, NUMBER/udp, name or id
        port: String,
        /// The instance, or its address
        #[arg(value_name = "INSTANCE|IP:PORT")]
        backend: String,
        /// End its flows at once
        #[arg(long)]
        now: bool,
        /// Do not ask on a terminal before flows are ended
        #[arg(long)]
        yes: bool,
    },
    /// Give an instance no new flows until it is removed or added again
    #[command(after_help = "Examples:\n  harbor-ctl backends drain web web-0")]
    Drain {
        /// Number, NUMBER/tcp, NUMBER/udp, name or id
        port: String,
        /// The instance, or its address
        #[arg(value_name = "INSTANCE|IP:PORT")]
        backend: String,
    },
    /// Ask every instance of a port now whether it is well
    #[command(after_help = CHECK_EXAMPLES)]
    Check {
        /// Number, NUMBER/tcp, NUMBER/udp, name or id
        port: String,
        /// Settings to try instead of the port's own
        #[arg(value_name = "KEY=VALUE")]
        settings: Vec<String>,
    },
    /// List the instances of one port, or of all
    #[command(after_help = "Examples:\n  harbor-ctl backends list web -o json")]
    List {
        /// Number, NUMBER/tcp, NUMBER/udp, name or id
        port: Option<String>,
    },
}

async fn check(session: &Session, port: String, words: &[String]) -> Result<Exit, Failure> {
    let settings = parse_settings(words)?;
    let request = CheckBackends { port, settings };
    let client = session.client()?;
    let list: List<CheckItem> = client.post("/v1/backends/check", &request).await?;
    session.output.list(&list)?;
    let is_well = list.items.iter().all(|item| item.result == "pass");
    Ok(if is_well { Exit::Ok } else { Exit::Degraded })
}

pub(super) async fn run(session: &Session, verb: BackendsVerb) -> Result<Exit, Failure> {
    if let BackendsVerb::Check { port, settings } = verb {
        return check(session, port, &settings).await;
    }
    let client = session.client()?;
    let item: BackendItem = match verb {
        BackendsVerb::Add {
            port,
            address,
            instance,
            weight,
        } => {
            let request = AddBackend {
                port,
                address,
                instance,
                weight,
            };
            client.post("/v1/backends", &request).await?
        }
        BackendsVerb::Remove {
            port,
            backend,
            now,
            yes,
        } => {
            // In a script `--now` is the word for it.
            if now && io::stdin().is_terminal() {
                session.confirm(&format!("end the flows of {backend} behind {port}"), yes)?;
            }
            let request = NameBackend { port, backend, now };
            client.post("/v1/backends/remove", &request).await?
        }
        BackendsVerb::Drain { port, backend } => {
            let request = NameBackend {
                port,
                backend,
                now: false,
            };
            client.post("/v1/backends/drain", &request).await?
        }
        BackendsVerb::Check { .. } => unreachable!("it was answered above"),
        BackendsVerb::List { port } => {
            let list = client
                .list::<BackendItem>("/v1/backends", port.as_deref())
                .await?;
            session.output.list(&list)?;
            return Ok(Exit::Ok);
        }
    };
    session.output.item(&item)?;
    Ok(Exit::Ok)
}

impl Row for BackendItem {
    const HEADINGS: &'static [&'static str] =
        &["PORT", "SERVICE", "INSTANCE", "ADDRESS", "FLOWS", "STATE"];
    const WIDE: &'static [&'static str] = &[
        "WEIGHT",
        "FLOWS_TOTAL",
        "PKTS_IN",
        "BYTES_IN",
        "PKTS_OUT",
        "BYTES_OUT",
        "LEAVES_IN",
        "DEA",
        "PATH",
        "REASON",
    ];
    const STATE: Option<&'static str> = Some("STATE");

    fn cells(&self) -> Vec<String> {
        vec![
            self.port.to_string(),
            self.service.clone(),
            self.instance.clone(),
            self.address.to_string(),
            known(self.flows),
            self.state.clone(),
        ]
    }

    fn wide_cells(&self) -> Vec<String> {
        let leaves = self
            .leaves_in_s
            .map_or_else(|| "-".into(), crate::model::format_age);
        vec![
            self.weight.to_string(),
            known(self.flows_total),
            known(self.forward_packets),
            known(self.forward_bytes),
            known(self.reply_packets),
            known(self.reply_bytes),
            leaves,
            self.dea.clone().unwrap_or_else(|| "-".into()),
            self.path.clone(),
            self.reason
                .clone()
                .or_else(|| self.path_reason.clone())
                .unwrap_or_else(|| "-".into()),
        ]
    }

    fn name(&self) -> String {
        self.instance.clone()
    }
}

impl Row for CheckItem {
    const HEADINGS: &'static [&'static str] = &[
        "PORT", "SERVICE", "INSTANCE", "ADDRESS", "CHECK", "RESULT", "TOOK", "REASON",
    ];
    const STATE: Option<&'static str> = Some("RESULT");

    fn cells(&self) -> Vec<String> {
        vec![
            self.port.to_string(),
            self.service.clone(),
            self.instance.clone(),
            self.address.to_string(),
            self.check.clone(),
            self.result.clone(),
            format!("{}ms", self.took_ms),
            self.reason.clone().unwrap_or_else(|| "-".into()),
        ]
    }

    fn name(&self) -> String {
        self.instance.clone()
    }
}
