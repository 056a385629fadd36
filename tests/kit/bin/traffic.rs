//! Traffic.
fn main() {}
