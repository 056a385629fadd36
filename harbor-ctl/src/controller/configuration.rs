//! Brings in force what the files of the configuration say while the agent runs.
//!
//! Keys that can change at once do; the others are named, and wait for a restart. Files are read and
//! written before anybody has the controller: [`Handle`](super::Handle) does it.

use super::{Controller, Pending};
use crate::{
    api::ConfigChange,
    config::{self, Applies, Config, ConfigError, Key, Loaded, ProxyConfig},
    forwarding::{KernelEngine, settings},
    model::{EventKind, Happening, HostRule, Refusal, SettingChange, Subject, Terms},
    registry::Registry,
    telemetry,
    views::facts::Unapplied,
};

fn first_line(error: &ConfigError) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().to_owned()
}

/// Drop-ins that are no files, in words.
pub(super) fn left_out(loaded: &Loaded) -> Vec<String> {
    let all = loaded.left_out.iter();
    all.map(|one| format!("{}: {}", one.place, one.message))
        .collect()
}

/// What both engines are told of.
fn terms(config: &Config) -> (Terms, ProxyConfig) {
    (settings::terms(config), config.proxy)
}

impl<R: Registry> Controller<R> {
    /// What is in force, and what was read of the files last.
    pub(super) fn loaded(&self) -> (Loaded, Loaded) {
        (self.running.clone(), self.written.clone())
    }

    /// Writes a value, and uses it, as a step of a change that has the controller.
    pub(super) async fn set_config(
        &mut self,
        key: &Key,
        value: &str,
    ) -> Result<ConfigChange, Refusal> {
        let (source, words) = (self.running.source.clone(), value.to_owned());
        let written = config::set_value(&source, key, &words).map_err(Refusal::from)?;
        Ok(self.use_written(written, key).await)
    }

    /// Uses what somebody has had written.
    pub(super) async fn use_written(&mut self, written: Loaded, key: &Key) -> ConfigChange {
        self.adopt(written, Some(key)).await;
        let value = self
            .written
            .entries
            .get(&key.path())
            .map(|entry| entry.value.plain());
        tracing::info!(key = key.path(), value, "configuration set");
        ConfigChange {
            key: key.path(),
            value: value.unwrap_or_default(),
            file: self.running.source.path.clone(),
            applies: match self.configuration.waiting.contains(&key.path()) {
                true => key.applies.name().to_owned(),
                // What runs already, or is used from now on.
                false => Applies::AtOnce.name().to_owned(),
            },
            outside: match key.path().as_str() {
                "ports.range" => self.snapshot().range_report().outside,
                _ => Vec::new(),
            },
        }
    }

    /// Uses what the files say now; a configuration that is wrong changes nothing.
    pub(super) async fn reload(
        &mut self,
        read: Result<Loaded, ConfigError>,
        hosts: Option<Result<Vec<HostRule>, String>>,
    ) {
        match read {
            Ok(loaded) => {
                tracing::info!("configuration read again");
                match hosts {
                    None => {}
                    Some(Ok(hosts)) => self.take_app_hosts(hosts),
                    Some(Err(text)) => {
                        tracing::error!("app hosts are as before: discovery.hosts: {text}");
                    }
                }
                self.adopt(loaded, None).await;
            }
            Err(error) => {
                tracing::error!("the configuration is wrong, nothing changed: {error}");
                let why = first_line(&error);
                let text = format!("read again and refused, what was in force stays: {why}");
                self.tell(EventKind::ConfigFailed, Subject::default(), text);
                self.configuration.problem = Some(why);
            }
        }
    }

    /// Says what is wrong with the files now; that brings nothing in force.
    pub(super) fn recheck(&mut self, read: Result<Loaded, ConfigError>) {
        let before = self.configuration.wrong();
        let found = &mut self.configuration;
        match read {
            Ok(loaded) => {
                let unread = config::changed_keys(&self.written, &loaded);
                found.unread = unread.into_iter().map(Key::path).collect();
                found.left_out = left_out(&loaded);
                found.problem = None;
            }
            Err(error) => found.problem = Some(first_line(&error)),
        }
        let wrong = self.configuration.wrong();
        if wrong == before {
            return;
        }
        let (kind, text) = match wrong {
            Some(wrong) => {
                tracing::warn!("the files of the configuration are wrong: {wrong}");
                let text = format!("the files are wrong, what was in force stays: {wrong}");
                (EventKind::ConfigFailed, text)
            }
            None => {
                let text = "nothing is wrong with the configuration any more";
                tracing::info!("{text}");
                (EventKind::ConfigHealed, text.to_owned())
            }
        };
        self.tell(kind, Subject::default(), text);
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
            unread: Vec::new(),
            unanswered: None,
            left_out: left_out(&self.written),
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
            let in_force = value(&self.running) == value(written);
            let when = match key.applies {
                Applies::AtOnce => "changed",
                Applies::OnRestart if in_force => "changed back to what is in force",
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
