//! What every HTTP server of the agent has in common: who may be at the other end, listening by TCP
//! with or without TLS, and how routes describe themselves. Routes and rules are not here.

mod documented;
mod listener;
mod peer;
mod requester;

pub(crate) use documented::{Described, add_schema, described, document, served};
pub(crate) use listener::{TcpSide, Tls};
pub(crate) use peer::Peer;
pub(crate) use requester::{Requester, Why, asked_by, requester, untold};
