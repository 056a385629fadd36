//! `harbor-ctl ports`: the public ports.

use clap::{Args, Subcommand, ValueEnum};

use super::{
    failure::{Exit, Failure},
    port_filter::PortFilter,
    port_text::{details, range_text},
    session::Session,
};
use crate::{
    api::{BackendItem, CreatePort, DeletedPort, List, PortItem, RangeReport},
    control::{Client, segment},
    model::{Lifetime, PortSettings, Protocols, SETTINGS, SettingValue, SettingValues, counted},
};

const CREATE_EXAMPLES: &str = "\
Without --protocol the name decides: udp... gets UDP, both... gets TCP and UDP on one number, \
anything else TCP. Without --port a random free number of the range is drawn. The keys are those of \
`ports set`.

Examples:
  harbor-ctl ports create web --backend 10.0.0.5:8080 --backend 10.0.0.6:8080
  harbor-ctl ports create udp-game
  harbor-ctl ports create demo --for 2h
  harbor-ctl ports create sip --protocol both --port 35060
  harbor-ctl ports create db max_connections=200 --backend [2001:db8::5]:5432";

const KEYS: &str = "\
Keys (an empty value or none puts back the default):
  policy=POLICY            how new TCP connections find their backend
  udp_policy=POLICY        how new UDP flows find their backend
  allowed_cidrs=NET,...    networks that may open flows; others may not
  denied_cidrs=NET,...     networks that may not; the narrower network wins
  max_connections=N        flows at once
  max_per_client=N         flows at once of one client (of IPv6: one /64)
  new_per_second=N         new flows a second
  packets_per_second=N     packets a second, both directions
  bytes_per_second=N       bytes a second, both directions
  affinity_s=SECONDS       how long a client's address keeps its backend
  idle_timeout_s=SECONDS   silence that ends an established flow
  drain_s=SECONDS          how long a removed backend keeps its flows
  reply_cap_bytes=N        UDP: bytes back before the client's second datagram
  client_ip=HOW            what backends see of a client: snat (the node), or the
                           PROXY protocol's header: proxy-v1 (TCP), proxy-v2
  pool=POOL                whose nodes all serve it; none: one node alone

POLICY is round-robin, first, source-hash or least-flows.";

const LIST_EXAMPLES: &str = "\
Several values of one flag are separated by commas. -o wide says why a port is not up (REASON).

Examples:
  harbor-ctl ports list -o wide
  harbor-ctl ports list --state down,degraded
  harbor-ctl ports list --name web --sort flows
  harbor-ctl ports list -o json";

const SET_EXAMPLES: &str = "\
Examples:
  harbor-ctl ports set web policy=first drain_s=120
  harbor-ctl ports set web allowed_cidrs=10.0.0.0/8,2001:db8::/32 max_connections=1000
  harbor-ctl ports set web allowed_cidrs=none";

