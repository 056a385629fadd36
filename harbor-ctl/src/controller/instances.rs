//! The platform API's changes, one at a time: instances are services, and bindings part of their
//! records.

use std::{collections::BTreeSet, sync::Arc};

use super::{Controller, allocate::Placed, error::refused};
use crate::{
    gateway::{Bound, Instance, Novelty, Parameters, PemPair, ProvisionRequest, Update},
    model::{
        BINDING_LIMIT, Binding, Credentials, Plan, Provisioned, Refusal, RefusalKind, Service, Tls,
        check_not_a_number, name_from, next_int_port, now,
    },
    registry::Registry,
};

/// How often a number is given again because another node was as fast.
const SETTLE_TRIES: usize = 8;

impl<R: Registry> Controller<R> {
    /// Makes an instance, or finds that it is made; one that differs is refused.
    pub(super) async fn provision(
        &mut self,
        id: String,
        order: ProvisionRequest,
    ) -> Result<Novelty, Refusal> {
        let provisioned = self.promise(&order);
        if let Some(known) = self.services.get(&id) {
            return same(known, &provisioned);
        }
        self.check_quota(Some((&order.organization, &order.space)))?;
        let mut service = self.instance_of(id, (&order, provisioned.clone()))?;
        if let Some(pair) = &order.parameters.pem {
            service.settings.tls = self.take_certificate(&service, pair)?;
        }
        let (port, id) = (order.parameters.port, service.id.clone());
        let placed = self.allocate(service, port).await;
        if !matches!(placed, Ok(Placed::New(_))) {
            self.forget_given(&id, None);
        }
        match placed? {
            Placed::New(_) => Ok(Novelty::New),
            // Another node was asked for the same, and was faster.
            Placed::Known(known) => same(&known, &provisioned),
        }
    }

    fn promise(&self, order: &ProvisionRequest) -> Provisioned {
        let given = order.parameters.given.clone();
        Provisioned {
            plan: order.plan,
            organization: order.organization.clone(),
            space: order.space.clone(),
            platform: order.platform.clone(),
            name: order.name.clone(),
            asked: given.clone(),
            parameters: given,
            place: self.place(),
        }
    }

    fn instance_of(
        &self,
        id: String,
        (order, provisioned): (&ProvisionRequest, Provisioned),
    ) -> Result<Service, Refusal> {
        check_not_a_number("instance_id", &id)?;
        check_not_a_number("context.instance_name", &order.name)?;
        let (defaults, created_at) = (self.default_settings(), now());
        let lifetime = order.parameters.lifetime;
        let mut service = Service {
            name: name_from(&order.name, &id),
            id,
            port: 0,
            protocols: order.plan.protocols(&order.name),
            settings: defaults.with(&order.parameters.settings, &defaults)?,
            draining: false,
            created_at,
            node: self.node(),
            pool: self.pool_for(None)?,
            revision: 0,
            backends: Vec::new(),
            provisioned: Some(provisioned),
            bindings: Vec::new(),
            expires_at: lifetime.and_then(|lifetime| lifetime.ends(created_at)),
        };
        if order.plan == Plan::Https && service.settings.tls == Tls::ByName {
            service.settings.tls = Tls::On;
        }
        service.check_settings()?;
        Ok(service)
    }

    /// Keeps a certificate that a platform gave, if it can be used.
    fn take_certificate(&self, service: &Service, pair: &PemPair) -> Result<Tls, Refusal> {
        if !self.serves(service) {
            let text = format!("tls: node {} serves the port", service.node);
            return Err(Refusal::invalid("tls", text).fix("ask the gateway of that node"));
        }
        let before = match &service.settings.tls {
            Tls::Files(files) => files.first(),
            _ => None,
        };
        let files = self.keep_given(&service.id, pair)?;
        let mut wanted = service.clone();
        wanted.settings.tls = Tls::Files(vec![files]);
        let checked = wanted
            .check_settings()
            .and_then(|()| self.check_certificates(&wanted));
        if let Err(refusal) = checked {
            self.forget_given(&service.id, before);
            // The names of the files are nobody's business but the node's.
            let reason = refusal.description.rsplit(": ").next().unwrap_or_default();
            return Err(Refusal::invalid("tls", format!("tls: {reason}")));
        }
        Ok(wanted.settings.tls)
    }

    /// Looks at a shared registry again when it is not known what a request is about: another node
    /// may just have made it, and who is told that it is gone never asks again.
    async fn look_for(&mut self, id: &str, binding: Option<&str>) -> Result<(), Refusal> {
        let own = self.services.get(id);
        let has = |service: &Service, name: &str| service.bindings.iter().any(|b| b.id == name);
        if !R::IS_SHARED || own.is_some_and(|service| binding.is_none_or(|name| has(service, name)))
        {
            return Ok(());
        }
        self.look_again().await?;
        self.apply_change().await;
        Ok(())
    }

