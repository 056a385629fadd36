//! The registry's verbs, each one script; what was acknowledged is known and kept at once.

use std::{path::Path, time::Duration};

use tokio::sync::mpsc;

use super::{
    super::{Contents, Quota, Registry, RegistryError, Rests, embedded::whole, now},
    Engine, RedisRegistry,
    answers::{self, half},
    connection::Fault,
    follower,
};
use crate::model::{AppHost, BackendRule, NodeRecord, Pool, Pools, Service, Spoken};
use crate::registry::watch::{Claim, Condition, InKernel, News};

/// Whether a service was there before it was changed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    New,
    Known,
}

impl Engine {
    /// Runs the script of a change.
    async fn change<T: redis::FromRedisValue>(
        &self,
        script: &redis::Script,
        words: &[String],
    ) -> Result<T, RegistryError> {
        self.gate()?;
        self.run(script, words, 1)
            .await
            .inspect_err(|error| self.note(error))
    }

    /// A change that was not answered: the registry is away, for everybody.
    pub(super) fn note(&self, error: &RegistryError) {
        if let RegistryError::Away(reason) = error {
            self.be_away(reason);
        }
    }

    /// Knows what was acknowledged, unless the stream was faster and knows better.
    async fn record(&self, service: Service, before: Before) -> Service {
        {
            let mut memory = self.memory();
            memory.own_changes += 1;
            let is_older = match memory.state.known.get(&service.id) {
                Some(known) => known.revision > service.revision,
                // Somebody has removed it since.
                None => before == Before::Known,
            };
            if !is_older {
                memory.state.take(&service.id, Ok(service.clone()));
            }
        }
        self.keep(std::slice::from_ref(&service.id)).await;
        service
    }

    async fn allocate(&self, service: &Service, rests: Rests) -> Result<Service, RegistryError> {
        self.gate()?;
        let mut service = service.clone();
        service.revision = 1;
        let rests = match rests {
            Rests::Respected => "respected",
            Rests::Ended => "ended",
        };
        let mut words = vec![service.id.clone(), text(&service)?, rests.to_owned()];
        words.extend(self.quota(&service));
        words.extend(answers::halves(&service));
        let answer: Result<Vec<u8>, Fault> = self.ask(&self.scripts.allocate, &words, 1).await;
        let recorded = match answer {
            Ok(bytes) => self.with_rules(|rules| answers::recorded(&service.id, &bytes, rules)),
            Err(fault) => Err(fault),
        };
        match recorded {
            Ok(recorded) => Ok(self.record(recorded, Before::New).await),
            Err(fault) if fault.code == "TAKEN" => {
                let number = half(fault.text.trim_start_matches("TAKEN ").trim());
                let (protocol, port) =
                    number.unwrap_or((service.protocols.each()[0], service.port));
                Err(RegistryError::NumberTaken { protocol, port })
            }
            Err(fault) if fault.code == "QUOTA" => {
                let key = fault.text.trim_start_matches("QUOTA ").trim().to_owned();
                Err(RegistryError::QuotaReached(key))
            }
            // It is there, and says why it does not; it is not away.
            Err(fault) if fault.code == "YOUNG" => Err(RegistryError::Away(fault.text)),
            Err(fault) => Err(self.failed(fault)).inspect_err(|error| self.note(error)),
        }
    }

    /// The quota in the script's words: three limits, and what a record of the same organization, and
    /// of the same space, contains.
    fn quota(&self, service: &Service) -> [String; 5] {
        let quota = self.memory().quota;
        let needle = |name: &str, value: &str| {
            let value = serde_json::to_string(value).unwrap_or_default();
            format!("\"{name}\":{value}")
        };
        let of = service.provisioned.as_ref();
        [
            quota.ports.to_string(),
            quota.ports_per_organization.to_string(),
            quota.ports_per_space.to_string(),
            of.map_or_else(String::new, |p| needle("organization", &p.organization)),
            of.map_or_else(String::new, |p| needle("space", &p.space)),
        ]
    }

