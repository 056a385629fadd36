//! Asks one backend once, from the node's own sockets: such packets go by the node's own routes and
//! firewall, as translated ones of clients do not.

use std::{
    io::{self, ErrorKind},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::net::{TcpStream, UdpSocket};

use super::{
    http,
    judge::{Fault, FaultKind},
};
use crate::model::{HealthCheck, HealthRule, StatusRange, format_age};

/// More of an answer is not looked at.
const ANSWER: usize = 64 * 1024;

/// Asks the backend at this address; returns within the rule's timeout.
pub(crate) async fn probe(address: SocketAddr, rule: &HealthRule) -> Result<(), Fault> {
    let mut target = address;
    if rule.port != 0 {
        target.set_port(rule.port);
    }
    let asked = ask(target, rule);
    tokio::time::timeout(rule.timeout, asked)
        .await
        .unwrap_or_else(|_| {
            let limit = format_age(rule.timeout.as_secs());
            Err(Fault::new(
                FaultKind::Silent,
                format!("no answer within {limit}"),
            ))
        })
}

async fn ask(target: SocketAddr, rule: &HealthRule) -> Result<(), Fault> {
    match &rule.check {
        HealthCheck::Off => Ok(()),
        HealthCheck::Tcp => connect(target).await.map(drop),
        HealthCheck::Http { path } => request(target, path, &rule.status).await,
        HealthCheck::Udp { send, expect } => datagram(target, send, expect).await,
    }
}

async fn connect(target: SocketAddr) -> Result<TcpStream, Fault> {
    TcpStream::connect(target).await.map_err(|e| fault(&e))
}

async fn request(target: SocketAddr, path: &str, wanted: &StatusRange) -> Result<(), Fault> {
    let stream = connect(target).await?;
    let answered = |reason: String| Fault::new(FaultKind::Answered, reason);
    match http::status(stream, path, &target.to_string()).await {
        Ok(status) if wanted.contains(status) => Ok(()),
        Ok(status) => Err(answered(format!("HTTP status {status} is not {wanted}"))),
        Err(error) => Err(answered(format!("no HTTP answer: {error}"))),
    }
}

async fn datagram(target: SocketAddr, send: &[u8], expect: &[u8]) -> Result<(), Fault> {
    let any: SocketAddr = match target {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let mut answer = vec![0; ANSWER];
    let length = async {
        let socket = UdpSocket::bind(any).await?;
        socket.connect(target).await?;
        socket.send(send).await?;
        socket.recv(&mut answer).await
    };
    let length = length.await.map_err(|error| fault(&error))?;
    let is_there = expect.is_empty() || answer[..length].windows(expect.len()).any(|w| w == expect);
    match is_there {
        true => Ok(()),
        false => {
            let reason = format!("the answer of {length} bytes does not contain what is expected");
            Err(Fault::new(FaultKind::Answered, reason))
        }
    }
}

/// What an error of the node's own socket says about the backend.
fn fault(error: &io::Error) -> Fault {
    let (kind, reason) = match error.kind() {
        ErrorKind::ConnectionRefused => (FaultKind::Answered, "connection refused".to_owned()),
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => {
            (FaultKind::Answered, "connection reset".to_owned())
        }
        ErrorKind::TimedOut => (FaultKind::Silent, "no answer".to_owned()),
        ErrorKind::HostUnreachable => (FaultKind::Silent, "host unreachable".to_owned()),
        ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => {
            (FaultKind::Silent, "network unreachable".to_owned())
        }
        _ => (FaultKind::Own, format!("the node cannot ask: {error}")),
    };
    Fault::new(kind, reason)
}

#[cfg(test)]
mod tests;
