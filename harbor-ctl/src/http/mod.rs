//! What every HTTP server of the agent has in common: who may be at the other end, listening by TCP
//! with or without TLS, and how routes describe themselves. Routes and rules are not here.

mod documented;
mod door;
mod guests;
mod listener;
mod origin;
mod peer;
mod problem;
mod pulse;
mod requester;
mod serve;
mod strangers;

pub(crate) use documented::{Described, add_schema, described, document, served};
pub(crate) use door::Door;
pub(crate) use listener::{Certificates, TcpSide, Tls};
pub(crate) use origin::{Names, misdirected, names_another};
pub(crate) use peer::Peer;
pub(crate) use problem::TcpProblem;
pub(crate) use pulse::Pulse;
pub(crate) use requester::{Requester, Why, asked_by, requester, untold};
pub(crate) use serve::serve;
pub(crate) use strangers::Strangers;
