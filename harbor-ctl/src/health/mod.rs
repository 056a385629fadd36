//! Whether backends are well: probes that leave from the node's own sockets, and a judge that needs
//! several answers in a row before it changes its mind.
//!
//! `probe` asks one backend once, `judge` weighs what was seen of one backend, `brake` tells a dead
//! backend from a node that is cut off, `roster` says who is asked when. `passive` judges what clients'
//! flows show. All but the first are pure.

mod http;
mod isolation;
mod judge;
mod passive;
mod probe;
mod schedule;

pub(crate) use judge::{Fault, FaultKind};
pub(crate) use passive::{Passive, Port, Question, Turn, TurnKind};
pub(crate) use probe::probe;
pub(crate) use schedule::{Change, Key, Schedule, Summary, Target};
