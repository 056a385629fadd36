//! Backends that take nobody and are not ejected: no engine knows of them, and whoever looks is to be told.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    model::{BackendReport, Doubt, Engine, Suspect},
    reconcile::Scope,
};

/// Why each of them is missed.
#[derive(Clone, Debug, Default)]
pub(super) struct Missed(Arc<Mutex<BTreeMap<Suspect, Doubt>>>);

impl Missed {
    pub(super) fn note(&self, suspect: &Suspect, doubt: Option<Doubt>) {
        match doubt {
            Some(doubt) => self.all().insert(*suspect, doubt),
            None => self.all().remove(suspect),
        };
    }

    /// Says so in reports of backends; of one that has none there is one more.
    pub(super) fn add_to(&self, reports: &mut Vec<BackendReport>, scope: &Scope) {
        let mut missed = self.all().clone();
        missed.retain(|suspect, _| is_in(scope, suspect));
        for report in reports.iter_mut() {
            let suspect = Suspect {
                protocol: report.protocol,
                port: report.port,
                address: report.address,
            };
            if let Some(doubt) = missed.remove(&suspect) {
                (report.is_suspect, report.doubt) = (true, Some(doubt));
            }
        }
        reports.extend(missed.into_iter().map(of));
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<Suspect, Doubt>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_in(scope: &Scope, suspect: &Suspect) -> bool {
    match scope {
        Scope::Whole => true,
        Scope::Part(keys) => keys
            .iter()
            .any(|key| (key.protocol, key.port) == (suspect.protocol, suspect.port)),
    }
}

/// One that nothing else is known of.
fn of((suspect, doubt): (Suspect, Doubt)) -> BackendReport {
    BackendReport {
        is_suspect: true,
        doubt: Some(doubt),
        ..BackendReport::blank(&suspect, Engine::Tc)
    }
}
