//! `harbor-ctl pool`: nodes that have the same ports, and the shares of addresses that move between them.

use std::net::IpAddr;

use clap::{Args, Subcommand, ValueEnum};

use super::{
    failure::{Exit, Failure},
    output::Row,
    session::Session,
};
use crate::{
    api::{
        AddShare, CreatePool, EngineText, JoinPool, List, MoveShare, PoolItem, ShareItem,
        ShareReady,
    },
    control::{Client, segment},
    model::counted,
};

const CREATE_EXAMPLES: &str = "\
A pool needs a shared registry: harbor-ctl node attach. Each share has public addresses and translation \
addresses of its own, which keepalived moves together.

Examples:
  harbor-ctl pool create web --hostname ports.example.org
  harbor-ctl pool share add web a --public 192.0.2.51 --translation 10.0.0.51 --nodes node-1,node-2
  harbor-ctl ports create mqtt --pool web --backend 10.0.0.21:1883";

#[derive(Debug, Subcommand)]
pub(crate) enum PoolVerb {
    /// Create a pool, without shares yet
    #[command(after_help = CREATE_EXAMPLES)]
    Create {
        /// The pool's name
        name: String,
        /// What clients are told to connect to
        #[arg(long, value_name = "NAME", default_value = "")]
        hostname: String,
    },
    /// List pools
    List,
    /// Show a pool's shares: who has each, who could take it over, and what is wrong
    #[command(after_help = "Examples:\n  harbor-ctl pool show web -o json")]
    Show {
        /// The pool's name
        name: String,
    },
    /// Delete a pool that has neither ports nor shares
    Delete {
        /// The pool's name
        name: String,
    },
    /// Add or remove a share of addresses
    Share {
        #[command(subcommand)]
        verb: ShareVerb,
    },
    /// Say where a share is to be; keepalived moves it there
    #[command(after_help = "Examples:\n  harbor-ctl pool move a --to node-2")]
    Move {
        /// The share's id
        id: String,
        /// The node that is to have it; none: whichever is ready
        #[arg(long, value_name = "NODE")]
        to: String,
    },
    /// Make a node the last in the order of every share of a pool
    Join(Membership),
    /// Take a node out of every share of a pool
    Leave(Membership),
    /// Say by the exit code whether this node may have a share: for check scripts
    #[command(after_help = "Exit codes: 0 it may, 7 it may not, 3 the agent is not reachable.")]
    Ready {
        /// The share's id
        id: String,
    },
    /// Print this node's configuration of what moves the addresses
    #[command(
        after_help = "Examples:\n  harbor-ctl pool engine web keepalived > /etc/keepalived/keepalived.conf"
    )]
    Engine {
        /// The pool's name
        name: String,
        /// What moves the addresses
        engine: Engine,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ShareVerb {
    /// Add a share to a pool
    #[command(after_help = CREATE_EXAMPLES)]
    Add {
        /// The pool's name
        pool: String,
        /// The share's id, unique among all pools
        id: String,
        /// An address that clients connect to; may be repeated
        #[arg(long, value_name = "IP", required = true, value_delimiter = ',')]
        public: Vec<IpAddr>,
        /// An address that backends see, of this share alone; may be repeated
        #[arg(long, value_name = "IP", required = true, value_delimiter = ',')]
        translation: Vec<IpAddr>,
        /// Who may have it, in the order in which they take it over
        #[arg(long, value_name = "NODE", required = true, value_delimiter = ',')]
        nodes: Vec<String>,
    },
    /// Remove a share from a pool; its addresses serve its ports no more
    Remove {
        /// The pool's name
        pool: String,
        /// The share's id
        id: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Membership {
    /// The pool's name
    name: String,
    /// The node; without it: this one
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Engine {
    /// On one segment, by VRRP
    Keepalived,
}

impl Engine {
    fn name(self) -> &'static str {
        match self {
            Self::Keepalived => "keepalived",
        }
    }
}

pub(super) async fn run(session: &Session, verb: PoolVerb) -> Result<Exit, Failure> {
    let client = session.client()?;
    let item = match verb {
        PoolVerb::List => {
            let pools: List<PoolItem> = client.get("/v1/pools").await?;
            session.output.list(&pools)?;
            return Ok(Exit::Ok);
        }
        PoolVerb::Ready { id } => return ready(session, &client, &id).await,
        PoolVerb::Engine { name, engine } => {
            let path = format!("{}/engine/{}", path(&name), engine.name());
            let text: EngineText = client.get(&path).await?;
            session.output.text(&text.text, &text)?;
            return Ok(Exit::Ok);
        }
        PoolVerb::Show { name } => client.get(&path(&name)).await?,
        PoolVerb::Create { name, hostname } => {
            let request = CreatePool { name, hostname };
            client.post("/v1/pools", &request).await?
        }
        PoolVerb::Delete { name } => {
            let gone: PoolItem = client.delete(&path(&name)).await?;
            session.say(&format!("pool {} is deleted", gone.name));
            return Ok(Exit::Ok);
        }
        PoolVerb::Share { verb } => share(session, &client, verb).await?,
        PoolVerb::Move { id, to } => {
            let to = if to == "none" { String::new() } else { to };
            let path = format!("/v1/shares/{}/move", segment(&id));
            client.post(&path, &MoveShare { to }).await?
        }
        PoolVerb::Join(Membership { name, node }) => {
            let path = format!("{}/join", path(&name));
            client.post(&path, &JoinPool { node }).await?
        }
        PoolVerb::Leave(Membership { name, node }) => {
            let path = format!("{}/leave", path(&name));
            client.post(&path, &JoinPool { node }).await?
        }
    };
    show(session, &item)
}

fn path(name: &str) -> String {
    format!("/v1/pools/{}", segment(name))
}

async fn share(session: &Session, client: &Client, verb: ShareVerb) -> Result<PoolItem, Failure> {
    match verb {
        ShareVerb::Add {
            pool,
            id,
            public,
            translation,
            nodes,
        } => {
            let request = AddShare {
                id,
                public,
                translation,
                nodes,
            };
            let path = format!("{}/shares", path(&pool));
            Ok(client.post(&path, &request).await?)
        }
        ShareVerb::Remove { pool, id, yes } => {
            session.confirm(&format!("remove share {id} of pool {pool}"), yes)?;
            let path = format!("{}/shares/{}", path(&pool), segment(&id));
            Ok(client.delete(&path).await?)
        }
    }
}

async fn ready(session: &Session, client: &Client, id: &str) -> Result<Exit, Failure> {
    let path = format!("/v1/shares/{}/ready", segment(id));
    let ready: ShareReady = client.get(&path).await?;
    let text = match &ready.reason {
        None => "ready\n".to_owned(),
        Some(reason) => format!("not ready: {reason}\n"),
    };
    session.output.text(&text, &ready)?;
    Ok(if ready.ready {
        Exit::Ok
    } else {
        Exit::Degraded
    })
}

/// A pool for people: its row, and a row for each share.
fn show(session: &Session, item: &PoolItem) -> Result<Exit, Failure> {
    session.output.item(item)?;
    if session.output.is_for_people() && !item.shares.is_empty() {
        let shares = List::of("ShareList", item.shares.clone());
        session.output.list(&shares)?;
    }
    Ok(Exit::Ok)
}

impl Row for PoolItem {
    const HEADINGS: &'static [&'static str] =
        &["POOL", "STATE", "PORTS", "SHARES", "NODES", "HOSTNAME"];
    const STATE: Option<&'static str> = Some("STATE");

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.state.clone(),
            self.ports.to_string(),
            counted(self.shares.len(), "share"),
            self.nodes.join(","),
            self.hostname.clone(),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

impl Row for ShareItem {
    const HEADINGS: &'static [&'static str] = &[
        "SHARE",
        "PUBLIC",
        "TRANSLATION",
        "NODES",
        "HOLDER",
        "READY",
        "PROBLEM",
    ];

    fn cells(&self) -> Vec<String> {
        let addresses = |of: &[IpAddr]| of.iter().map(ToString::to_string).collect::<Vec<_>>();
        vec![
            self.id.clone(),
            addresses(&self.public).join(","),
            addresses(&self.translation).join(","),
            self.nodes.join(","),
            match self.holders.is_empty() {
                true => "-".to_owned(),
                false => self.holders.join(","),
            },
            self.ready.join(","),
            self.problem.clone().unwrap_or_default(),
        ]
    }

    fn name(&self) -> String {
        self.id.clone()
    }
}
