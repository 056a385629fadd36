//! `harbor-ctl node`: nodes that share a registry.

use clap::{Args, Subcommand};

use super::{
    failure::{Exit, Failure},
    output::Row,
    session::Session,
};
use crate::{
    api::{AttachNode, DetachNode, List, NodeItem, NodeMoved, ServiceCount},
    control::segment,
    model::{are, counted, format_age},
};

const ATTACH_EXAMPLES: &str = "\
CORE is a host, HOST:PORT, or the URL of a Redis: redis://, rediss://, redis+sentinel://. It is asked \
first; a password is read from registry.password_file. The agent uses it after a restart, and keeps \
the same ports and backends.

Examples:
  harbor-ctl node attach 10.0.0.1
  harbor-ctl node attach -e harbor core.example.org:6379 --import
  harbor-ctl node attach redis+sentinel://s1,s2,s3/harbor";

#[derive(Debug, Subcommand)]
pub(crate) enum NodeVerb {
    /// List the nodes that share the registry
    #[command(after_help = "Examples:\n  harbor-ctl node list -o json")]
    List,
    /// Show one node
    Show {
        /// The node's id
        node: String,
    },
    /// Keep this node's ports in a Redis that several nodes share
    #[command(after_help = ATTACH_EXAMPLES)]
    Attach(Attach),
    /// Leave the shared registry, or forget a node that is away for good
    #[command(
        after_help = "Examples:\n  harbor-ctl node detach --keep\n  harbor-ctl node detach node-3 --yes"
    )]
    Detach(Detach),
    /// Create no new ports on a node
    Drain {
        /// The node's id
        node: String,
    },
    /// Create ports on a node again
    Resume {
        /// The node's id
        node: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Attach {
    /// What to attach: kato's name for it, and there is one
    #[arg(short, long, value_name = "COMPONENT", default_value = "harbor", value_parser = ["harbor"])]
    enable: String,
    /// Where the registry is
    core: String,
    /// Take the ports of the embedded registry along
    #[arg(long)]
    import: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Detach {
    /// A node that is away for good: its ports are released; without it: this node
    node: Option<String>,
    /// Take this node's ports along into the embedded registry
    #[arg(long, conflicts_with = "node")]
    keep: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

pub(super) async fn run(session: &Session, verb: NodeVerb) -> Result<Exit, Failure> {
    let client = session.client()?;
    let path = |node: &str| format!("/v1/nodes/{}", segment(node));
    match verb {
        NodeVerb::List => {
            let nodes: List<NodeItem> = client.get("/v1/nodes").await?;
            session.output.list(&nodes)?;
        }
        NodeVerb::Show { node } => {
            let item: NodeItem = client.get(&path(&node)).await?;
            session.output.item(&item)?;
        }
        NodeVerb::Attach(Attach { core, import, .. }) => {
            let request = AttachNode { core, import };
            let moved: NodeMoved = client.post("/v1/nodes/attach", &request).await?;
            told(session, &moved)?;
        }
        NodeVerb::Detach(detach) => return leave(session, detach).await,
        NodeVerb::Drain { node } => {
            let path = format!("{}/drain", path(&node));
            let item: NodeItem = client.post(&path, &serde_json::json!({})).await?;
            session.output.item(&item)?;
        }
        NodeVerb::Resume { node } => {
            let path = format!("{}/resume", path(&node));
            let item: NodeItem = client.post(&path, &serde_json::json!({})).await?;
            session.output.item(&item)?;
        }
    }
    Ok(Exit::Ok)
}

async fn leave(session: &Session, detach: Detach) -> Result<Exit, Failure> {
    let client = session.client()?;
    let Detach { node, keep, yes } = detach;
    let Some(node) = node else {
        let request = DetachNode { keep };
        let moved: NodeMoved = client.post("/v1/nodes/detach", &request).await?;
        told(session, &moved)?;
        return Ok(Exit::Ok);
    };
    let item: NodeItem = client.get(&format!("/v1/nodes/{}", segment(&node))).await?;
    let question = format!(
        "forget node {node} and release its {}",
        counted(item.ports, "port")
    );
    session.confirm(&question, yes)?;
    let gone: ServiceCount = client
        .delete(&format!("/v1/nodes/{}", segment(&node)))
        .await?;
    if session.output.is_for_people() {
        session.say(&format!(
            "node {node} is forgotten, {} {} released",
            counted(gone.services, "port"),
            are(&gone.services)
        ));
    } else {
        session.output.text("", &gone)?;
    }
    Ok(Exit::Ok)
}

fn told(session: &Session, moved: &NodeMoved) -> Result<(), Failure> {
    if !session.output.is_for_people() {
        return session.output.item(moved);
    }
    session.say(&format!(
        "registry.url = {:?} in {}, {} taken along; a restart is needed: systemctl restart harbor",
        moved.url,
        moved.file.display(),
        counted(moved.ports, "port")
    ));
    Ok(())
}

impl Row for NodeItem {
    const HEADINGS: &'static [&'static str] = &["NODE", "STATE", "PORTS", "SEEN", "VERSION"];
    const STATE: Option<&'static str> = Some("STATE");

    fn cells(&self) -> Vec<String> {
        let mark = if self.this { " (this)" } else { "" };
        vec![
            format!("{}{mark}", self.id),
            self.state.clone(),
            self.ports.to_string(),
            self.seen_ms_ago.map_or("never".into(), |ms| {
                format!("{} ago", format_age(ms / 1_000))
            }),
            self.version.clone(),
        ]
    }

    fn name(&self) -> String {
        self.id.clone()
    }
}

impl Row for NodeMoved {
    const HEADINGS: &'static [&'static str] = &["URL", "PORTS", "FILE"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.url.clone(),
            self.ports.to_string(),
            self.file.display().to_string(),
        ]
    }

    fn name(&self) -> String {
        self.url.clone()
    }
}
