//! Harbor seen from outside: one binary, one file a theme.
//!
//! Each test has a lab of its own and may run beside any other. Run by `cargo xtask test`, which
//! builds what is tested and has root's rights.

mod kit_itself;
