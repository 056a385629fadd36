//! `harbor-ctl dea`: lists app hosts, and runs the announcer for those that have none.

use std::{ffi::OsString, net::IpAddr, time::Duration};

use clap::{Args, Subcommand, ValueEnum};

use super::{
    dea_target::{Target, authority, client, way},
    failure::{Exit, Failure},
    output::Row,
    session::Session,
};
use crate::{
    api::{AppHostItem, ForgottenAppHost},
    control::segment,
    dea::{self, Plan, Service, epoch_now, local_address},
    discovery::{Instance, Message, Says},
    model::{Protocols, Readiness, Spoken, check_name, format_age, parse_backend, parse_period},
};

const RUN_EXAMPLES: &str = "\
Runs COMMAND and tells it in STACKATO_HARBOR which number to listen on (with several services: \
STACKATO_HARBOR_<NAME>, upper case, '-' becomes '_'). The instance is announced once it listens, \
drains on TERM, and is withdrawn when it has ended. The exit code is the command's. NAME=ID announces \
a service by its id, which is nobody else's, and calls it NAME in the environment. A service whose name \
begins with udp is waited for on UDP, one that begins with both on TCP and UDP; \
NAME:tcp, NAME:udp and NAME:both say otherwise.

Examples:
  harbor-ctl dea run --service web --to http://10.0.0.1:8442 --token-file /etc/harbor/dea.token \\
      -- ./server
  harbor-ctl dea run --service db=5f2c9f7a-0b6c-4d2e-8a10-6b1e3a534a0c --int-port 5432 --address 10.0.0.5 -- postgres";

const ANNOUNCE_EXAMPLES: &str = "\
Says one thing once. An announcer that has one instance keeps it alive by saying it again within the \
lease; one that has several sends heartbeats, as `dea run` does.

Examples:
  harbor-ctl dea announce --service web --instance web-0 --address 10.0.0.5:4100 --state up
  harbor-ctl dea announce --service web --instance web-0 --address 10.0.0.5:4100 --state down";

#[derive(Debug, Subcommand)]
pub(crate) enum DeaVerb {
    /// Run an instance, announce it, keep its lease, withdraw it
    #[command(after_help = RUN_EXAMPLES)]
    Run(Box<Run>),
    /// Say how it is with one instance, once
    #[command(after_help = ANNOUNCE_EXAMPLES)]
    Announce(Announce),
    /// List the app hosts that are known, and what is left of their leases
    #[command(after_help = "Examples:\n  harbor-ctl dea list\n  harbor-ctl dea list -o json")]
    List(Target),
    /// Forget how far an app host has spoken: it may begin with any epoch again
    #[command(
        after_help = "Its instances stay for one lease.\n\nExamples:\n  harbor-ctl dea forget dea-3"
    )]
    Forget {
        /// The app host
        #[arg(value_name = "NAME")]
        dea: String,
        #[command(flatten)]
        target: Target,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The service that the instance belongs to: its id, number or name; may be repeated
    #[arg(long = "service", value_name = "[NAME=]SERVICE", required = true)]
    services: Vec<String>,
    #[command(flatten)]
    target: Target,
    /// Where Harbor reaches the instance [default: this machine's address towards --to]
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,
    /// The number to listen on, one for each service [default: the first free one from 4100]
    #[arg(long = "int-port", value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..))]
    int_ports: Vec<u16>,
    /// The instance's name [default: this host's name and a random part]
    #[arg(long, value_name = "ID")]
    instance: Option<String>,
    /// The announcer's name, under which it holds its lease [default: the instance's name]
    #[arg(long, value_name = "NAME")]
    dea: Option<String>,
    /// The app that it is an instance of
    #[arg(long, value_name = "ID")]
    app: Option<String>,
    /// Its number within the app
    #[arg(long, value_name = "N")]
    index: Option<u32>,
    /// Its share of new flows, 1 to 100
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=100))]
    weight: Option<u8>,
    /// How long flows may finish after TERM, before the command is ended
    #[arg(long, value_name = "PERIOD", default_value = "10s", value_parser = parse_period)]
    drain: Duration,
    /// How long the command may take to end before it is killed
    #[arg(long, value_name = "PERIOD", default_value = "10s", value_parser = parse_period)]
    patience: Duration,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct Announce {
    /// The service: id, public port, or name where it has that alone
    #[arg(long, value_name = "NAME")]
    service: String,
    /// The instance's name
    #[arg(long, value_name = "ID")]
    instance: String,
    /// Where it listens
    #[arg(long, value_name = "IP:PORT")]
    address: String,
    /// How it is
    #[arg(long)]
    state: State,
    #[command(flatten)]
    target: Target,
    /// The announcer's name, under which it holds its lease [default: the instance's name]
    #[arg(long, value_name = "NAME")]
    dea: Option<String>,
    /// Its share of new flows, 1 to 100
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=100))]
    weight: Option<u8>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum State {
    /// Takes new flows
    Up,
    /// Keeps the flows that it has
    Draining,
    /// Is withdrawn
    Down,
}

impl From<State> for Readiness {
    fn from(state: State) -> Self {
        match state {
            State::Up => Self::Up,
            State::Draining => Self::Draining,
            State::Down => Self::Down,
        }
    }
}

