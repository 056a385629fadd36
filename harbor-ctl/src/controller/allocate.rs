//! Allocates and releases ports, whether an operator, a platform or the clock asks for it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{Controller, error::refused, services::Mark};
use crate::{
    allocator::{self, Holder, LiveHost, Numbers, Request},
    api::DeletedPort,
    model::{Protocol, Refusal, RefusalKind, Service, are, counted, now},
    proxy::Unheld,
    registry::{Quota, Registry, RegistryError, Rests},
    views::status_proxy::more_descriptors,
};

/// How often a number that somebody else takes in the same moment is drawn anew.
const HOLD_TRIES: usize = 8;
/// How old a look at the host's rules may be that a draw by chance goes by.
const LOOK: Duration = Duration::from_secs(1);

/// What became of a service that wanted a number.
#[derive(Debug)]
pub(super) enum Placed {
    New(Service),
    /// One with its id is there already.
    Known(Service),
}

impl<R: Registry> Controller<R> {
    pub(super) fn numbers(&self) -> Numbers {
        Numbers::new(self.services(), self.resting_now())
    }

    /// Numbers that nobody gets yet.
    pub(super) fn resting_now(&self) -> BTreeSet<(Protocol, u16)> {
        let time = now();
        let resting = self.resting.iter().filter(|(_, until)| **until > time);
        resting.map(|(half, _)| *half).collect()
    }

    /// Gives a service a number: the one asked for, or any. Durable, then in the kernel.
    pub(super) async fn allocate(
        &mut self,
        mut service: Service,
        port: Option<u16>,
    ) -> Result<Placed, Refusal> {
        let rests = match port {
            Some(_) => Rests::Ended,
            None => Rests::Respected,
        };
        let limits = self.running.config.limits;
        self.registry.keep_to(Quota {
            ports: limits.ports,
            ports_per_organization: limits.ports_per_organization,
            ports_per_space: limits.ports_per_space,
        });
        let recorded = loop {
            service.port = self.draw_and_hold(&service, port).await?;
            let allocate = self.registry.allocate(&service, rests);
            let allocated = self.meters.registry("allocate", allocate).await;
            let is_it = |r: &Service| (r.port, &r.node) == (service.port, &service.node);
            if !allocated.as_ref().is_ok_and(is_it) {
                let proxy = &self.engines.proxy;
                proxy.let_go(service.protocols, service.port);
            }
            match allocated {
                Ok(recorded) => break recorded,
                // Somebody who shares the registry was faster; a number asked for is gone then.
                Err(RegistryError::NumberTaken { .. }) if port.is_none() => {
                    self.look_again().await?;
                }
                Err(error) => return Err(refused(&error)),
            }
        };
        let revision = recorded.revision;
        let is_new = recorded
            == Service {
                revision,
                ..service
            };
        for &protocol in recorded.protocols.each() {
            self.resting.remove(&(protocol, recorded.port));
        }
        self.take_over(recorded.clone());
        if !is_new {
            return Ok(Placed::Known(recorded));
        }
        let Service {
            id,
            name,
            port,
            protocols,
            ..
        } = &recorded;
        tracing::info!(id, name, "port {port}/{protocols} allocated");
        self.apply_change().await;
        Ok(Placed::New(recorded))
    }

    /// Finds a number and takes it on this host, before anybody hears of it.
    async fn draw_and_hold(
        &mut self,
        service: &Service,
        port: Option<u16>,
    ) -> Result<u16, Refusal> {
        for _ in 0..HOLD_TRIES {
            let drawn = self.draw(service, port).await?;
            let (protocol, why) = match self.engines.proxy.hold(service.protocols, drawn) {
                Ok(()) => return Ok(drawn),
                Err(failed) => failed,
            };
            if why != Unheld::Taken {
                let text = format!("port {drawn}/{protocol} cannot be held: {why}");
                let own = service.protocols.each().len() as u64;
                let needed = self.engines.proxy.report().descriptors_needed + own;
                return Err(Refusal::failed(text).fix(more_descriptors(needed)));
            }
            // Taken since it was drawn; a number asked for is told by the next look at the host.
        }
        let text = "others take the numbers of the range as fast as they are drawn";
        Err(Refusal::new(RefusalKind::PortHeld, text).fix("harbor-ctl ports range"))
    }

