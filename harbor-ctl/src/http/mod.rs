//! What every HTTP server of the agent has in common: who may be at the other end, and listening by
//! TCP with or without TLS. Routes and rules are not here.

mod listener;
mod peer;

pub(crate) use listener::{TcpSide, Tls};
pub(crate) use peer::Peer;
