//! The configuration while the agent runs: shown, set, read again.
//!
//! Keys that can change at once do; the others are named, and wait for a restart.

use super::{
    engines::Link,
    owner::{Owner, Pending},
};
use crate::{
    config::{self, Applies, Config, EditError, Key, Loaded},
    control::wire::ConfigChange,
    model::{ConfigItem, EventKind, Refusal, Subject},
    registry::Registry,
    telemetry,
};

impl<R: Registry> Owner<R> {
    /// Every value, with who said it.
    pub(super) fn config_items(&self) -> Vec<ConfigItem> {
        config::config_items(&self.running, &self.written)
    }

    /// Writes a value to the file, then uses it.
    pub(super) async fn set_config(
        &mut self,
        name: &str,
        value: &str,
    ) -> Result<ConfigChange, Refusal> {
        let key = config::find_key(name).ok_or_else(|| config::unknown_key(name))?;
        let (source, words) = (self.running.source.clone(), value.to_owned());
        self.write_config(key, move || config::set_value(&source, key, &words))
            .await
    }

    /// Takes a value out of the file, then uses what decides without it.
    pub(super) async fn unset_config(&mut self, name: &str) -> Result<ConfigChange, Refusal> {
        let key = config::find_key(name).ok_or_else(|| config::unknown_key(name))?;
        let source = self.running.source.clone();
        self.write_config(key, move || config::unset_value(&source, key))
            .await
    }

    async fn write_config(
        &mut self,
        key: &Key,
        write: impl FnOnce() -> Result<Loaded, EditError> + Send + 'static,
    ) -> Result<ConfigChange, Refusal> {
        let written = tokio::task::spawn_blocking(write)
            .await
            .map_err(|error| Refusal::failed(error.to_string()))?
            .map_err(Refusal::from)?;
        self.adopt(written).await;
        let value = self
            .written
            .entries
            .get(&key.path())
            .map(|entry| entry.value.plain());
        tracing::info!(key = key.path(), value, "configuration set");
        Ok(ConfigChange {
            key: key.path(),
            value: value.unwrap_or_default(),
            file: self.running.source.path.clone(),
            applies: key.applies.name().to_owned(),
            outside: match key.path().as_str() {
                "ports.range" => self.snapshot().range_report().outside,
                _ => Vec::new(),
            },
        })
    }

    /// Reads the files again; a configuration that is wrong changes nothing.
    pub(super) async fn reload(&mut self) {
        match config::load(&self.running.source) {
            Ok(loaded) => {
                tracing::info!("configuration read again");
                if let Err(text) = self.read_app_hosts() {
                    tracing::error!("app hosts are as before: discovery.hosts: {text}");
                }
                self.adopt(loaded).await;
            }
            Err(error) => tracing::error!("the configuration is wrong, nothing changed: {error}"),
        }
    }

    async fn adopt(&mut self, written: Loaded) {
        let changed = config::changed_keys(&self.running, &written);
        for key in changed
            .iter()
            .filter(|key| key.applies == Applies::OnRestart)
        {
            tracing::warn!("{} changes with the next restart", key.path());
        }
        let (from, to) = (&written.config, &mut self.running.config);
        to.range = from.range;
        to.rest = from.rest;
        to.limits = from.limits;
        to.public.clone_from(&from.public);
        to.hostname.clone_from(&from.hostname);
        to.drain = from.drain;
        to.certificates.clone_from(&from.certificates);
        to.lease = from.lease;
        to.allow_networks.clone_from(&from.allow_networks);
        to.backend_networks.clone_from(&from.backend_networks);
        to.is_passive_on = from.is_passive_on;
        let is_rule_new = to.health.all_down != from.health.all_down;
        to.health.clone_from(&from.health);
        to.log.level = from.log.level;
        let datapath_level = (to.log.datapath != from.log.datapath).then_some(from.log.datapath);
        to.log.datapath = from.log.datapath;
        let of = |config: &Config| (config.timeouts, config.connect_timeout, config.give_up);
        let is_patience_new = of(to) != of(from);
        (to.timeouts, to.connect_timeout, to.give_up) = of(from);
        for key in changed.iter().filter(|key| key.applies == Applies::AtOnce) {
            if let Some(entry) = written.entries.get(&key.path()) {
                self.running.entries.insert(key.path(), entry.clone());
            }
        }
        self.tell_config(&written);
        self.written = written;
        telemetry::set_level(self.running.config.log.level);
        if let (Some(level), Link::Up(forwarding)) = (datapath_level, &self.engines.kernel)
            && let Err(error) = forwarding.set_log(level).await
        {
            tracing::error!("log.datapath was not changed: {error}");
        }
        if is_patience_new && let Err(error) = self.engines.set_timeouts(&self.running.config).await
        {
            tracing::error!("the timeouts were not changed: {error}");
        }
        for port in self
            .snapshot()
            .range_report()
            .outside
            .iter()
            .map(|p| p.port)
        {
            tracing::info!("port {port} stays valid outside the range");
        }
        if is_rule_new {
            self.pending = Pending::All;
        }
        self.apply_change().await;
    }

    /// Tells which keys the files say another value for than before; the values are nobody's business.
    fn tell_config(&self, written: &Loaded) {
        for key in config::changed_keys(&self.written, written) {
            let subject = Subject {
                key: Some(key.path()),
                ..Subject::default()
            };
            let text = match key.applies {
                Applies::AtOnce => format!("{} is changed", key.path()),
                Applies::OnRestart => format!("{} is changed with the next restart", key.path()),
            };
            self.tell(EventKind::ConfigChanged, subject, text);
        }
    }
}
