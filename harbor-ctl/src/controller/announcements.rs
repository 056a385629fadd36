//! Records what app hosts announce, and ends the leases of those that fall silent.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use super::{
    Controller,
    error::refused,
    refusals::{Entry, Refused},
    services::Mark,
};
use crate::{
    api::{AppHostItem, Heard},
    discovery::{self, Instance, Message, Says, Sender, Turn},
    model::{
        AppHost, Backend, EventKind, PortRef, Readiness, Refusal, RefusalKind, Service, Spoken,
        Subject, now,
    },
    registry::Registry,
};

/// The most app hosts.
const HOST_LIMIT: usize = 10_000;

impl<R: Registry> Controller<R> {
    /// Takes over what an app host says. What it has said before changes nothing.
    pub(super) async fn hear(
        &mut self,
        message: Message,
        sender: Sender,
    ) -> Result<Heard, Refusal> {
        self.check_sender(&message, &sender)?;
        let hosts = self.registry.app_hosts().await.map_err(|e| refused(&e))?;
        let known = hosts.iter().find(|host| host.dea == message.dea);
        if known.is_none() && hosts.len() >= HOST_LIMIT {
            let text = format!("{HOST_LIMIT} app hosts are known, the most allowed");
            let refusal = Refusal::new(RefusalKind::Conflict, text).field("dea");
            self.tell_refused(Entry::whole(&message.dea), &refusal);
            return Err(refusal);
        }
        if let Some(known) = known.filter(|known| message.spoken <= known.spoken) {
            return self.is_stale(&message, known.spoken);
        }
        self.check_epoch(&message, known.map(|host| host.spoken))?;
        let has_lease = known.is_some_and(AppHost::has_lease);
        let Message { dea, spoken, says } = message;
        let mut heard = self.answer(true);
        let mut refused_one = None;
        let renews = match says {
            Says::Alive { digest } => {
                let registered = discovery::registered(self.announced_by(&dea), &dea);
                let is_same = digest == discovery::digest(registered);
                heard.announce = !is_same;
                is_same
            }
            Says::One(said) => {
                let all = self.take_in(&dea, std::slice::from_ref(&*said), Extent::These);
                refused_one = all.await?.pop();
                // Who has one instance has said everything.
                let mut others = discovery::registered(self.announced_by(&dea), &dea);
                others.retain(|entry| entry.instance != said.instance);
                !has_lease || others.is_empty()
            }
            Says::All(said) => {
                let refused = self.take_in(&dea, &said, Extent::All).await?;
                heard.refused = refused.into_iter().map(Refused::told).collect();
                true
            }
        };
        let lease = renews.then_some(self.running.config.lease);
        let Some(Refused { refusal, .. }) = refused_one else {
            let record = self.registry.heard(&dea, spoken, lease);
            let recorded = self.meters.registry("heard", record).await;
            return recorded.map(|()| heard).map_err(|error| refused(&error));
        };
        // It lives, though it is refused; whoever says the same again is refused again.
        if let Some(known) = known.filter(|_| renews) {
            let record = self.registry.heard(&dea, known.spoken, lease);
            let recorded = self.meters.registry("heard", record).await;
            recorded.map_err(|error| refused(&error))?;
        }
        Err(refusal)
    }

    fn answer(&self, applied: bool) -> Heard {
        let lease = self.running.config.lease;
        Heard {
            applied,
            announce: false,
            lease_s: lease.as_secs(),
            heartbeat_s: (lease.as_secs() * 5 / 17).max(1),
            refused: Vec::new(),
        }
    }

    fn is_stale(&mut self, message: &Message, known: Spoken) -> Result<Heard, Refusal> {
        if message.spoken.epoch == known.epoch {
            return Ok(self.answer(false));
        }
        let (dea, old, new) = (&message.dea, message.spoken.epoch, known.epoch);
        let text =
            format!("{dea} has started again since: epoch {old} is over, {new} is its epoch");
        let refusal = Refusal::new(RefusalKind::Conflict, text)
            .field("epoch")
            .epoch(new.saturating_add(1))
            .fix("end the older announcer, or give one of them another name");
        self.tell_refused(Entry::whole(dea), &refusal);
        Err(refusal)
    }