    async fn update(&self, service: &Service) -> Result<Service, RegistryError> {
        self.gate()?;
        let mut service = service.clone();
        let seen = service.revision;
        service.revision = seen + 1;
        let words = [service.id.clone(), text(&service)?, seen.to_string()];
        match self.ask::<i64>(&self.scripts.update, &words, 1).await {
            Ok(_) => Ok(self.record(service, Before::Known).await),
            Err(fault) if fault.code == "MISSING" => Err(RegistryError::NoService(service.id)),
            Err(fault) if fault.code == "CHANGED" => Err(RegistryError::Changed(service.id)),
            Err(fault) => Err(self.failed(fault)).inspect_err(|error| self.note(error)),
        }
    }

    async fn release(&self, id: &str, rest: Duration) -> Result<(), RegistryError> {
        let halves = self
            .memory()
            .state
            .known
            .get(id)
            .map(answers::halves)
            .unwrap_or_default();
        let mut words = vec![id.to_owned(), rest.as_secs().to_string()];
        words.extend(halves);
        self.change::<i64>(&self.scripts.release, &words).await?;
        let mut touched = vec![id.to_owned()];
        {
            let mut memory = self.memory();
            memory.own_changes += 1;
            let (_, oldest) = memory.state.delete(id);
            touched.extend(oldest);
        }
        self.keep(&touched).await;
        Ok(())
    }

    /// Takes this node's services out of the registry, and forgets it.
    async fn take_out(&self) -> Result<(), RegistryError> {
        let own = {
            let memory = self.memory();
            let state = &memory.state;
            // What other nodes of a pool serve is theirs too.
            let is_alone = |service: &Service| {
                let pool = state.pools.get(&service.pool);
                pool.is_none_or(|pool| pool.members().len() == 1)
            };
            let own = state.own(&self.node).into_iter();
            own.filter(is_alone).collect::<Vec<_>>()
        };
        for service in own {
            let mut words = vec![service.id.clone(), "0".to_owned()];
            words.extend(answers::halves(&service));
            self.run::<i64>(&self.scripts.release, &words, 1).await?;
        }
        let words = [self.node.clone()];
        let forgotten = self.run::<i64>(&self.scripts.forget_node, &words, 1).await;
        forgotten.map(drop)
    }
}

impl Registry for RedisRegistry {
    const IS_SHARED: bool = true;

    async fn load(&self) -> Result<Contents, RegistryError> {
        // While it is away the last good state is what there is.
        if self.0.reach().is_ok() {
            self.0
                .synchronise()
                .await
                .inspect_err(|error| self.0.note(error))?;
        }
        Ok(self.0.contents())
    }

    async fn allocate(&self, service: &Service, rests: Rests) -> Result<Service, RegistryError> {
        self.0.allocate(service, rests).await
    }

    async fn update(&self, service: &Service) -> Result<Service, RegistryError> {
        self.0.update(service).await
    }

    async fn release(&self, id: &str, rest: Duration) -> Result<(), RegistryError> {
        self.0.release(id, rest).await
    }

    async fn end_rests(&self) -> Result<(), RegistryError> {
        self.0
            .change::<i64>(&self.0.scripts.rests, &[])
            .await
            .map(drop)
    }

    async fn limit_rests(&self, latest: u64) -> Result<(), RegistryError> {
        let words = [latest.saturating_sub(now()).to_string()];
        self.0
            .change::<i64>(&self.0.scripts.rests, &words)
            .await
            .map(drop)
    }

    async fn app_hosts(&self) -> Result<Vec<AppHost>, RegistryError> {
        // One that is fenced may look, and ends what is over: in the kernel, if not on record.
        match self.0.gate() {
            Ok(()) | Err(RegistryError::Fenced(_)) => {}
            Err(error) => return Err(error),
        }
        let rows = self.0.run(&self.0.scripts.app_hosts, &[], 1).await;
        rows.map(answers::app_hosts)
            .inspect_err(|error| self.0.note(error))
    }

    async fn heard(
        &self,
        dea: &str,
        spoken: Spoken,
        lease: Option<Duration>,
    ) -> Result<(), RegistryError> {
        // Of one width, so that the order of texts is that of numbers, however large.
        let spoken = format!("{:020}:{:020}", spoken.epoch, spoken.seq);
        let lease = lease
            .map(|lease| lease.as_millis().to_string())
            .unwrap_or_default();
        let words = [dea.to_owned(), spoken, lease];
        self.0
            .change::<i64>(&self.0.scripts.heard, &words)
            .await
            .map(drop)
    }