    /// The instance with this id, if a platform asked for it.
    fn instance_named(&self, id: &str) -> Result<(&Arc<Service>, &Provisioned), Refusal> {
        let service = self.services.get(id);
        let found = service.and_then(|s| Some((s, s.provisioned.as_ref()?)));
        let unknown = || Refusal::new(RefusalKind::NotFound, "no instance with this id");
        found.ok_or_else(|| self.perhaps_nameless(unknown()))
    }

    pub(super) fn instance(&self, id: &str) -> Result<Instance, Refusal> {
        let (_, provisioned) = self.instance_named(id)?;
        Ok(Instance {
            plan: provisioned.plan,
            parameters: Parameters::kept(provisioned.parameters.clone())?,
        })
    }

    /// Changes parameters: what is not named stays.
    pub(super) async fn update_instance(
        &mut self,
        id: &str,
        update: Update,
    ) -> Result<(), Refusal> {
        self.look_for(id, None).await?;
        let (service, provisioned) = self.instance_named(id)?;
        if update.plan.is_some_and(|plan| plan != provisioned.plan) {
            let text = format!(
                "plan_id: an instance of plan {} stays one",
                provisioned.plan
            );
            return Err(Refusal::new(RefusalKind::Conflict, text).field("plan_id"));
        }
        let Parameters {
            given,
            port,
            lifetime,
            settings,
            pem,
        } = update.parameters;
        if port.is_some_and(|port| port != service.port) {
            let text = format!("port: it is {}, and cannot be changed", service.port);
            return Err(Refusal::invalid("port", text));
        }
        let certificate = match &pem {
            Some(pair) => Some(self.take_certificate(service, pair)?),
            None => None,
        };
        let (plan, defaults, time) = (provisioned.plan, self.default_settings(), now());
        let change = |service: &mut Service| {
            service.settings = service.settings.with(&settings, &defaults)?;
            if let Some(tls) = &certificate {
                service.settings.tls = tls.clone();
            }
            if plan == Plan::Https && service.settings.tls == Tls::ByName {
                service.settings.tls = Tls::On;
            }
            service.check_settings()?;
            if let Some(lifetime) = lifetime {
                service.expires_at = lifetime.ends(time);
            }
            if let Some(provisioned) = &mut service.provisioned {
                provisioned.parameters.extend(given.clone());
            }
            Ok(())
        };
        let (service, ()) = self.amend(id, change).await?;
        let used = match &service.settings.tls {
            Tls::Files(files) => files.first(),
            _ => None,
        };
        self.forget_given(id, used);
        tracing::info!(id, "instance updated");
        Ok(())
    }

    /// Ends an instance with all its bindings.
    pub(super) async fn deprovision(&mut self, id: &str, plan: Plan) -> Result<(), Refusal> {
        self.look_for(id, None).await?;
        let (service, provisioned) = self.instance_named(id)?;
        check_same_plan(provisioned, plan)?;
        let service = service.clone();
        self.end_service(service).await?;
        Ok(())
    }

    /// Makes a binding, or finds that it is made; one that differs is refused.
    pub(super) async fn bind(
        &mut self,
        (id, binding): (String, String),
        plan: Plan,
        app: Option<String>,
    ) -> Result<(Novelty, Bound), Refusal> {
        self.look_for(&id, None).await?;
        let (service, provisioned) = self.instance_named(&id)?;
        check_same_plan(provisioned, plan)?;
        if let Some(known) = service.bindings.iter().find(|known| known.id == binding) {
            if known.app != app {
                let text = format!("binding {binding} exists, for another app");
                return Err(Refusal::new(RefusalKind::InstanceTaken, text));
            }
            return Ok((Novelty::Known, self.bound(&id, &binding)?));
        }
        let others = self.services.iter().filter(|service| service.id != id);
        let others: Vec<Binding> = others.flat_map(|s| &s.bindings).cloned().collect();
        let created_at = now();
        let add = |service: &mut Service| {
            if service.bindings.iter().any(|known| known.id == binding) {
                return Err(Refusal::new(
                    RefusalKind::InstanceTaken,
                    "the binding exists",
                ));
            }
            if service.bindings.len() >= BINDING_LIMIT {
                let text = format!("{BINDING_LIMIT} bindings of one instance are the most");
                return Err(Refusal::new(RefusalKind::QuotaExceeded, text));
            }
            // Of the record as it is now: another node may just have bound the same app.
            let all = others.iter().chain(&service.bindings);
            let full = || Refusal::new(RefusalKind::Conflict, "no number is left to listen on");
            let int_port = next_int_port(all, app.as_deref()).ok_or_else(full)?;
            service.bindings.push(Binding {
                id: binding.clone(),
                app: app.clone(),
                int_port,
                created_at,
            });
            Ok(int_port)
        };
        self.amend(&id, add).await?;
        let int_port = self.settle(&id, &binding).await?;
        tracing::info!(id, binding, int_port, "bound");
        Ok((Novelty::New, self.bound(&id, &binding)?))
    }

