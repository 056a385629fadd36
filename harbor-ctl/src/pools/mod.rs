//! Configurations for what moves the addresses of a pool's shares. Pure: text from facts.

mod keepalived;
mod plan;

pub(crate) use keepalived::keepalived;
pub(crate) use plan::{EnginePlan, EngineShare, Wire};
