//! The proxy tier: what it serves beside the programs in the kernel, and how its ports defend
//! themselves.

mod conflicts;
mod crowd;
pub(crate) mod held;
mod here;
mod late;
mod scarce;
pub(crate) mod tls;
mod told;
