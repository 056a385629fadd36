//! Certificates with their keys, and the TLS that a server speaks with them.
//!
//! Reads files and knows nobody: which files, and what becomes of a bad one, others decide. Keys
//! leave this module only inside what the TLS library holds.

mod identity;
mod server;

pub(crate) use identity::{Identity, certificates, dns_names, private_key, subject};
pub(crate) use server::server;
