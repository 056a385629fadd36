//! Strangers who share a node: each attack runs, and its victim is measured meanwhile.

mod apis;
mod doors;
mod flows;
mod hosts;
mod proxy;
