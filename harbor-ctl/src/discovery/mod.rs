//! What app hosts say: the documents, the digest, leases, and what they change. Pure.
//!
//! An instance is there by its app host's words and by its lease; it goes by its words, by the end
//! of the lease, or by an operator. A message that is lost is made good by the next digest.

mod digest;
mod document;
mod lease;
mod register;
mod sender;

pub(crate) use digest::{Entry, digest, registered};
pub(crate) use document::{DOCUMENT_LIMIT, Instance, Message, Says};
pub(crate) use lease::{Leases, Turn};
pub(crate) use register::{end_lease, register, vacate, withdraw};
pub(crate) use sender::{KnownHosts, Sender};