#[derive(Debug, Subcommand)]
pub(crate) enum PortsVerb {
    /// Create a service and its public port
    #[command(after_help = CREATE_EXAMPLES)]
    Create(Create),
    /// List ports
    #[command(after_help = LIST_EXAMPLES)]
    List(PortFilter),
    /// Show one port and its backends
    #[command(after_help = "Examples:\n  harbor-ctl ports show 35217/udp")]
    Show {
        /// Number, NUMBER/tcp, NUMBER/udp, name or id
        port: String,
    },
    /// Change a port's options
    #[command(after_help = format!("{SET_EXAMPLES}\n\n{KEYS}"))]
    Set {
        /// Number, NUMBER/tcp, NUMBER/udp, name or id
        port: String,
        /// What to set, for example policy=first
        #[arg(required_unless_present = "lifetime", value_name = "KEY=VALUE")]
        settings: Vec<String>,
        /// Let the port end by itself after this time, counted from now; none: no more
        #[arg(long = "for", value_name = "PERIOD")]
        lifetime: Option<String>,
    },
    /// Delete a port, and end its flows
    #[command(after_help = "Examples:\n  harbor-ctl ports delete web --yes")]
    Delete {
        /// Number, NUMBER/tcp, NUMBER/udp, name or id
        port: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Take no new flows; those there are go on
    Drain {
        /// Number, NUMBER/tcp, NUMBER/udp, name or id
        port: String,
    },
    /// Take new flows again after a drain
    Resume {
        /// Number, NUMBER/tcp, NUMBER/udp, name or id
        port: String,
    },
    /// Show the range: what is used, resting, held by others, and what lies outside
    #[command(after_help = "Change it with:\n  harbor-ctl config set port_range 35000-40000")]
    Range,
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The service's name: 1 to 64 letters, digits, '_', '.' or '-'
    name: String,
    /// The protocol; the name decides without it
    #[arg(long)]
    protocol: Option<ProtocolChoice>,
    /// Ask for this number instead of a random one
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// An instance behind the port; may be repeated
    #[arg(long = "backend", value_name = "IP:PORT")]
    backends: Vec<String>,
    /// Have every node of this pool serve it [default: pool.name of the configuration]; none: this node alone
    #[arg(long, value_name = "POOL")]
    pool: Option<String>,
    /// Let the port end by itself after this time, for example 2h
    #[arg(long = "for", value_name = "PERIOD")]
    lifetime: Option<String>,
    /// What is not to have its default, for example policy=first
    #[arg(value_name = "KEY=VALUE")]
    settings: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ProtocolChoice {
    Tcp,
    Udp,
    /// TCP and UDP on one number
    Both,
}

impl From<ProtocolChoice> for Protocols {
    fn from(choice: ProtocolChoice) -> Self {
        match choice {
            ProtocolChoice::Tcp => Self::Tcp,
            ProtocolChoice::Udp => Self::Udp,
            ProtocolChoice::Both => Self::Both,
        }
    }
}

pub(super) async fn run(session: &Session, verb: PortsVerb) -> Result<Exit, Failure> {
    // What is wrong on its own is said before anybody is asked.
    let settings = match &verb {
        PortsVerb::Set {
            settings, lifetime, ..
        } => with_lifetime(parse_changes(settings)?, lifetime.as_deref())?,
        PortsVerb::Create(create) => {
            create
                .lifetime
                .as_deref()
                .map(Lifetime::parse)
                .transpose()?;
            parse_settings(&create.settings)?
        }
        _ => SettingValues::new(),
    };
    let client = session.client()?;
    match verb {
        PortsVerb::Create(create) => created(session, &client, (create, settings)).await?,
        PortsVerb::List(filter) => {
            let mut list: List<PortItem> = client.list("/v1/ports", None).await?;
            filter.apply(&mut list.items);
            session.output.list(&list)?;
        }
        PortsVerb::Show { port } => show(session, &client, &port).await?,
        PortsVerb::Set { port, .. } => {
            let item: PortItem = client.patch(&path(&port), &settings).await?;
            session.output.item(&item)?;
        }
        PortsVerb::Delete { port, yes } => delete(session, &client, &port, yes).await?,
        PortsVerb::Drain { port } => act(session, &client, &port, "drain").await?,
        PortsVerb::Resume { port } => act(session, &client, &port, "resume").await?,
        PortsVerb::Range => {
            let report: RangeReport = client.get("/v1/range").await?;
            session.output.text(&range_text(&report), &report)?;
        }
    }
    Ok(Exit::Ok)
}

fn path(port: &str) -> String {
    format!("/v1/ports/{}", segment(port))
}

async fn created(
    session: &Session,
    client: &Client,
    (create, settings): (Create, SettingValues),
) -> Result<(), Failure> {
    let Create {
        name,
        protocol,
        port,
        backends,
        lifetime,
        pool,
        ..
    } = create;
    let request = CreatePort {
        name,
        protocol: protocol.map(Into::into),
        port,
        backends,
        settings,
        lifetime,
        pool,
    };
    let item: PortItem = client.post("/v1/ports", &request).await?;
    session.output.item(&item)?;
    if let (false, Some(reason)) = (request.backends.is_empty(), &item.reason) {
        session.say(&format!(
            "port {} is allocated but not ready: {reason}",
            item.port
        ));
    } else if item.path == "-" {
        let reason = item.reason.as_deref().unwrap_or("nothing is forwarded");
        session.say(&format!(
            "port {} is allocated but not ready: {reason}",
            item.port
        ));
    }
    Ok(())
}

async fn act(session: &Session, client: &Client, port: &str, verb: &str) -> Result<(), Failure> {
    let path = format!("{}/{verb}", path(port));
    let item: PortItem = client.post(&path, &serde_json::json!({})).await?;
    session.output.item(&item)
}

async fn show(session: &Session, client: &Client, port: &str) -> Result<(), Failure> {
    let item: PortItem = client.get(&path(port)).await?;
    if !session.output.is_for_people() {
        return session.output.item(&item);
    }
    let backends: List<BackendItem> = client.list("/v1/backends", Some(&item.id)).await?;
    let mut text = details(&item);
    text.push('\n');
    text.push_str(&session.output.table(&backends.items));
    super::output::print(&text)
}

async fn delete(session: &Session, client: &Client, port: &str, yes: bool) -> Result<(), Failure> {
    let item: PortItem = client.get(&path(port)).await?;
    let PortItem {
        name,
        port,
        flows,
        id,
        ..
    } = item;
    session.confirm(
        &format!(
            "delete port {port} of {name} and end its {}",
            flows.map_or_else(|| "flows".to_owned(), |flows| counted(flows, "flow"))
        ),
        yes,
    )?;
    let gone: DeletedPort = client.delete(&path(&id)).await?;
    if session.output.is_for_people() {
        session.say(&format!("port {port} of {name} is deleted"));
    } else {
        session.output.item(&gone)?;
    }
    match gone.reason {
        Some(reason) => Err(Failure::failed(format!(
            "port {port} is released, but the kernel still forwards it: {reason}"
        ))
        .fix("harbor-ctl status")),
        None => Ok(()),
    }
}

fn with_lifetime(
    mut values: SettingValues,
    lifetime: Option<&str>,
) -> Result<SettingValues, Failure> {
    if let Some(text) = lifetime {
        Lifetime::parse(text)?;
        values.insert("for".to_owned(), SettingValue::Text(text.to_owned()));
    }
    Ok(values)
}

/// Reads `policy=first` and the like, by the rules that the agent has too.
pub(super) fn parse_settings(words: &[String]) -> Result<SettingValues, Failure> {
    let mut values = SettingValues::new();
    for word in words {
        let (key, value) = word.split_once('=').ok_or_else(|| {
            let names: Vec<&str> = SETTINGS.iter().map(|(name, _)| *name).collect();
            Failure::usage(format!("{word:?} is not KEY=VALUE"))
                .fix(format!("valid keys: {}", names.join(", ")))
        })?;
        values.insert(key.to_owned(), SettingValue::Text(value.to_owned()));
    }
    let defaults = PortSettings::default();
    defaults.with(&values, &defaults)?;
    Ok(values)
}

/// The same where a port that exists is changed: its pool is no setting.
fn parse_changes(words: &[String]) -> Result<SettingValues, Failure> {
    let (pool, settings): (Vec<_>, Vec<_>) = words
        .iter()
        .cloned()
        .partition(|word| word.starts_with(POOL));
    let mut values = parse_settings(&settings)?;
    if let Some(pool) = pool.last().and_then(|word| word.strip_prefix(POOL)) {
        values.insert("pool".to_owned(), SettingValue::Text(pool.to_owned()));
    }
    Ok(values)
}

/// How a change of the pool begins.
const POOL: &str = "pool=";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_strictly() {
        let words = |list: &[&str]| list.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let values = parse_settings(&words(&["policy=first", "drain_s=5"])).unwrap();
        assert_eq!(values["policy"], SettingValue::Text("first".into()));
        assert_eq!(values["drain_s"], SettingValue::Text("5".into()));
        for bad in ["policy", "policy=random", "drain_s=-1", "drain=5", "=x"] {
            let failure = parse_settings(&words(&[bad])).unwrap_err();
            assert_eq!(failure.exit(), Exit::Usage, "{bad}");
        }
        let text = parse_settings(&words(&["drain=5"])).unwrap_err();
        let text = text.render(crate::cli::globals::Format::Table);
        assert!(text.contains("did you mean drain_s?"), "{text}");
    }
}