    /// Gives a new binding another number for as long as another node has given the same one to the
    /// same app at the same time. Whoever sees that moves, because the other may have been told
    /// already; each to a number of its own. Answers the number.
    async fn settle(&mut self, id: &str, binding: &str) -> Result<u16, Refusal> {
        let gone = || Refusal::new(RefusalKind::NotFound, "the binding was deleted meanwhile");
        for _ in 0..SETTLE_TRIES {
            let (service, _) = self.instance_named(id)?;
            let mut own = service.bindings.iter();
            let own = own
                .find(|known| known.id == binding)
                .cloned()
                .ok_or_else(gone)?;
            if !R::IS_SHARED || own.app.is_none() {
                return Ok(own.int_port);
            }
            let contents = self
                .registry
                .load()
                .await
                .map_err(|error| refused(&error))?;
            let each = contents.services.iter();
            let all = each.flat_map(|s| s.bindings.iter().map(move |b| (s.id.as_str(), b)));
            let is_other = |(of, b): &(&str, &Binding)| (*of, b.id.as_str()) != (id, binding);
            let others: Vec<_> = all
                .filter(|(_, b)| b.app == own.app)
                .filter(is_other)
                .collect();
            let mut same = others.iter().filter(|(_, b)| b.int_port == own.int_port);
            let Some((of, b)) = same.next() else {
                return Ok(own.int_port);
            };
            let is_first = (id, binding) < (*of, b.id.as_str());
            let taken: BTreeSet<u16> = others.iter().map(|(_, b)| b.int_port).collect();
            let mut free = (own.int_port..=u16::MAX).filter(|port| !taken.contains(port));
            let next = free.nth(usize::from(!is_first));
            let full = || Refusal::new(RefusalKind::Conflict, "no number is left to listen on");
            let next = next.ok_or_else(full)?;
            let change = |service: &mut Service| {
                let mut own = service.bindings.iter_mut();
                let own = own.find(|known| known.id == binding).ok_or_else(gone)?;
                own.int_port = next;
                Ok(())
            };
            self.amend(id, change).await?;
        }
        let text = "others bind this app all the time";
        Err(Refusal::new(RefusalKind::Conflict, text).fix("try again"))
    }

    /// A binding with its credentials as they are now.
    pub(super) fn bound(&self, id: &str, binding: &str) -> Result<Bound, Refusal> {
        let (service, provisioned) = self.instance_named(id)?;
        let found = service.bindings.iter().find(|known| known.id == binding);
        let gone = || Refusal::new(RefusalKind::NotFound, "no binding with this id");
        Ok(Bound {
            plan: provisioned.plan,
            credentials: self.credentials(service, found.ok_or_else(gone)?),
            protocols: service.protocols,
        })
    }

    /// What a binding is told.
    pub(super) fn credentials(&self, service: &Service, binding: &Binding) -> Credentials {
        let promised = service.provisioned.as_ref().map(|p| p.place.clone());
        let place = match self.serves(service) {
            true => self.place(),
            false => promised.unwrap_or_default(),
        };
        let node = match service.node.as_str() {
            "" => &self.running.config.node,
            node => node,
        };
        Credentials::of(service, binding, (place, node))
    }

    pub(super) async fn unbind(
        &mut self,
        (id, binding): (&str, &str),
        plan: Plan,
    ) -> Result<(), Refusal> {
        self.look_for(id, Some(binding)).await?;
        let (_, provisioned) = self.instance_named(id)?;
        check_same_plan(provisioned, plan)?;
        self.bound(id, binding)?;
        let remove = |service: &mut Service| {
            service.bindings.retain(|known| known.id != binding);
            Ok(())
        };
        self.amend(id, remove).await?;
        tracing::info!(id, binding, "unbound");
        Ok(())
    }
}

/// An id that exists: the same request again, or a conflict.
fn same(known: &Service, asked: &Provisioned) -> Result<Novelty, Refusal> {
    match &known.provisioned {
        Some(provisioned) if provisioned.is_asked_by(asked) => Ok(Novelty::Known),
        _ => {
            let text = "an instance with this id exists, with other attributes";
            Err(Refusal::new(RefusalKind::InstanceTaken, text).field("instance_id"))
        }
    }
}

fn check_same_plan(provisioned: &Provisioned, plan: Plan) -> Result<(), Refusal> {
    if provisioned.plan == plan {
        return Ok(());
    }
    let text = format!("plan_id: the instance is of plan {}", provisioned.plan);
    Err(Refusal::invalid("plan_id", text))
}
