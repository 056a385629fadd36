//! `harbor-ctl flows`: lists, counts and ends flows.

use clap::{Args, Subcommand};

use super::{
    failure::{Exit, Failure},
    output::Row,
    session::Session,
};
use crate::{
    api::{FlowCount, FlowItem, KillFlows, KilledFlows},
    control::{Client, segment},
    model::{counted, format_age},
};

const KILL_EXAMPLES: &str = "\
Neither side is told: the next packet of a TCP connection is answered with a reset, the next datagram \
begins a new flow.

Examples:
  harbor-ctl flows kill 198.51.100.7 --yes
  harbor-ctl flows kill -p web --backend web-0 --yes
  harbor-ctl flows kill --all --yes";

const LIST_EXAMPLES: &str = "\
Flows are printed as they are read: columns line up within each thousand. Up to 4,096 flows are in the \
order of port, protocol and client; of more, each few thousand are. With a limit no more are read than \
that takes: of many flows, those that are printed are not the first of all in that order.

Examples:
  harbor-ctl flows list -p web
  harbor-ctl flows list --client 198.51.100.7 -o wide
  harbor-ctl flows list --limit 20";

/// Rows of a table, of which the columns line up.
const ROWS: usize = 1_000;

/// What is named must all be so of a flow.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Only this port: number, NUMBER/tcp, NUMBER/udp, name or id
    #[arg(short, long)]
    port: Option<String>,
    /// Only of this client
    #[arg(long, value_name = "IP[:PORT]")]
    client: Option<String>,
    /// Only to this backend: instance or IP:PORT
    #[arg(long, value_name = "B")]
    backend: Option<String>,
}

impl Which {
    fn path(&self, of: &str, limit: Option<usize>) -> String {
        let mut path = format!("/v1/flows/{of}?");
        let limit = limit.map(|limit| limit.to_string());
        for (key, value) in [
            ("port", &self.port),
            ("client", &self.client),
            ("backend", &self.backend),
            ("limit", &limit),
        ] {
            if let Some(value) = value {
                path.push_str(&format!("{key}={}&", segment(value)));
            }
        }
        path
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum FlowsVerb {
    /// List flows, of all ports or of one
    #[command(after_help = LIST_EXAMPLES)]
    List {
        #[command(flatten)]
        which: Which,
        /// At most so many
        #[arg(long, value_name = "COUNT")]
        limit: Option<usize>,
    },
    /// Count flows, of all ports or of one
    #[command(after_help = "Examples:\n  harbor-ctl flows count -p web -o json")]
    Count {
        #[command(flatten)]
        which: Which,
    },
    /// End flows at once
    #[command(after_help = KILL_EXAMPLES)]
    Kill(Kill),
}

#[derive(Debug, Args)]
pub(crate) struct Kill {
    /// Only of this port: number, NUMBER/tcp, NUMBER/udp, name or id
    #[arg(short, long)]
    port: Option<String>,
    /// Only of this client
    #[arg(value_name = "CLIENT_IP[:PORT]")]
    client: Option<String>,
    /// Only to this backend: instance or IP:PORT
    #[arg(long, value_name = "B")]
    backend: Option<String>,
    /// Every flow, when nothing else is named
    #[arg(long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

pub(super) async fn run(session: &Session, verb: FlowsVerb) -> Result<Exit, Failure> {
    let client = session.client()?;
    match verb {
        FlowsVerb::List { which, limit } => {
            let mut listing = session.output.listing("FlowList", ROWS);
            let take = |item: FlowItem| listing.add(item);
            client.lines(&which.path("stream", limit), take).await?;
            listing.finish()?;
        }
        FlowsVerb::Count { which } => {
            let count: FlowCount = client.get(&which.path("count", None)).await?;
            session.output.text(&format!("{}\n", count.flows), &count)?;
        }
        FlowsVerb::Kill(which) => kill(session, &client, which).await?,
    }
    Ok(Exit::Ok)
}

async fn kill(session: &Session, client: &Client, kill: Kill) -> Result<(), Failure> {
    let request = KillFlows {
        port: kill.port,
        client: kill.client,
        backend: kill.backend,
        all: kill.all,
    };
    let parts = [
        ("of port", &request.port),
        ("of client", &request.client),
        ("to backend", &request.backend),
    ];
    let named = parts.iter().filter_map(|(word, value)| {
        let value = value.as_deref()?;
        Some(format!("{word} {value}"))
    });
    let named = named.collect::<Vec<_>>().join(" ");
    if named.is_empty() && !request.all {
        return Err(Failure::usage("nothing says which flows to end")
            .fix("name a port (-p), a client or a backend (--backend), or say --all"));
    }
    let which = match named.is_empty() {
        true => "every flow".to_owned(),
        false => format!("every flow {named}"),
    };
    session.confirm(&format!("end {which}"), kill.yes)?;
    let killed: KilledFlows = client.post("/v1/flows/kill", &request).await?;
    let text = format!("{} ended\n", counted(killed.flows, "flow"));
    session.output.text(&text, &killed)
}

impl Row for FlowItem {
    const HEADINGS: &'static [&'static str] = &[
        "PORT", "PROTO", "SERVICE", "CLIENT", "BACKEND", "STATE", "IDLE",
    ];
    const WIDE: &'static [&'static str] = &[
        "FRONTEND",
        "SOURCE",
        "PKTS_IN",
        "BYTES_IN",
        "PKTS_OUT",
        "BYTES_OUT",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.port.to_string(),
            self.flow.protocol.to_string(),
            self.service.clone().unwrap_or_else(|| "-".into()),
            self.flow.client.to_string(),
            self.flow.backend.to_string(),
            self.flow.state.clone(),
            format_age(self.flow.idle_seconds),
        ]
    }

    fn wide_cells(&self) -> Vec<String> {
        let flow = &self.flow;
        vec![
            flow.frontend.to_string(),
            flow.source.to_string(),
            flow.forward_packets.to_string(),
            flow.forward_bytes.to_string(),
            flow.reply_packets.to_string(),
            flow.reply_bytes.to_string(),
        ]
    }

    fn name(&self) -> String {
        format!("{}-{}", self.flow.client, self.flow.backend)
    }
}
