//! Operations of platforms, and what operators may ask about platforms.

use tokio::sync::OwnedMutexGuard;

use super::Handle;
use crate::{
    api::BindingItem,
    control::{self, BindingOperations, Operations as _},
    controller::Controller,
    gateway::{Answer, Bound, Broker, Instance, Novelty, ProvisionRequest, Update},
    model::{Happening, Plan, Refusal, RefusalKind, Service},
    registry::Registry,
};

type Held<R> = OwnedMutexGuard<Controller<R>>;

impl<R: Registry> Broker for Handle<R> {
    fn note(&self, happening: Happening) {
        self.events().tell(happening);
    }

    async fn provision(&self, id: String, order: ProvisionRequest) -> Answer<Novelty> {
        self.change(
            move |mut controller: Held<R>| async move { controller.provision(id, order).await },
        )
        .await
    }

    async fn instance(&self, id: String) -> Answer<Instance> {
        self.lock().await.instance(&id)
    }

    async fn update(&self, id: String, update: Update) -> Answer<()> {
        let change = move |mut controller: Held<R>| async move {
            controller.update_instance(&id, update).await
        };
        self.change(change).await?;
        self.settled().await;
        Ok(())
    }

    async fn deprovision(&self, id: String, plan: Plan) -> Answer<()> {
        self.change(move |mut controller: Held<R>| async move {
            controller.deprovision(&id, plan).await
        })
        .await
    }

    async fn bind(
        &self,
        names: (String, String),
        plan: Plan,
        app: Option<String>,
    ) -> Answer<(Novelty, Bound)> {
        self.change(move |mut controller: Held<R>| async move {
            controller.bind(names, plan, app).await
        })
        .await
    }

    async fn bound(&self, (id, binding): (String, String)) -> Answer<Bound> {
        self.lock().await.bound(&id, &binding)
    }

    async fn unbind(&self, (id, binding): (String, String), plan: Plan) -> Answer<()> {
        let change = move |mut controller: Held<R>| async move {
            controller.unbind((&id, &binding), plan).await
        };
        self.change(change).await
    }
}

impl<R: Registry> BindingOperations for Handle<R> {
    async fn bindings(&self) -> control::Answer<Vec<BindingItem>> {
        let controller = self.lock().await;
        let items = |service: &Service| controller.binding_items(service);
        Ok(controller.services().flat_map(items).collect())
    }

    async fn binding(&self, id: String) -> control::Answer<BindingItem> {
        let mut found = self.bindings().await?;
        found.retain(|item| item.id == id);
        match found.len() {
            1 => Ok(found.remove(0)),
            0 => Err(
                Refusal::new(RefusalKind::NotFound, format!("no binding {id:?}"))
                    .field("binding")
                    .fix("harbor-ctl bindings list"),
            ),
            many => {
                let mut text = format!("{id:?} names {many} bindings");
                for item in &found {
                    text.push_str(&format!("\ncandidate: of instance {}", item.instance));
                }
                Err(Refusal::new(RefusalKind::Ambiguous, text).field("binding"))
            }
        }
    }
}

impl<R: Registry> Controller<R> {
    fn binding_items(&self, service: &Service) -> Vec<BindingItem> {
        let item = |binding: &crate::model::Binding| BindingItem {
            id: binding.id.clone(),
            instance: service.id.clone(),
            service: service.name.clone(),
            app: binding.app.clone(),
            created_at: binding.created_at,
            credentials: self.credentials(service, binding),
        };
        service.bindings.iter().map(item).collect()
    }
}
