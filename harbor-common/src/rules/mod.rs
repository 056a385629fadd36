//! Rules that both engines follow: the programs in the kernel and the proxy.
//!
//! Each rule is a pure step over plain numbers; the engines store the state and make the step atomic.
//! Nothing here multiplies beyond 64 bits or panics, because the kernel's verifier accepts neither.

pub mod backoff;
pub mod bucket;
pub mod transition;
pub mod turns;
pub mod witnesses;
