//! What must happen although the registry cannot record it: leases and drains end in the kernel, and
//! the record follows as soon as it can be made.

use super::Controller;
use crate::{
    model::{Refusal, Service},
    registry::{Registry, RegistryError},
};

impl<R: Registry> Controller<R> {
    /// Changes a service: durable first, if that can be had, but in force in any case.
    pub(super) async fn enforce<T>(
        &mut self,
        id: &str,
        change: impl Fn(&mut Service) -> Result<T, Refusal>,
    ) -> Result<(Service, T), Refusal> {
        let refusal = match self.record(id, &change).await {
            Err(refusal) if self.registry.condition().cannot_record() => refusal,
            done => return done,
        };
        let Some(current) = self.services.get(id) else {
            return Err(refusal);
        };
        let mut service = Service::clone(current);
        let answer = change(&mut service)?;
        tracing::warn!(id, "in force without a record: {refusal}");
        self.take_over(service.clone());
        self.unrecorded.insert(id.to_owned());
        Ok((service, answer))
    }

    /// Records what is in force without a record, if that can be done now.
    pub(super) async fn record_late(&mut self) {
        if self.unrecorded.is_empty() || self.registry.condition().cannot_record() {
            return;
        }
        for id in std::mem::take(&mut self.unrecorded) {
            let Some(service) = self.services.get(&id).cloned() else {
                continue;
            };
            let update = self.registry.update(&service);
            match self.meters.registry("update", update).await {
                Ok(recorded) => self.take_over(recorded),
                // Somebody else has changed it since, or it is gone: that is what counts.
                Err(RegistryError::Changed(_) | RegistryError::NoService(_)) => {
                    if let Err(refusal) = self.look_again().await {
                        tracing::error!("the registry was not read: {refusal}");
                    }
                }
                Err(error) => {
                    tracing::error!(id, "still without a record: {error}");
                    self.unrecorded.insert(id);
                }
            }
        }
    }

    /// Puts what is in force without a record back into services that were just read.
    pub(super) fn keep_unrecorded(&self, services: &mut [Service]) {
        for id in &self.unrecorded {
            let read = services.iter_mut().find(|service| service.id == *id);
            if let (Some(read), Some(known)) = (read, self.services.get(id))
                && read.revision == known.revision
            {
                read.clone_from(known);
            }
        }
    }
}
