//! What others have changed in a shared registry, applied as it is heard.
//!
//! News names services; what is known of them is asked of the registry under the owner's lock, so
//! that old news never overwrites what this node has changed since.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::mpsc;

use super::{desk::Desk, owner::Owner};
use crate::{
    discovery::{Message, Sender},
    model::Service,
    registry::{News, Registry},
};

/// Follows for as long as there is news.
pub(super) async fn run<R: Registry>(desk: Desk<R>, mut news: mpsc::Receiver<News>) {
    while let Some(first) = news.recv().await {
        let mut owner = desk.lock().await;
        let mut next = Some(first);
        let mut ids = Vec::new();
        // What has piled up goes to the kernel in one step.
        while let Some(one) = next {
            match one {
                News::Changed(more) => ids.extend(more),
                News::Synchronised => owner.take_everything().await,
                News::Announced(words) => owner.announced(&words).await,
                News::Away => owner.tell_registry(),
                News::Back => {
                    owner.record_late().await;
                    owner.tell_registry();
                }
            }
            next = news.try_recv().ok();
        }
        owner.take_changed(ids).await;
    }
}

impl<R: Registry> Owner<R> {
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
        if by_id(&contents.services) == by_id(self.services()) {
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
