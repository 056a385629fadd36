//! Decides which app host a message comes from, and what it may announce.

use super::{
    Controller,
    announcements::Extent,
    error::refused,
    refusals::{Entry, Refused},
    services::Mark,
};
use crate::{
    config,
    discovery::{self, Instance, Message, Sender},
    model::{
        Backend, BackendRule, HostRule, PortRef, Readiness, Refusal, RefusalKind, Service, Spoken,
        counted, now,
    },
    registry::Registry,
};

/// How far ahead of this clock an epoch may be, in seconds.
const EPOCH_AHEAD: u64 = 86_400;

impl<R: Registry> Controller<R> {
    /// Reads the files of app hosts; a folder with a wrong one changes nothing.
    pub(crate) fn read_app_hosts(&self) -> Result<(), String> {
        let Some(folder) = &self.running.config.app_hosts else {
            return Ok(());
        };
        self.take_app_hosts(config::read_app_hosts(folder)?);
        Ok(())
    }

    /// Whom the files name from now on.
    pub(super) fn take_app_hosts(&self, hosts: Vec<HostRule>) {
        tracing::info!(hosts = hosts.len(), "app hosts read");
        self.app_hosts_known.set(hosts);
    }

    /// Refuses whoever speaks for somebody else.
    pub(super) fn check_sender(
        &mut self,
        message: &Message,
        sender: &Sender,
    ) -> Result<(), Refusal> {
        let checked = self.app_hosts_known.check(&message.dea, sender);
        checked.inspect_err(|refusal| self.tell_refused(Entry::whole(&message.dea), refusal))
    }

    /// An epoch is milliseconds since 1970, or less: one that is far ahead would shut its app host out for
    /// as long.
    pub(super) fn check_epoch(
        &mut self,
        message: &Message,
        known: Option<Spoken>,
    ) -> Result<(), Refusal> {
        let time = now().saturating_mul(1_000);
        let (epoch, most) = (message.spoken.epoch, time + EPOCH_AHEAD * 1_000);
        // One that counts already goes on, wherever this clock was set meanwhile.
        if epoch <= most || known.is_some_and(|known| known.epoch == epoch) {
            return Ok(());
        }
        let text = format!("epoch = {epoch}: more than a day ahead, {most} is the most");
        let after = known.map_or(0, |known| known.epoch.saturating_add(1));
        let refusal = Refusal::invalid("epoch", text).epoch(time.max(after));
        let refusal = refusal.fix("use milliseconds since 1970, and set the app host's clock");
        self.tell_refused(Entry::whole(&message.dea), &refusal);
        Err(refusal)
    }

    /// Forgets how far an app host has spoken: it may begin with any epoch again. Its instances have a
    /// whole lease.
    pub(super) async fn forget_app_host(&mut self, dea: &str) -> Result<(), Refusal> {
        let hosts = self.registry.app_hosts().await.map_err(|e| refused(&e))?;
        if !hosts.iter().any(|host| host.dea == dea) {
            let text = format!("no app host {dea} is known");
            let refusal = Refusal::new(RefusalKind::NotFound, text).field("dea");
            return Err(refusal.fix("harbor-ctl dea list"));
        }
        let forgotten = self.registry.forget_app_host(dea).await;
        forgotten.map_err(|error| refused(&error))?;
        tracing::info!(dea, "app host forgotten");
        Ok(())
    }

    /// The id of the service that an instance is announced for, if this app host may announce it.
    pub(super) fn announced_service(
        &self,
        dea: &str,
        said: &Instance,
        rule: &BackendRule,
    ) -> Result<String, Refusal> {
        rule.check(said.address())
            .map_err(|refusal| refusal.field("ip"))?;
        let host = self.app_hosts_known.of(dea);
        if host.as_ref().is_some_and(|host| !host.may_be_at(said.ip)) {
            let text = format!(
                "{dea} has no instances at {}: its file names its networks",
                said.ip
            );
            return Err(Refusal::new(RefusalKind::AddressRefused, text).field("ip"));
        }
        let port = PortRef::parse(&said.service)?;
        let may = |service: &Service| host.as_ref().is_none_or(|host| host.may_serve(service));
        let found = self.services.find_among(&port, may);
        let service = found.map_err(|refusal| refusal.field("service"))?;
        self.check_free(dea, said, &service.id)?;
        Ok(service.id.clone())
    }

    /// Refuses an entry that would oust another app host's instance, where one of the two has a file.
    fn check_free(&self, dea: &str, said: &Instance, id: &str) -> Result<(), Refusal> {
        if said.state == Readiness::Down {
            return Ok(());
        }
        let own_file = self.app_hosts_known.of(dea).is_some();
        let is_others = |backend: &&Backend| {
            let other = backend.announced.as_ref().filter(|held| held.dea != dea);
            other.is_some_and(|held| own_file || self.app_hosts_known.of(&held.dea).is_some())
        };
        let address = said.address();
        let here = self.services.get(id).into_iter().flat_map(|s| &s.backends);
        let here = here.filter(|b| b.instance == said.instance || b.address == address);
        let there = self.services.with(Mark::Announced(address));
        let there = there
            .flat_map(|s| &s.backends)
            .filter(|b| b.address == address);
        let Some(held) = here.chain(there).find(is_others) else {
            return Ok(());
        };
        let text = format!(
            "instance {} at {} is another app host's",
            held.instance, held.address
        );
        let fix = "announce another name or address, or wait for the other's withdrawal or lease";
        let refusal = Refusal::new(RefusalKind::InstanceTaken, text);
        Err(refusal.field("instance").fix(fix))
    }

    /// As many entries as this app host may have instances; the others are refused.
    pub(super) fn within_most(
        &self,
        dea: &str,
        said: &[Instance],
        extent: Extent,
    ) -> (Vec<Instance>, Vec<Refused>) {
        let Some(host) = self.app_hosts_known.of(dea) else {
            return (said.to_vec(), Vec::new());
        };
        let registered = discovery::registered(self.announced_by(dea), dea);
        let is_known = |said: &Instance| {
            let name = &said.instance;
            registered.iter().any(|entry| entry.instance == *name)
        };
        let mut left = match extent {
            Extent::All => host.instances,
            Extent::These => host.instances.saturating_sub(registered.len()),
        };
        let (mut taken, mut refused) = (Vec::new(), Vec::new());
        for said in said {
            let is_free = said.state == Readiness::Down
                || (extent == Extent::These && is_known(said))
                || left.checked_sub(1).is_some_and(|less| {
                    left = less;
                    true
                });
            match is_free {
                true => taken.push(said.clone()),
                false => {
                    let text = format!("{dea} may have {}", counted(host.instances, "instance"));
                    let refusal = Refusal::new(RefusalKind::QuotaExceeded, text).field("instances");
                    refused.push(Refused::new(said, refusal));
                }
            }
        }
        (taken, refused)
    }
}