    /// Finds a number; looks at the host where it may block.
    async fn draw(&mut self, service: &Service, port: Option<u16>) -> Result<u16, Refusal> {
        let (name, protocols) = (service.name.clone(), service.protocols);
        let (numbers, range) = (self.numbers(), self.running.config.range);
        let look = move || {
            // A number that is drawn by chance may be passed over a moment late; one that is asked for
            // gets a fresh look.
            let mut host = LiveHost::within(port.map_or(LOOK, |_| Duration::ZERO));
            let request = Request {
                name: &name,
                protocols,
                port,
                range,
            };
            let draw = allocator::allocate(request, &numbers, &mut host, &mut rand::rng());
            (draw.port, host.name(&draw.skipped))
        };
        let (port, skipped): (_, Vec<((Protocol, u16), Holder)>) =
            tokio::task::spawn_blocking(look)
                .await
                .map_err(|error| Refusal::failed(format!("the host's sockets: {error}")))?;
        self.conflicts.note(skipped);
        port
    }

    /// Refuses one port more than `[limits]` allows: in all, and of an organization and its space.
    pub(super) fn check_quota(&self, tenant: Option<(&str, &str)>) -> Result<(), Refusal> {
        let limits = self.running.config.limits;
        let check = |key: &str, limit: usize, used: usize| {
            if limit == 0 || used < limit {
                return Ok(());
            }
            let text = format!(
                "{} {} used, and limits.{key} = {limit}",
                counted(used, "port"),
                are(&used)
            );
            let fix = format!("delete some, or: harbor-ctl config set limits.{key} NUMBER");
            Err(Refusal::new(RefusalKind::QuotaExceeded, text)
                .field(&format!("limits.{key}"))
                .fix(fix))
        };
        check("ports", limits.ports, self.services.len())?;
        let Some((organization, space)) = tenant else {
            return Ok(());
        };
        let promised = || self.services.iter().filter_map(|s| s.provisioned.as_ref());
        let own = || promised().filter(|p| p.organization == organization);
        check(
            "ports_per_organization",
            limits.ports_per_organization,
            own().count(),
        )?;
        let of_space = own().filter(|p| p.space == space).count();
        check("ports_per_space", limits.ports_per_space, of_space)
    }

    /// Ends a service and its flows; the number rests.
    pub(super) async fn end_service(
        &mut self,
        service: Arc<Service>,
    ) -> Result<DeletedPort, Refusal> {
        let rest = self.running.config.rest;
        let until = now().saturating_add(rest.as_secs());
        let release = self.registry.release(&service.id, rest);
        self.meters
            .registry("release", release)
            .await
            .map_err(|error| refused(&error))?;
        self.forget(&service.id);
        self.forget_given(&service.id, None);
        for &protocol in service.protocols.each() {
            self.resting.insert((protocol, service.port), until);
        }
        self.apply_change().await;
        let Service {
            id,
            name,
            port,
            protocols,
            ..
        } = &*service;
        tracing::info!(id, name, "port {port}/{protocols} released");
        Ok(DeletedPort {
            name: name.clone(),
            id: id.clone(),
            port: *port,
            protocols: protocols.each().to_vec(),
            reason: self.not_applied.clone(),
        })
    }

    /// Ends services of this node whose time is over.
    pub(super) async fn end_expired(&mut self) {
        let time = now();
        let is_over = |service: &&Arc<Service>| service.expires_at.is_some_and(|end| end <= time);
        let ending = self.services.with(Mark::Expires);
        let own = ending.filter(|service| self.keeps(service));
        let over: Vec<Arc<Service>> = own.filter(is_over).cloned().collect();
        for service in over {
            let (name, port) = (service.name.clone(), service.port);
            match self.end_service(service).await {
                Ok(_) => tracing::info!(name, port, "port ended: its time is over"),
                Err(refusal) => {
                    tracing::error!("port {port} of {name} should have ended: {refusal}");
                }
            }
        }
    }
}
