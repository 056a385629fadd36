//! Creates, changes and deletes ports and their backends.

use super::{Controller, allocate::Placed, services::Mark};
use crate::{
    api::{AddBackend, CreatePort, DeletedPort, NameBackend},
    model::{
        Backend, Departure, Lifetime, PortRef, PortSettings, Protocols, Refusal, RefusalKind, Seen,
        Service, SettingValues, check_name, check_not_a_number, now, parse_backend,
    },
    registry::Registry,
};

impl<R: Registry> Controller<R> {
    /// Creates a service with its port; answers its id.
    pub(super) async fn create_port(&mut self, request: CreatePort) -> Result<String, Refusal> {
        let service = self.new_service(&request)?;
        self.check_quota(None)?;
        match self.allocate(service, request.port).await? {
            Placed::New(service) | Placed::Known(service) => Ok(service.id),
        }
    }

    fn new_service(&self, request: &CreatePort) -> Result<Service, Refusal> {
        let name = &request.name;
        check_name("name", name)?;
        check_not_a_number("name", name)?;
        if let Some(other) = self.services.with(Mark::Name(name.clone())).next() {
            let text = format!(
                "a port named {name} exists: {}/{}",
                other.port, other.protocols
            );
            return Err(Refusal::new(RefusalKind::NameTaken, text)
                .field("name")
                .fix(format!(
                    "choose another name, or see: harbor-ctl ports show {name}"
                )));
        }
        let created_at = now();
        let defaults = self.default_settings();
        let lifetime = request
            .lifetime
            .as_deref()
            .map(Lifetime::parse)
            .transpose()?;
        let mut service = Service {
            id: uuid::Uuid::new_v4().to_string(),
            name: name.clone(),
            port: 0,
            protocols: request
                .protocol
                .unwrap_or_else(|| Protocols::from_service_name(name)),
            settings: defaults.with(&request.settings, &defaults)?,
            draining: false,
            created_at,
            node: self.node(),
            pool: self.pool_for(request.pool.as_deref())?,
            revision: 0,
            backends: Vec::new(),
            provisioned: None,
            bindings: Vec::new(),
            expires_at: lifetime.and_then(|lifetime| lifetime.ends(created_at)),
        };
        service.check_settings()?;
        self.check_certificates(&service)?;
        let rule = self.backend_rule();
        for text in &request.backends {
            let address = parse_backend(text)?;
            rule.check(address)?;
            service.add_backend(address, None, created_at)?;
        }
        Ok(service)
    }

    /// What a port has that nobody set anything for.
    pub(super) fn default_settings(&self) -> PortSettings {
        let drain = self.running.config.drain.as_secs();
        PortSettings {
            drain_s: u32::try_from(drain).unwrap_or(u32::MAX),
            ..PortSettings::default()
        }
    }

    pub(super) async fn set_port(
        &mut self,
        port: &PortRef,
        mut values: SettingValues,
        seen: &Seen,
    ) -> Result<String, Refusal> {
        let (defaults, time) = (self.default_settings(), now());
        let lifetime = Lifetime::take(&mut values)?;
        let pool = self.take_pool(&mut values)?;
        if values.contains_key("tls") {
            let mut wanted = Service::clone(&*self.find(port)?);
            wanted.settings = wanted.settings.with(&values, &defaults)?;
            self.check_certificates(&wanted)?;
        }
        let set = |service: &mut Service| {
            seen.check(&service.settings)?;
            service.settings = service.settings.with(&values, &defaults)?;
            if let Some(pool) = &pool {
                service.pool.clone_from(pool);
            }
            if let Some(lifetime) = lifetime {
                service.expires_at = lifetime.ends(time);
            }
            service.check_settings()
        };
        self.amend_port(port, set, "port set").await
    }

    pub(super) async fn drain_port(
        &mut self,
        port: &PortRef,
        draining: bool,
    ) -> Result<String, Refusal> {
        let drain = |service: &mut Service| {
            service.draining = draining;
            Ok(())
        };
        let what = match draining {
            true => "port drains",
            false => "port resumed",
        };
        self.amend_port(port, drain, what).await
    }

    async fn amend_port(
        &mut self,
        port: &PortRef,
        change: impl Fn(&mut Service) -> Result<(), Refusal>,
        what: &str,
    ) -> Result<String, Refusal> {
        let id = self.find(port)?.id.clone();
        let (service, ()) = self.amend(&id, change).await?;
        let Service { id, name, port, .. } = service;
        tracing::info!(id, name, port, "{what}");
        Ok(id)
    }

    /// Ends a port and its flows; the number rests.
    pub(super) async fn delete_port(&mut self, port: &PortRef) -> Result<DeletedPort, Refusal> {
        let service = self.find(port)?;
        self.end_service(service).await
    }

    pub(super) async fn add_backend(
        &mut self,
        request: AddBackend,
    ) -> Result<(Service, Backend), Refusal> {
        let id = self.find(&PortRef::parse(&request.port)?)?.id.clone();
        let address = parse_backend(&request.address)?;
        self.backend_rule().check(address)?;
        if let Some(instance) = &request.instance {
            check_name("instance", instance)?;
        }
        let add = |service: &mut Service| {
            let added = service.add_backend(address, request.instance.as_deref(), now())?;
            match request.weight {
                Some(weight) => service.weigh_backend(address, weight),
                None => Ok(added),
            }
        };
        self.amend_backend(&id, add, "backend added").await
    }

    pub(super) async fn remove_backend(
        &mut self,
        request: NameBackend,
    ) -> Result<(Service, Backend), Refusal> {
        let id = self.find(&PortRef::parse(&request.port)?)?.id.clone();
        let remove = |service: &mut Service| {
            let departure = match request.now {
                true => Departure::Now,
                false => Departure::after(service.settings.drain_s, now()),
            };
            service.remove_backend(&request.backend, departure)
        };
        self.amend_backend(&id, remove, "backend removed").await
    }

    pub(super) async fn drain_backend(
        &mut self,
        request: NameBackend,
    ) -> Result<(Service, Backend), Refusal> {
        if request.now {
            let text = "drain ends no flows: `now` belongs to remove";
            return Err(Refusal::invalid("now", text));
        }
        let id = self.find(&PortRef::parse(&request.port)?)?.id.clone();
        let drain = |service: &mut Service| service.drain_backend(&request.backend);
        self.amend_backend(&id, drain, "backend drains").await
    }

    async fn amend_backend(
        &mut self,
        id: &str,
        change: impl Fn(&mut Service) -> Result<Backend, Refusal>,
        what: &str,
    ) -> Result<(Service, Backend), Refusal> {
        let (service, backend) = self.amend(id, change).await?;
        let (name, port, instance) = (&service.name, service.port, &backend.instance);
        tracing::info!(name, port, instance, address = %backend.address, "{what}");
        Ok((service, backend))
    }
}
