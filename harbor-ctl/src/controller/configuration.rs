//! Shows, sets and reloads the configuration while the agent runs.
//!
//! Keys that can change at once do; the others are named, and wait for a restart.

use super::{Controller, Pending};
use crate::{
    api::ConfigChange,
    config::{self, Applies, Config, EditError, Key, Loaded, ProxyConfig},
    forwarding::{KernelEngine, settings},
    model::{ConfigItem, EventKind, Happening, Refusal, SettingChange, Subject, Terms},
    registry::Registry,
    telemetry,
    views::facts::Unapplied,
};

/// What both engines are told of.
fn terms(config: &Config) -> (Terms, ProxyConfig) {
    (settings::terms(config), config.proxy)
}

impl<R: Registry> Controller<R> {
    /// Every value, with who said it. The files may have been edited by hand, and not been read again.
    pub(super) fn config_items(&self) -> Vec<ConfigItem> {
        let written = config::load(&self.running.source);
        config::config_items(&self.running, written.as_ref().unwrap_or(&self.written))
    }

    /// Writes a value to the file, then uses it.
    pub(super) async fn set_config(
        &mut self,
        name: &str,
        value: &str,
        seen: Option<String>,
    ) -> Result<ConfigChange, Refusal> {
        let key = config::find_key(name).ok_or_else(|| config::unknown_key(name))?;
        let (source, words) = (self.running.source.clone(), value.to_owned());
        let set = move || config::set_value_if(&source, key, &words, seen.as_deref());
        self.write_config(key, set).await
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
        self.adopt(written, Some(key)).await;
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
                self.adopt(loaded, None).await;
            }
            Err(error) => {
                tracing::error!("the configuration is wrong, nothing changed: {error}");
                let first = error.to_string();
                let first = first.lines().next().unwrap_or_default();
                self.configuration.problem = Some(first.to_owned());
            }
        }
    }

    /// `asked`: the key that somebody has asked to change, if that is why.
    async fn adopt(&mut self, written: Loaded, asked: Option<&Key>) {
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
        let are_terms_new = terms(to) != terms(from);
        to.limits = from.limits;
        to.public.clone_from(&from.public);
        to.hostname.clone_from(&from.hostname);
        to.drain = from.drain;
        to.certificates.clone_from(&from.certificates);
        to.lease = from.lease;
        to.allow_networks.clone_from(&from.allow_networks);
        to.backend_networks.clone_from(&from.backend_networks);
        let is_rule_new = to.health.all_down != from.health.all_down;
        to.health.clone_from(&from.health);
        to.log.level = from.log.level;
        let datapath_level = (to.log.datapath != from.log.datapath).then_some(from.log.datapath);
        to.log.datapath = from.log.datapath;
        (to.is_passive_on, to.is_guarded) = (from.is_passive_on, from.is_guarded);
        to.min_path_mtu = from.min_path_mtu;
        to.metrics.most_backends = from.metrics.most_backends;
        to.timeouts = from.timeouts;
        to.proxy = from.proxy;
        for key in changed.iter().filter(|key| key.applies == Applies::AtOnce) {
            if let Some(entry) = written.entries.get(&key.path()) {
                self.running.entries.insert(key.path(), entry.clone());
            }
        }
        self.tell_config(&written, asked);
        self.written = written;
        self.configuration = self.not_in_force();
        telemetry::set_level(self.running.config.log.level);
        if let (Some(level), KernelEngine::Up(forwarding)) = (datapath_level, &self.engines.kernel)
            && let Err(error) = forwarding.set_log(level).await
        {
            tracing::error!("log.datapath was not changed: {error}");
        }
        if are_terms_new && let Err(error) = self.engines.set_terms(&self.running.config).await {
            tracing::error!("the timeouts were not changed: {error}");
        }
        for port in self.snapshot().range_report().outside {
            let port = port.port;
            tracing::info!("port {port} stays valid outside the range");
        }
        if is_rule_new {
            self.pending = Pending::All;
        }
        self.apply_change().await;
    }

    fn not_in_force(&self) -> Unapplied {
        let waiting = config::changed_keys(&self.running, &self.written);
        Unapplied {
            waiting: waiting.into_iter().map(Key::path).collect(),
            problem: None,
            left_out: self.written.left_out.clone(),
        }
    }

    /// Tells which keys the files say another value for than before. Whoever has asked for one of them
    /// has not asked for the others.
    fn tell_config(&self, written: &Loaded, asked: Option<&Key>) {
        for key in config::changed_keys(&self.written, written) {
            let subject = Subject {
                key: Some(key.path()),
                ..Subject::default()
            };
            let value = |loaded: &Loaded| {
                let entry = loaded.entries.get(&key.path());
                entry.map(|entry| entry.value.plain())
            };
            let change = SettingChange::new(&key.path(), value(&self.written), value(written));
            let when = match key.applies {
                Applies::AtOnce => "changed",
                Applies::OnRestart => "changed with the next restart",
            };
            let text = match asked.is_none_or(|asked| asked.path() == key.path()) {
                true => format!("{when}: {change}"),
                false => format!("{when}, as the file was edited before: {change}"),
            };
            let happening = Happening::new(EventKind::ConfigChanged, subject, text);
            self.told.log.tell(happening.with(vec![change]));
        }
    }
}
