//! What others have changed in a shared registry, applied as it is heard.
//!
//! News names services; what is known of them is asked of the registry under the controller's lock, so
//! that old news never overwrites what this node has changed since.

use std::{collections::BTreeMap, sync::Arc};

use super::{Controller, handle::Handle};
use crate::{
    discovery::{Message, Sender},
    model::Service,
    registry::{News, Registry},
};

/// Follows for as long as there is news.
pub(crate) async fn run<R: Registry>(handle: Handle<R>) {
    let mut news = handle.lock().await.registry.follow();
    while let Some(first) = news.recv().await {
        let mut controller = handle.lock().await;
        let mut next = Some(first);
        let mut ids = Vec::new();
        // What has piled up goes to the kernel in one step.
        while let Some(one) = next {
            match one {
                News::Changed(more) => ids.extend(more),
                News::Synchronised => controller.take_everything().await,
                News::Announced(words) => controller.announced(&words).await,
                News::Away => controller.tell_registry(),
                News::Back => {
                    controller.record_late().await;
                    controller.tell_registry();
                }
            }
            next = news.try_recv().ok();
        }
        controller.take_changed(ids).await;
    }
}

impl<R: Registry> Controller<R> {
    /// Takes these services over as the registry knows them now.
    async fn take_changed(&mut self, ids: Vec<String>) {
        let mut concerns_us = false;
        for id in ids {
            let before = self.services.get(&id).cloned();
            let now = self.registry.known(&id).map(Arc::new);
            if before == now {
                continue;
            }
            let both = before.iter().chain(&now);
            concerns_us |= both.into_iter().any(|service| self.serves(service));
            match now {
                Some(service) => self.take_over(Arc::unwrap_or_clone(service)),
                None => self.forget(&id),
            }
        }
        self.keep_health();
        match concerns_us {
            true => self.apply_change().await,
            false => self.tell_changes(),
        }
    }

    /// Takes everything over, if it differs.
    async fn take_everything(&mut self) {
        let Some(contents) = self.registry.current() else {
            return;
        };
        // The registry has again what it lacked: the kernel is changed as before.
        let was_alone = self.leaves_kernel_alone;
        self.follow_decision();
        let is_same = contents.pools == self.pools && was_alone == self.leaves_kernel_alone;
        if is_same && by_id(&contents.services) == by_id(self.services()) {
            self.resting = contents.resting;
            return;
        }
        self.take_all(contents);
        self.apply_change().await;
    }

    /// What an app host says over the registry. Every node hears it, and whoever is first takes it
    /// over; nobody is answered.
    async fn announced(&mut self, words: &str) {
        match Message::parse(words.as_bytes()) {
            // What is refused was told where it was found, once.
            Ok(message) => match self.hear(message, Sender::Registry).await {
                Ok(_) => {}
                Err(refusal) => tracing::debug!("an announcement is refused: {refusal}"),
            },
            Err(refusal) => tracing::warn!("an announcement is no document: {refusal}"),
        }
    }
}

/// In no order, to be compared.
fn by_id<'a>(services: impl IntoIterator<Item = &'a Service>) -> BTreeMap<&'a str, &'a Service> {
    let each = services.into_iter();
    each.map(|service| (service.id.as_str(), service)).collect()
}
