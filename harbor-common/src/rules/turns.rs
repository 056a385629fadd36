//! How long is looked for a backend that is well before one that is not gets the flow.

/// Turns of a table that are looked at: they may fall to the same few again and again.
pub const LOOKS: u32 = 32;

/// How the backends of a port follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By a table of turns, which is longer than there are backends.
    Table,
    /// As they are registered.
    Registered,
}

/// How many backends are looked at in this order. Where a table's turns show nobody who is well, all
/// backends are looked at in the order of their registration, from the same turn on.
#[inline(always)]
pub const fn looks(order: Order, backends: u32) -> u32 {
    match order {
        Order::Table => LOOKS,
        Order::Registered => backends,
    }
}
