//! Shares of pools: takes over which there are, and enters the flows that other nodes tell of.

use std::{net::IpAddr, time::Duration};

use harbor_common::adoption::Adoption;

use super::Forwarder;
use crate::{
    datapath::{self, DatapathError},
    model::{FlowCopy, OwnShare},
};

impl Forwarder {
    /// Takes over the shares that this node may have.
    pub(super) fn set_shares(
        &mut self,
        shares: Vec<OwnShare>,
        hold: Duration,
    ) -> Result<(), DatapathError> {
        if self.own_shares.is_empty() && !shares.is_empty() {
            // A flow of another node's keeps its cookie here: no flow of this node is to have the same.
            self.datapath.scatter_cookies()?;
        }
        (self.own_shares, self.hold) = (shares, hold);
        self.reconcile()
    }

    /// Enters flows that another node tells of; for how many there was room, and a port and a backend.
    pub(super) fn adopt(&mut self, copies: &[FlowCopy]) -> Result<usize, DatapathError> {
        let mut adopted = 0;
        for part in copies.chunks(Adoption::PER_RUN) {
            let known: Vec<Adoption> = part.iter().filter_map(|copy| self.at_home(copy)).collect();
            adopted += self.datapath.adopt(&known)?.settled;
        }
        Ok(adopted)
    }

    /// A copy with its frontend, its backend and the interfaces that it leaves by here; `None`: it has none,
    /// or is of no share of this node's.
    fn at_home(&self, copy: &FlowCopy) -> Option<Adoption> {
        let is_of = |share: &OwnShare| {
            let has = |of: &[IpAddr], end: std::net::SocketAddr| of.contains(&end.ip());
            has(&share.public, copy.public) && has(&share.translation, copy.source)
        };
        self.own_shares.iter().find(|share| is_of(share))?;
        let flow = self.home(&datapath::adoption(copy)?)?;
        let towards = |source: IpAddr, host: IpAddr| {
            let way = self.ways.interface_towards(source, host);
            way.or_else(|| self.attached.keys().next().copied())
        };
        let route = self.inputs.routes.get(&copy.backend.ip())?;
        Some(Adoption {
            ifindex: [
                route.ifindex,
                towards(copy.public.ip(), copy.client.ip()).unwrap_or(route.ifindex),
            ],
            ..flow
        })
    }
}
