//! The ways out of the node: `netlink` reads the kernel's rules, routes and neighbours over a connection
//! of `host`, `policy` and `effective` work out what they say together, `plan` what the programs are to
//! know of it, `tables` writes that, and `monitor` tells when the kernel's answer may have changed.

mod effective;
pub(super) mod host;
pub(super) mod monitor;
mod netlink;
pub(super) mod plan;
mod policy;
pub(super) mod tables;