    /// Takes over what an app host says of these instances; answers what of it was refused. That
    /// withdraws nothing: what it is about stays as it was.
    async fn take_in(
        &mut self,
        dea: &str,
        said: &[Instance],
        extent: Extent,
    ) -> Result<Vec<Refused>, Refusal> {
        let rule = self.backend_rule();
        let (said, mut refused) = self.within_most(dea, said, extent);
        let said = said.as_slice();
        let mut by_service: BTreeMap<String, Vec<Instance>> = BTreeMap::new();
        if extent == Extent::All {
            let there = self.announced_by(dea);
            by_service.extend(there.map(|service| (service.id.clone(), Vec::new())));
        }
        for said in said {
            match self.announced_service(dea, said, &rule) {
                Ok(id) => by_service.entry(id).or_default().push(said.clone()),
                Err(refusal) => refused.push(Refused::new(said, refusal)),
            }
        }
        let nowhere = refused.clone();
        for (id, said) in by_service {
            let change = |service: &mut Service| {
                if extent == Extent::All {
                    withdraw_others(service, dea, (&said, &nowhere));
                }
                Ok(register(service, dea, &said))
            };
            let (_, mut more) = self.record(&id, change).await?;
            let is_taken = |said: &&Instance| !more.iter().any(|refused| refused.said == **said);
            let taken: Vec<Instance> = said.iter().filter(is_taken).cloned().collect();
            self.vacate(&id, &taken).await?;
            refused.append(&mut more);
        }
        // Over Redis all is said with each heartbeat: what changes nothing is no news.
        if !self.pending.is_empty() {
            self.log_announced(dea, said, refused.len());
            self.apply_change().await;
        }
        self.refusals.settle(dea, (said, extent), &refused);
        for Refused { said, refusal } in &refused {
            self.tell_refused(Entry::of(dea, said), refusal);
        }
        Ok(refused)
    }

