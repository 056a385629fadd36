//! The proxy tier: what it serves beside the programs in the kernel, and how its ports defend
//! themselves.

mod conflicts;
mod here;
mod tls;
mod told;