/// Answers an exit code: of `run` the command's.
pub(super) async fn run(session: &Session, verb: DeaVerb) -> Result<u8, Failure> {
    match verb {
        DeaVerb::Run(run) => return run_instance(session, *run).await,
        DeaVerb::Announce(announce) => say_once(session, announce).await?,
        DeaVerb::List(target) => {
            let client = client(session, &target)?;
            let list = client.list::<AppHostItem>("/v1/deas", None).await?;
            session.output.list(&list)?;
        }
        DeaVerb::Forget { dea, target } => {
            let path = format!("/v1/deas/{}", segment(&dea));
            let forgotten: ForgottenAppHost = client(session, &target)?.delete(&path).await?;
            session
                .output
                .text(&format!("{dea} is forgotten\n"), &forgotten)?;
        }
    }
    Ok(Exit::Ok.into())
}

async fn run_instance(session: &Session, run: Run) -> Result<u8, Failure> {
    // What is wrong on its own is said before anybody is asked.
    let (plan, target) = plan(run)?;
    let way = way(session, &target)?;
    let say: dea::Say = match session.globals.quiet {
        true => |_| {},
        false => say,
    };
    let ended = dea::run(way, plan, say).await;
    ended.map_err(|error| Failure::failed(error.to_string()))
}

fn say(text: &str) {
    super::output::say(&format!("harbor-ctl: {}\n", crate::model::escaped(text)));
}

fn plan(run: Run) -> Result<(Plan, Target), Failure> {
    if run.int_ports.len() > run.services.len() {
        return Err(Failure::usage("there are more --int-port than --service"));
    }
    let ports = run.int_ports.iter().copied().chain(std::iter::repeat(0));
    let services = run.services.iter().zip(ports);
    let services: Vec<Service> = services
        .map(|(text, port)| service(text, port))
        .collect::<Result<_, _>>()?;
    let address = match (run.address, &run.target.to) {
        (Some(address), _) => address,
        (None, Some(url)) => {
            let (host, port) = authority(url)?;
            let found = local_address(&host, port);
            found.map_err(|error| {
                Failure::failed(format!(
                    "no address of this machine leads to {url}: {error}"
                ))
                .fix("give it with --address")
            })?
        }
        (None, None) => {
            let text = "where Harbor reaches the instance is not known";
            return Err(Failure::usage(text).fix("give it with --address"));
        }
    };
    let instance = run.instance.unwrap_or_else(default_name);
    check_name("instance", &instance)?;
    let dea = run.dea.unwrap_or_else(|| instance.clone());
    check_name("dea", &dea)?;
    if let Some(app) = &run.app {
        check_name("app", app)?;
    }
    let plan = Plan {
        services,
        address,
        dea,
        instance,
        app: run.app,
        index: run.index,
        weight: run.weight,
        command: run.command,
        drain: run.drain,
        patience: run.patience,
    };
    Ok((plan, run.target))
}

fn service(text: &str, port: u16) -> Result<Service, Failure> {
    let (words, protocols) = match text.split_once(':') {
        Some((words, protocols)) => (words, Some(protocols.parse().map_err(Failure::usage)?)),
        None => (text, None),
    };
    let (name, announced) = words.split_once('=').unwrap_or((words, words));
    check_name("service", name)?;
    check_name("service", announced)?;
    let protocols = protocols.unwrap_or_else(|| Protocols::from_service_name(name));
    Ok(Service {
        name: name.to_owned(),
        announced: announced.to_owned(),
        protocols,
        port,
    })
}

/// This host's name, as far as it is one, and a random part: a restarted instance is another one.
fn default_name() -> String {
    let host = nix::unistd::gethostname().unwrap_or_default();
    let host = host.to_string_lossy();
    let plain = |c: &char| c.is_ascii_alphanumeric() || *c == '-';
    let host: String = host.chars().filter(plain).take(50).collect();
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("{host}.{}", &random[..8])
}

async fn say_once(session: &Session, announce: Announce) -> Result<(), Failure> {
    let address = parse_backend(&announce.address)?;
    let instance = Instance {
        service: announce.service,
        instance: announce.instance.clone(),
        app: None,
        index: None,
        ip: address.ip(),
        port: address.port(),
        protocol: None,
        weight: announce.weight,
        state: announce.state.into(),
    };
    let message = Message {
        dea: announce.dea.unwrap_or(announce.instance),
        spoken: Spoken {
            epoch: epoch_now(),
            seq: 1,
        },
        says: Says::One(Box::new(instance)),
    };
    // By the rules that the agent has too.
    let mut message = Message::parse(message.document().to_string().as_bytes())?;
    let way = way(session, &announce.target)?;
    let heard = way.begin(&mut message, Duration::ZERO).await?;
    if !session.output.is_for_people() {
        return session.output.text("", &heard);
    }
    if !matches!(announce.state, State::Down) {
        let lease = format_age(heard.lease_s);
        session.say(&format!(
            "announced; say it again within {lease}, or it is taken out"
        ));
    }
    Ok(())
}

impl Row for AppHostItem {
    const HEADINGS: &'static [&'static str] = &["DEA", "INSTANCES", "SERVICES", "LEASE"];
    const WIDE: &'static [&'static str] = &["EPOCH", "SEQ"];
    const STATE: Option<&'static str> = None;

    fn cells(&self) -> Vec<String> {
        vec![
            self.dea.clone(),
            self.instances.to_string(),
            self.services.join(" "),
            self.lease_left_s.map_or_else(|| "-".into(), format_age),
        ]
    }

    fn wide_cells(&self) -> Vec<String> {
        vec![self.epoch.to_string(), self.seq.to_string()]
    }

    fn name(&self) -> String {
        self.dea.clone()
    }
}
