//! Datagrams whose fragments came out of order: the programs leave them to the stack, which puts them
//! together; `relay` sends them on with the ends of their flow, by the sockets of `raw_sockets`.

mod raw_sockets;
pub(super) mod relay;
