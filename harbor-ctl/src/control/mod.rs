//! The local API between the agent and everybody else: HTTP with JSON over a Unix socket, and over
//! TCP for those with a token or a certificate.
//!
//! [`server`] turns requests into calls of [`Operations`], which the agent implements; [`client`] is
//! the other end; [`crate::api`] is what travels. Nothing here decides anything about ports.

mod access;
mod acl;
mod announce_routes;
mod backend_routes;
mod binding_routes;
mod client;
mod config_routes;
mod datapath_routes;
mod error;
mod event_client;
mod event_log;
mod event_reader;
mod event_routes;
mod extract;
mod flow_routes;
mod groups;
mod health_routes;
mod local_time;
mod lock;
mod ndjson;
mod openapi;
mod operations;
mod page;
mod pool_routes;
mod port_routes;
mod server;
mod shared_routes;
mod socket;
mod trace_routes;

pub(crate) use access::{Subjects, Tokens};
pub(crate) use client::{Client, ClientError, Remote, segment};
pub(crate) use event_log::{EventLog, Record};
pub(crate) use groups::Groups;
pub(crate) use local_time::local;
pub(crate) use lock::{AgentLock, LockError, is_locked, take as take_lock};
pub(crate) use operations::{
    Answer, BindingOperations, DatapathOperations, FlowSource, FoundBackends, Operations,
    PacketSource, PoolOperations, PortRow, SharedOperations, SummaryOperations, Traffic,
};
pub(crate) use server::{serve, serve_tcp};
pub(crate) use socket::bind;
