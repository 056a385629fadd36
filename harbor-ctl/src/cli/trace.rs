//! `harbor-ctl trace`: packets as the programs in the kernel see them, with what becomes of each.

use std::{
    fs::File,
    io::{self, Write},
    num::NonZeroU32,
    path::PathBuf,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Args;

use super::{
    failure::{Exit, Failure},
    globals::Format,
    output::print,
    pcapng::Pcapng,
    session::Session,
};
use crate::{
    api::TracePackets,
    control::{ClientError, local},
    model::{ClientName, MissedPackets, PortRef, TraceLine, TracedHeaders, TracedPacket, escaped},
};

const EXAMPLES: &str = "\
While somebody traces, programs that tell of packets stand in for the others, and all packets go by TC; \
otherwise tracing costs nothing. One trace at a time; it ends with this command. What the proxy carries is \
told only as far as the programs leave it to the stack. Packets that come faster than --per-second are \
left out, and how many is said on standard error once a second: on a busy node ask for one in a hundred, or \
for a port, a client or a verdict, of which alone it then counts.

Examples:
  harbor-ctl trace -p web -n 100
  harbor-ctl trace --verdict drop
  harbor-ctl trace --client 198.51.100.7 --pcap client.pcapng
  harbor-ctl trace --one-in 100 -o json
  harbor-ctl trace -p 35217 --pcap - | tcpdump -n -r -";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TraceNoun {
    /// Only packets of this port, both ways: number, NUMBER/tcp, NUMBER/udp, name or id
    #[arg(short, long, value_name = "PORT")]
    port: Option<String>,
    /// Only packets that come from this client, or leave for it
    #[arg(long, value_name = "IP[:PORT]")]
    client: Option<String>,
    /// Only packets with this verdict: forward, pass, drop, or a name that `stats` shows
    #[arg(long, value_name = "VERDICT")]
    verdict: Option<String>,
    /// Only one packet in so many, chosen at random
    #[arg(long, value_name = "COUNT")]
    one_in: Option<NonZeroU32>,
    /// Show at most so many packets a second of each processor [default: 10000, with --pcap 50000]
    #[arg(long, value_name = "COUNT")]
    per_second: Option<NonZeroU32>,
    /// End after so many packets
    #[arg(short = 'n', long, value_name = "COUNT")]
    count: Option<u64>,
    /// Write the packets to this file (pcap-ng), each with its verdict as comment; - for stdout
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
}

/// Packets that a processor tells in a second when they go to a file.
const PER_SECOND: NonZeroU32 = NonZeroU32::new(50_000).expect("not zero");

/// Why no more packets are wanted.
enum Over {
    Enough,
    Failed(Failure),
}

impl From<ClientError> for Over {
    fn from(error: ClientError) -> Self {
        Self::Failed(error.into())
    }
}

pub(super) async fn run(session: &Session, noun: TraceNoun) -> Result<Exit, Failure> {
    // What is wrong on its own is said before anybody is asked.
    noun.port.as_deref().map(PortRef::parse).transpose()?;
    noun.client.as_deref().map(ClientName::parse).transpose()?;
    let mut left = noun.count.unwrap_or(u64::MAX);
    if left == 0 {
        return Ok(Exit::Ok);
    }
    let client = session.client()?;
    let mut capture = noun.pcap.as_deref().map(Capture::open).transpose()?;
    let which = TracePackets {
        port: noun.port,
        client: noun.client,
        verdict: noun.verdict,
        one_in: noun.one_in,
        per_second: noun.per_second.or(capture.as_ref().map(|_| PER_SECOND)),
    };
    let take = |line: TraceLine| {
        let packet = match line {
            TraceLine::Packet(packet) => packet,
            TraceLine::Missed(MissedPackets { missed }) => {
                super::output::say(&format!(
                    "harbor-ctl: {missed} more were not shown: they came too fast\n"
                ));
                return Ok(());
            }
        };
        if let Some(capture) = &mut capture {
            capture.write(&packet).map_err(Over::Failed)?;
        }
        if !capture.as_ref().is_some_and(Capture::is_stdout) {
            print(&shown(session, &packet)).map_err(Over::Failed)?;
        }
        left -= 1;
        match left {
            0 => Err(Over::Enough),
            _ => Ok(()),
        }
    };
    match client.trace(&which, take).await {
        Err(Over::Enough) => Ok(Exit::Ok),
        Err(Over::Failed(failure)) => Err(failure),
        Ok(()) => Err(Failure::failed(
            "the agent has ended the trace: its programs were replaced",
        )),
    }
}

