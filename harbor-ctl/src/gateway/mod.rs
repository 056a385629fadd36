//! The platform API: Open Service Broker 2.17 over HTTP.
//!
//! [`server`] turns requests into calls of [`Broker`], which the agent implements; [`catalog`] says
//! what may be asked for. Everything is synchronous. Nothing here decides anything about ports.

mod auth;
mod binding_routes;
mod catalog;
mod error;
mod identity;
mod openapi;
mod operations;
mod parameters;
mod pem;
mod requests;
mod responses;
mod server;

pub(crate) use auth::BasicAuth;
pub(crate) use operations::{Answer, Bound, Broker, Instance, Novelty, ProvisionRequest, Update};
pub(crate) use parameters::Parameters;
pub(crate) use pem::PemPair;
pub(crate) use server::serve;

/// The target of the gateway's log lines, whatever module they come from.
const LOG: &str = "gateway";
