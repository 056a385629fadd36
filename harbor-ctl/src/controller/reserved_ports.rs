//! Keeps the kernel from giving out port numbers and translation source ports as ephemeral ports.

use std::path::PathBuf;

use super::Controller;
use crate::{
    datapath::{self, DatapathError},
    forwarding::KernelEngine,
    model::{PortRange, PortSet},
    registry::Registry,
    views::facts::NotReserved,
};

/// What is reserved, or should be.
#[derive(Debug, Default)]
pub(crate) struct Reserved {
    /// What was asked for last.
    wanted: Option<PortSet>,
    problem: Option<NotReserved>,
}

impl Reserved {
    pub(crate) fn problem(&self) -> Option<&NotReserved> {
        self.problem.as_ref()
    }
}

/// The range, ports that lie outside it, and translated flows' numbers that the host would use too.
fn wanted(range: PortRange, ports: &[u16], sources: PortRange, local: &PortSet) -> PortSet {
    let mut wanted = PortSet::default();
    wanted.add(sources.numbers());
    let mut wanted = wanted.common(local);
    wanted.add(range.numbers());
    ports.iter().for_each(|port| wanted.add(*port..=*port));
    wanted
}

impl<R: Registry> Controller<R> {
    /// Reserves what is to be reserved now, if that has changed, or failed before. Numbers are kept
    /// for a datapath: without one nothing is.
    pub(crate) async fn keep_reserved(&mut self) {
        if !matches!(self.engines.kernel, KernelEngine::Up(_)) {
            return;
        }
        let config = &self.running.config;
        let (range, sources) = (config.range, config.source_ports);
        let outside = self.services.outside(range);
        let own = outside.filter(|service| self.serves(service));
        let ports: Vec<u16> = own.map(|service| service.port).collect();
        let (state, last) = (config.paths.state.clone(), self.reserved.wanted.clone());
        let last = last.filter(|_| self.reserved.problem.is_none());
        let work = move || reserve(state, last, |local| wanted(range, &ports, sources, local));
        let (wanted, outcome) = match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(error) => return tracing::error!("reserving ports failed: {error}"),
        };
        let problem = outcome.err().map(|error| NotReserved {
            text: error.message,
            fix: error.fix,
        });
        if let Some(NotReserved { text, .. }) = problem
            .as_ref()
            .filter(|problem| self.reserved.problem.as_ref() != Some(*problem))
        {
            tracing::warn!("{text}");
        }
        self.reserved.wanted = wanted;
        self.reserved.problem = problem;
    }
}

fn reserve(
    state: PathBuf,
    last: Option<PortSet>,
    wanted: impl FnOnce(&PortSet) -> PortSet,
) -> (Option<PortSet>, Result<(), DatapathError>) {
    let wanted = match datapath::local_range() {
        Ok(local) => wanted(&local),
        Err(error) => return (None, Err(error)),
    };
    let outcome = match last.as_ref() == Some(&wanted) {
        true => Ok(()),
        false => datapath::reserve(&state, &wanted),
    };
    (Some(wanted), outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_ports_outside_it_and_the_overlap_are_wanted() {
        let range = |text: &str| text.parse::<PortRange>().unwrap();
        let local = "20000-60999".parse().unwrap();
        let all = wanted(
            range("35000-35009"),
            &[35_003, 41_000],
            range("10240-20001"),
            &local,
        );
        assert_eq!(all.to_string(), "20000-20001,35000-35009,41000");
    }
}
