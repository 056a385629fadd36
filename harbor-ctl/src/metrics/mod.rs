//! Metrics for Prometheus: which there are, how they are written, and who may fetch them.
//!
//! [`family`] is the contract: every family with its labels. The agent fills a [`Scrape`] when
//! somebody asks, from what it already shows in `status` and `ports list`; only what cannot be seen
//! afterwards, as how long something took, is kept between scrapes, in [`Meters`]. Nothing here reads
//! a map or a file.

mod exposition;
pub(crate) mod family;
mod meters;
mod scrape;
mod server;

pub(crate) use exposition::{OneAtATime, Source, response};
pub(crate) use meters::Meters;
pub(crate) use scrape::{Scrape, labels};
pub(crate) use server::serve;
