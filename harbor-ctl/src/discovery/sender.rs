//! Who speaks, and for whom: an app host with a file in `[discovery].hosts` has its name for itself.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::model::{HostRule, Refusal, RefusalKind};

/// Who has sent a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// Whoever may everything.
    Admin,
    /// Whoever has the one token of all app hosts.
    Announcer,
    /// The app host of this name, by its own token or certificate.
    Host(String),
    /// Whoever may write to the Redis that nodes share.
    Registry,
}

/// By their names.
type Hosts = BTreeMap<String, Arc<HostRule>>;

/// App hosts that have a file. Without any, all are one domain of trust.
#[derive(Clone, Debug, Default)]
pub(crate) struct KnownHosts(Arc<RwLock<Option<Hosts>>>);

impl KnownHosts {
    /// From now on these; the ones before are no more.
    pub(crate) fn set(&self, hosts: Vec<HostRule>) {
        let by_name = hosts
            .into_iter()
            .map(|host| (host.dea.clone(), Arc::new(host)));
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(by_name.collect());
    }

    /// What an app host may, if it has a file.
    pub(crate) fn of(&self, dea: &str) -> Option<Arc<HostRule>> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.as_ref()?.get(dea).cloned()
    }

    /// The app host that has this token.
    pub(crate) fn by_token(&self, token: &str) -> Option<Sender> {
        let given: [u8; 32] = Sha256::digest(token).into();
        self.find(|host| {
            let own = host.token_sha256.as_ref();
            own.is_some_and(|own| bool::from(own.ct_eq(&given)))
        })
    }

    /// The app host whose certificate has this subject.
    pub(crate) fn by_subject(&self, subject: &str) -> Option<Sender> {
        self.find(|host| host.subject.as_deref() == Some(subject))
    }

    fn find(&self, is_it: impl Fn(&HostRule) -> bool) -> Option<Sender> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let found = known.as_ref()?.values().find(|host| is_it(host))?;
        Some(Sender::Host(found.dea.clone()))
    }

    fn is_on(&self) -> bool {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.is_some()
    }

    /// Refuses whoever speaks for somebody else.
    pub(crate) fn check(&self, dea: &str, sender: &Sender) -> Result<(), Refusal> {
        let rule = self.of(dea);
        let may = match (sender, &rule) {
            _ if !self.is_on() => true,
            (Sender::Admin, _) => true,
            (Sender::Host(own), _) => own == dea,
            // Everybody who has no file is in one domain of trust.
            (Sender::Announcer, rule) => rule.is_none(),
            // Redis does not say who writes.
            (Sender::Registry, rule) => rule.as_ref().is_some_and(|rule| !rule.proves_itself()),
        };
        match may {
            true => Ok(()),
            false => Err(Refusal::new(
                RefusalKind::Denied,
                format!("whoever speaks for {dea} does not prove to be it"),
            )
            .field("dea")
            .fix("use the token or certificate of its own file in discovery.hosts")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(dea: &str, token: Option<&str>) -> HostRule {
        HostRule {
            dea: dea.into(),
            token_sha256: token.map(|token| Sha256::digest(token).into()),
            subject: token.map(|_| format!("CN={dea}")),
            networks: Vec::new(),
            services: Vec::new(),
            instances: 1,
        }
    }

    #[test]
    fn a_name_with_a_file_is_its_own() {
        let hosts = KnownHosts::default();
        assert!(
            hosts.check("a", &Sender::Registry).is_ok(),
            "one domain of trust"
        );
        hosts.set(vec![host("a", Some("token-a")), host("b", None)]);
        let a = Sender::Host("a".into());
        assert_eq!(hosts.by_token("token-a"), Some(a.clone()));
        assert_eq!(hosts.by_subject("CN=a"), Some(a.clone()));
        assert_eq!(
            (hosts.by_token("x"), hosts.by_subject("CN=b")),
            (None, None)
        );
        for (dea, sender, may) in [
            ("a", &a, true),
            ("b", &a, false),
            ("c", &a, false),
            ("a", &Sender::Announcer, false),
            ("b", &Sender::Announcer, false),
            ("c", &Sender::Announcer, true),
            ("a", &Sender::Registry, false),
            ("b", &Sender::Registry, true),
            ("c", &Sender::Registry, false),
            ("a", &Sender::Admin, true),
        ] {
            assert_eq!(hosts.check(dea, sender).is_ok(), may, "{dea} {sender:?}");
        }
    }
}
