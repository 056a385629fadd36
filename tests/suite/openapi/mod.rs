//! The documents that both APIs serve of themselves, held against what they really answer: by a walk
//! through every operation, and by a program that makes requests of its own from them.

mod control;
mod document;
mod platform;
mod routes;
mod schemathesis;
mod shared;

pub(crate) use schemathesis::long as schemathesis_long;
