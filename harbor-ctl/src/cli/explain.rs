//! `harbor-ctl explain`: traces a packet that is not sent; changes nothing.

use clap::{Args, ValueEnum};

use super::{
    failure::{Exit, Failure},
    session::Session,
};
use crate::{
    api::{ExplainPacket, ExplainReport},
    model::{Protocol, Question, TcpFlag, escaped},
};

const EXAMPLES: &str = "\
The packet program itself is asked, in a copy that changes nothing. Whatever the verdict, the exit \
code is 0.

Examples:
  harbor-ctl explain --src 198.51.100.7:40000 --dst 192.0.2.1:35217
  harbor-ctl explain --src [2001:db8::7]:40000 --dst [2001:db8::1]:38811 --proto udp
  harbor-ctl explain --src 198.51.100.7:40000 --dst 192.0.2.1:35217 --flags fin,ack -o json";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExplainNoun {
    /// The sender
    #[arg(long, value_name = "IP:PORT")]
    src: String,
    /// The address and port that it is for
    #[arg(long, value_name = "IP:PORT")]
    dst: String,
    /// The transport protocol
    #[arg(long, default_value = "tcp")]
    proto: ProtocolName,
    /// Flags of the TCP segment [default: syn]
    #[arg(long, value_delimiter = ',')]
    flags: Vec<FlagName>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ProtocolName {
    Tcp,
    Udp,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FlagName {
    Syn,
    Ack,
    Fin,
    Rst,
}

pub(super) async fn run(session: &Session, noun: ExplainNoun) -> Result<Exit, Failure> {
    let protocol = match noun.proto {
        ProtocolName::Tcp => Protocol::Tcp,
        ProtocolName::Udp => Protocol::Udp,
    };
    let flags: Vec<TcpFlag> = noun.flags.iter().map(|flag| flag.tcp()).collect();
    // What is wrong on its own is said before anybody is asked.
    Question::read(&noun.src, &noun.dst, protocol, flags.clone())?;
    let request = ExplainPacket {
        src: noun.src,
        dst: noun.dst,
        proto: Some(protocol),
        flags,
    };
    let client = session.client()?;
    let report: ExplainReport = client.post("/v1/explain", &request).await?;
    session.output.text(&text(&report), &report)?;
    Ok(Exit::Ok)
}

impl FlagName {
    fn tcp(self) -> TcpFlag {
        match self {
            Self::Syn => TcpFlag::Syn,
            Self::Ack => TcpFlag::Ack,
            Self::Fin => TcpFlag::Fin,
            Self::Rst => TcpFlag::Rst,
        }
    }
}

fn text(report: &ExplainReport) -> String {
    let mut lines = vec![("packet", report.packet.clone())];
    for stage in &report.stages {
        lines.push((stage.stage.as_str(), stage.text.clone()));
    }
    let ExplainReport {
        verdict,
        name,
        meaning,
        ..
    } = report;
    lines.push((
        "verdict",
        match verdict == name {
            true => format!("{name}: {meaning}"),
            false => format!("{verdict}, {name}: {meaning}"),
        },
    ));
    if let Some(backend) = &report.backend {
        let instance = backend.instance.as_deref().unwrap_or("-");
        let text = format!("{instance} at {}, {}", backend.address, backend.state);
        lines.push(("backend", text));
    }
    lines.extend(report.why.iter().map(|why| ("why", why.clone())));
    let line = |(label, text): &(&str, String)| format!("{label:<9} {}\n", escaped(text));
    lines.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{ExplainedBackend, Stage};

    #[test]
    fn people_read_the_stages_in_order_then_the_verdict_and_why() {
        let report = ExplainReport {
            packet: "tcp a to b (syn)".into(),
            verdict: "drop".into(),
            name: "no-backend".into(),
            meaning: "nobody".into(),
            stages: vec![Stage {
                stage: "parse".into(),
                text: "read".into(),
            }],
            port: None,
            backend: Some(ExplainedBackend {
                instance: None,
                address: "10.0.0.1:80".parse().unwrap(),
                state: "gone".into(),
            }),
            policy: None,
            interface: None,
            why: vec!["a\u{1b}b".into()],
        };
        let expected = "packet    tcp a to b (syn)\n\
                        parse     read\n\
                        verdict   drop, no-backend: nobody\n\
                        backend   - at 10.0.0.1:80, gone\n\
                        why       a\\u{1b}b\n";
        assert_eq!(text(&report), expected);
    }
}
