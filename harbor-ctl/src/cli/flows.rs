//! `harbor-ctl flows`: conversations between clients and backends.

use clap::Subcommand;

use super::{
    failure::{Exit, Failure},
    output::Row,
    session::Session,
};
use crate::{
    control::wire::{FlowItem, List},
    model::format_age,
};

#[derive(Debug, Subcommand)]
pub(crate) enum FlowsVerb {
    /// List flows, of all ports or of one
    #[command(
        after_help = "Examples:\n  harbor-ctl flows list -p web\n  harbor-ctl flows list -o wide"
    )]
    List {
        /// Only this port: number, NUMBER/tcp, NUMBER/udp, name or id
        #[arg(short, long)]
        port: Option<String>,
    },
    /// Count flows, of all ports or of one
    Count {
        /// Only this port: number, NUMBER/tcp, NUMBER/udp, name or id
        #[arg(short, long)]
        port: Option<String>,
    },
}

pub(super) async fn run(session: &Session, verb: FlowsVerb) -> Result<Exit, Failure> {
    let client = session.client()?;
    match verb {
        FlowsVerb::List { port } => {
            let list: List<FlowItem> = client.list("/v1/flows", port.as_deref()).await?;
            session.output.list(&list)?;
        }
        FlowsVerb::Count { port } => {
            let list: List<FlowItem> = client.list("/v1/flows", port.as_deref()).await?;
            let count = list.items.len();
            session.output.text(
                &format!("{count}\n"),
                &serde_json::json!({ "flows": count }),
            )?;
        }
    }
    Ok(Exit::Ok)
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
