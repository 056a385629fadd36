//! How far to look for a backend that is well before one that is not gets the flow.

/// How many turns of a table to look at; the same few backends may come up again and again.
pub const LOOKS: u32 = 32;

/// The order in which the backends of a port take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By a table of turns, which is longer than the list of backends.
    Table,
    /// In the order of registration.
    Registered,
}

/// How many backends to look at in this order. If a table's turns show none that is well, all backends
/// are looked at in the order of registration, from the same turn on.
#[inline(always)]
pub const fn looks(order: Order, backends: u32) -> u32 {
    match order {
        Order::Table => LOOKS,
        Order::Registered => backends,
    }
}
