//! The platform API: Open Service Broker 2.17 over HTTP.
//!
//! [`server`] turns requests into calls of [`Broker`], which the agent implements; [`catalog`] says
//! what may be asked for. Everything is synchronous. Nothing here decides anything about ports.

mod answers;
mod binding_routes;
mod catalog;
mod described;
mod documents;
mod failure;
mod guard;
mod identity;
mod operations;
mod parameters;
mod pem;
mod server;

pub(crate) use guard::Keeper;
pub(crate) use operations::{Answer, Bound, Broker, Instance, Novelty, Order, Update};
pub(crate) use parameters::{Parameters, read_parameters};
pub(crate) use pem::PemPair;
pub(crate) use server::serve;

/// The target of the gateway's log lines, whatever module they come from.
const LOG: &str = "gateway";