/// A file for other tools.
struct Capture {
    writer: Pcapng<Box<dyn Write>>,
    /// None: standard output.
    path: Option<PathBuf>,
}

impl Capture {
    fn open(path: &std::path::Path) -> Result<Self, Failure> {
        let path = (path.as_os_str() != "-").then(|| path.to_owned());
        let begin = || -> io::Result<_> {
            let file: Box<dyn Write> = match &path {
                Some(path) => Box::new(File::create(path)?),
                None => Box::new(io::stdout()),
            };
            Pcapng::begin(file)
        };
        let writer = begin().map_err(|error| unwritten(path.as_deref(), &error))?;
        Ok(Self { writer, path })
    }

    fn is_stdout(&self) -> bool {
        self.path.is_none()
    }

    fn write(&mut self, packet: &TracedPacket) -> Result<(), Failure> {
        let bytes = STANDARD.decode(&packet.bytes).unwrap_or_default();
        let comment = comment(packet);
        let written = self.writer.packet(packet, &bytes, &comment);
        written.map_err(|error| unwritten(self.path.as_deref(), &error))
    }
}

/// What becomes of a packet, and how.
fn comment(packet: &TracedPacket) -> String {
    let mut comment = format!("{} {}: {}", packet.verdict, packet.name, packet.meaning);
    if !packet.stages.is_empty() {
        comment += &format!("; stages {}", packet.stages.join(" "));
    }
    if let Some(leaving) = &packet.leaving {
        comment += &format!("; leaves as {} > {}", leaving.source, leaving.destination);
    }
    if let Some(interface) = &packet.leaves_by {
        comment += &format!("; by {interface}");
    }
    comment
}

fn unwritten(path: Option<&std::path::Path>, error: &io::Error) -> Failure {
    let name = path.map_or_else(
        || "standard output".to_owned(),
        |path| path.display().to_string(),
    );
    Failure::failed(format!("{name}: {error}"))
}

fn shown(session: &Session, packet: &TracedPacket) -> String {
    match session.globals.output {
        Format::Table | Format::Wide => {
            let text = words(packet);
            escaped(&text).into_owned() + "\n"
        }
        Format::Name => format!("{} {}\n", packet.verdict, packet.name),
        Format::Json | Format::Yaml => {
            // A structure of strings and numbers always serialises.
            serde_json::to_string(packet).unwrap_or_default() + "\n"
        }
    }
}

fn words(packet: &TracedPacket) -> String {
    let moment = local(packet.at_us / 1_000_000);
    let time = moment.get(11..19).unwrap_or_default();
    let micros = packet.at_us % 1_000_000;
    let (interface, length) = (&packet.interface, packet.length);
    let what = match packet.verdict == packet.name {
        true => packet.verdict.clone(),
        false => format!("{} {}", packet.verdict, packet.name),
    };
    let ends = |headers: &TracedHeaders| format!("{} > {}", headers.source, headers.destination);
    let mut text = format!("{time}.{micros:06}  {interface:10}  {what:24}  ");
    match &packet.arriving {
        Some(headers) => {
            text += &format!("{} {}", headers.protocol, ends(headers));
            if !headers.flags.is_empty() {
                text += &format!(" {}", headers.flags);
            }
        }
        None => text += "no IP packet",
    }
    text += &format!(", {length} bytes");
    if let Some(leaving) = &packet.leaving {
        text += &format!(", as {}", ends(leaving));
    }
    if let Some(interface) = &packet.leaves_by {
        text += &format!(", by {interface}");
    }
    if !packet.stages.is_empty() {
        text += &format!("  [{}]", packet.stages.join(" "));
    }
    text
}
