//! What Harbor assumes of its host, and whether it is so: a table of checks, each with why it matters and
//! what to do.
//!
//! [`CHECKS`] is the table; a check looks at a [`Patient`] and answers with [`Finding`]s. It changes
//! nothing: what can be mended without harm to others comes as a [`Mend`], which is run by whoever was
//! told to. Works without an agent; what only an agent knows is handed in.

mod agent;
mod credentials;
mod finding;
mod folders;
mod kernel;
mod network;
mod patient;
mod registry;
mod table;

pub(crate) use self::registry::ask as ask_registry;
pub(crate) use finding::{Finding, State};
pub(crate) use patient::{AgentFacts, Patient};
pub(crate) use table::{CHECKS, Check};