    /// Takes addresses that were announced from instances of other services that had them; who says
    /// that an instance is down claims no address.
    async fn vacate(&mut self, own: &str, said: &[Instance]) -> Result<(), Refusal> {
        let stands = |said: &&Instance| said.state != Readiness::Down;
        let holders = |said: &Instance| {
            let (address, instance) = (said.address(), said.instance.clone());
            let is_other = move |b: &Backend| {
                b.address == address && b.instance != instance && b.announced.is_some()
            };
            let there = self.services.with(Mark::Announced(address));
            there.filter(move |service| service.id != own && service.backends.iter().any(&is_other))
        };
        let held = said.iter().filter(stands).flat_map(holders);
        let held: BTreeSet<String> = held.map(|service| service.id.clone()).collect();
        for id in held {
            self.record(&id, |service| {
                let standing = said.iter().filter(stands);
                standing.for_each(|said| discovery::vacate(service, said));
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    fn log_announced(&self, dea: &str, said: &[Instance], refused: usize) {
        let [one] = said else {
            let instances = said.len();
            return tracing::info!(dea, instances, refused, "announced all");
        };
        let Instance {
            service, instance, ..
        } = one;
        let (address, state) = (one.address(), one.state.name());
        tracing::info!(dea, service, instance, %address, state, refused, "announced");
    }

    /// Ends leases that are over: what an app host had is gone at once.
    pub(super) async fn end_leases(&mut self) {
        let Ok(hosts) = self.registry.app_hosts().await else {
            self.leases.freeze();
            return;
        };
        let lease = self.running.config.lease;
        let names = self.services.app_hosts();
        let mut turn = self.leases.turn(&hosts, &names, (lease, Instant::now()));
        // What other nodes serve they end themselves.
        let services = &self.services;
        let is_own = |dea: &String| {
            services
                .with(Mark::AppHost(dea.clone()))
                .any(|s| self.keeps(s))
        };
        turn.over.retain(is_own);
        if turn == Turn::default() {
            return;
        }
        for dea in &turn.begin {
            let spoken = hosts.iter().find(|host| host.dea == *dea);
            let spoken = spoken.map(|host| host.spoken).unwrap_or_default();
            if let Err(error) = self.registry.heard(dea, spoken, Some(lease)).await {
                tracing::error!(dea, "no lease was begun: {error}");
            }
        }
        for dea in &turn.over {
            self.end_lease(dea).await;
            let subject = Subject {
                dea: Some(dea.clone()),
                ..Subject::default()
            };
            let text = format!("{dea} has been silent for too long: its instances are gone");
            self.tell(EventKind::LeaseEnded, subject, text);
        }
        if !turn.over.is_empty() {
            self.apply_change().await;
        }
        for dea in &turn.forget {
            if let Err(error) = self.registry.forget_app_host(dea).await {
                tracing::error!(dea, "an app host was not forgotten: {error}");
            }
        }
    }

    /// Services that this app host has announced instances of.
    pub(super) fn announced_by(&self, dea: &str) -> impl Iterator<Item = &Service> {
        let those = self.services.with(Mark::AppHost(dea.to_owned()));
        those.map(Arc::as_ref)
    }

    async fn end_lease(&mut self, dea: &str) {
        let own = self.announced_by(dea).filter(|s| self.keeps(s));
        let held: Vec<String> = own.map(|service| service.id.clone()).collect();
        for id in held {
            let end = |service: &mut Service| Ok(discovery::end_lease(service, dea));
            match self.enforce(&id, end).await {
                Ok((service, gone)) => {
                    let (name, instances) = (&service.name, gone.len());
                    tracing::warn!(
                        dea,
                        name,
                        instances,
                        "the lease is over, its instances are gone"
                    );
                }
                Err(refusal) => tracing::error!(dea, "a lease was not ended: {refusal}"),
            }
        }
    }

    /// Every app host that is known.
    pub(super) async fn app_hosts(&self) -> Result<Vec<AppHostItem>, Refusal> {
        let hosts = self.registry.app_hosts().await.map_err(|e| refused(&e))?;
        let item = |host: AppHost| {
            let services = || self.announced_by(&host.dea);
            AppHostItem {
                instances: discovery::registered(services(), &host.dea).len(),
                services: services().map(|service| service.name.clone()).collect(),
                epoch: host.spoken.epoch,
                seq: host.spoken.seq,
                lease_left_s: host.lease_left.map(|left| left.as_secs()),
                dea: host.dea,
            }
        };
        Ok(hosts.into_iter().map(item).collect())
    }
}

/// Whether what an announcement leaves out is withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    These,
    All,
}

/// Withdraws what an app host has and does not speak of any more. An entry that was refused before it
/// was known which service it means speaks of what it can mean, and of what was announced by its words.
fn withdraw_others(service: &mut Service, dea: &str, (said, nowhere): (&[Instance], &[Refused])) {
    let speaks_of = |refused: &Refused, backend: &Backend| {
        let word = &refused.said.service;
        let held = backend.announced.as_ref();
        let can_mean = || PortRef::parse(word).is_ok_and(|port| port.can_mean(service));
        refused.said.instance == backend.instance
            && (held.is_some_and(|held| held.service == *word) || can_mean())
    };
    let is_spoken_of = |backend: &Backend| {
        said.iter().any(|said| said.instance == backend.instance)
            || nowhere.iter().any(|refused| speaks_of(refused, backend))
    };
    let there = service.backends.iter().filter(|b| b.is_announced_by(dea));
    let left_out = there.filter(|backend| !is_spoken_of(backend));
    let left_out: Vec<String> = left_out.map(|backend| backend.instance.clone()).collect();
    for instance in left_out {
        discovery::withdraw(service, dea, &instance, now());
    }
}

/// Takes over entries of one service; answers what was refused.
fn register(service: &mut Service, dea: &str, said: &[Instance]) -> Vec<Refused> {
    let refused = said.iter().filter_map(|said| {
        let refusal = discovery::register(service, dea, said, now()).err()?;
        Some(Refused::new(said, refusal))
    });
    refused.collect()
}
