//! `backends check`: every backend of a port is asked now, and nothing follows from it.

use std::{sync::Arc, time::Instant};

use crate::{
    api::{CheckBackends, CheckItem},
    control::Answer,
    controller::{Controller, handle::Handle},
    health::probe,
    model::{HealthCheck, HealthRule, PortRef, Protocol, Refusal, Service},
    registry::Registry,
};

impl<R: Registry> Handle<R> {
    /// Asks all at once, and answers in the order of the backends.
    pub(crate) async fn check(&self, request: CheckBackends) -> Answer<Vec<CheckItem>> {
        let (service, rule) = self.lock().await.to_check(&request)?;
        let asked = service.backends.iter().map(|backend| {
            let (rule, address) = (rule.clone(), backend.address);
            tokio::spawn(async move {
                let begun = Instant::now();
                let sight = probe(address, &rule).await;
                (sight, begun.elapsed())
            })
        });
        let asked: Vec<_> = asked.collect();
        let mut items = Vec::new();
        for (backend, answer) in service.backends.iter().zip(asked) {
            let (sight, took) = answer.await.map_err(|e| Refusal::failed(e.to_string()))?;
            items.push(CheckItem {
                port: service.port,
                service: service.name.clone(),
                instance: backend.instance.clone(),
                address: backend.address,
                check: rule.check.to_string(),
                result: if sight.is_ok() { "pass" } else { "fail" }.to_owned(),
                reason: sight.err().map(|fault| fault.reason),
                took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            });
        }
        Ok(items)
    }
}

impl<R: Registry> Controller<R> {
    /// The service that is meant, and how it is to be asked.
    fn to_check(&self, request: &CheckBackends) -> Answer<(Service, HealthRule)> {
        let mut service = Arc::unwrap_or_clone(self.find(&PortRef::parse(&request.port)?)?);
        let defaults = self.default_settings();
        service.settings = service.settings.with(&request.settings, &defaults)?;
        service.check_settings()?;
        let node = &self.running.config.health;
        if let Some(rule) = HealthRule::of(&service, node) {
            return Ok((service, rule));
        }
        // Nothing is probed: whether anybody listens can be asked all the same.
        service.settings.health = Some(HealthCheck::Tcp);
        if service.protocols.contains(Protocol::Tcp)
            && let Some(rule) = HealthRule::of(&service, node)
        {
            return Ok((service, rule));
        }
        let text = format!(
            "port {} has no health check, and UDP has no other",
            service.name
        );
        Err(Refusal::invalid("health", text).fix(format!(
            "harbor-ctl backends check {} health=udp:SEND/EXPECT",
            service.name
        )))
    }
}