    async fn forget_app_host(&self, dea: &str) -> Result<(), RegistryError> {
        let words = [dea.to_owned()];
        self.0
            .change::<i64>(&self.0.scripts.forget_app_host, &words)
            .await
            .map(drop)
    }

    async fn import(&self, services: &[Service]) -> Result<(), RegistryError> {
        self.0.reach()?;
        {
            // Whoever brings a deleted service back by hand means it.
            let deleted = &mut self.0.memory().state.deleted;
            for service in services {
                deleted.shift_remove(&service.id);
            }
        }
        let failed = self.0.place("all", services).await?;
        if !failed.is_empty() {
            return Err(RegistryError::NotPlaced(failed));
        }
        self.0.synchronise().await
    }

    async fn backup(&self, to: &Path) -> Result<(), RegistryError> {
        // In the embedded engine's format: a copy stands for itself, without a Redis.
        let (contents, to) = (self.0.contents(), to.to_owned());
        tokio::task::spawn_blocking(move || whole::write_copy(&to, &contents, &[]))
            .await
            .map_err(|error| RegistryError::Engine(error.into()))?
    }

    fn follow(&self) -> mpsc::Receiver<News> {
        follower::start(&self.0)
    }

    fn known(&self, id: &str) -> Option<Service> {
        self.0.memory().state.known.get(id).cloned()
    }

    fn current(&self) -> Option<Contents> {
        Some(self.0.contents())
    }

    fn condition(&self) -> Condition {
        self.0.condition()
    }

    fn is_new(&self) -> bool {
        self.0.memory().is_undecided
    }

    async fn hold(&self, found: InKernel) -> Result<(), RegistryError> {
        self.0.hold(found).await;
        Ok(())
    }

    fn keep_to(&self, quota: Quota) {
        self.0.memory().quota = quota;
    }

    fn obey(&self, rule: BackendRule) {
        self.0.memory().rule = rule;
    }

    async fn confirm(&self) -> Result<usize, RegistryError> {
        self.0.reach()?;
        let gone = self.0.memory().state.confirm();
        self.0.keep(&gone).await;
        let count = gone.len() + self.0.let_go().await;
        self.0.tell(News::Changed(gone));
        Ok(count)
    }

    fn pools(&self) -> Pools {
        self.0.memory().state.pools.clone()
    }

    async fn put_pool(&self, pool: &Pool) -> Result<Pool, RegistryError> {
        self.0.put_pool(pool, false).await
    }

    async fn remove_pool(&self, pool: &Pool) -> Result<(), RegistryError> {
        self.0.put_pool(pool, true).await.map(drop)
    }

    fn keeps(&self, pool: &str) -> bool {
        self.0.memory().kept_pools.contains(pool)
    }

    fn say_of_shares(&self, said: Vec<(String, Claim)>) {
        self.0.memory().said = said;
    }

    async fn claims(
        &self,
        asked: &[(String, String)],
    ) -> Result<Vec<Option<Claim>>, RegistryError> {
        self.0.claims(asked).await
    }

    async fn nodes(&self) -> Result<Vec<NodeRecord>, RegistryError> {
        let rows = self.0.run(&self.0.scripts.nodes, &[], 1).await?;
        let mut nodes = answers::nodes(rows);
        nodes.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(nodes)
    }

    async fn drain_node(&self, id: &str, is_drained: bool) -> Result<bool, RegistryError> {
        let words = [id.to_owned(), u8::from(is_drained).to_string()];
        Ok(self
            .0
            .change::<i64>(&self.0.scripts.drain_node, &words)
            .await?
            == 1)
    }

    async fn leave(&self) -> Result<(), RegistryError> {
        self.0.gate()?;
        // From here on nothing is followed: what is taken out here is to be served on.
        self.0.memory().has_left = true;
        self.0
            .take_out()
            .await
            .inspect_err(|_| self.0.memory().has_left = false)
    }

    async fn audit(&self) -> Result<Vec<String>, RegistryError> {
        self.0.audit().await
    }

    async fn forget_node(&self, id: &str) -> Result<(), RegistryError> {
        let words = [id.to_owned()];
        self.0
            .change::<i64>(&self.0.scripts.forget_node, &words)
            .await
            .map(drop)
    }

    fn describe(&self) -> String {
        self.0.describe()
    }
}

fn text(service: &Service) -> Result<String, RegistryError> {
    serde_json::to_string(service).map_err(|error| RegistryError::Engine(error.into()))
}
