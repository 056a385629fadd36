//! Whether the kernel still holds what the agent wrote, and putting right what it does not.
//!
//! Nobody else writes these maps, but whoever is root can. Only a look at all of them shows it, which
//! takes about as long as a start: it is done when it is asked for.

use super::Forwarder;
use crate::{
    datapath::DatapathError,
    model::{Difference, Verification},
    reconcile::{Capacity, TableMirror, Tables as _},
};

/// Differences that are named; of more only the number is told.
const NAMED: usize = 1_000;

impl Forwarder {
    /// Compares the kernel's tables with what was written there; `repair` writes what differs anew.
    pub(super) fn verify(&mut self, repair: bool) -> Result<Verification, DatapathError> {
        // What is about to be written is no difference.
        self.reconcile()?;
        let found = self.tables.read()?;
        let mut elements = self.mirror.actual.elements();
        let mut differences = self.mirror.actual.differences(&found);
        for part in [
            self.tables.verify_turns(&self.mirror.actual, repair)?,
            self.ways.verify(&mut elements)?,
            self.interfaces.verify(&mut elements)?,
        ] {
            differences.extend(part);
        }
        let is_repaired = repair && !differences.is_empty();
        if is_repaired {
            self.mirror = TableMirror::open(found, Capacity::default());
            self.inputs.is_open = true;
            self.ways.look_again()?;
            self.interfaces.look_again()?;
            self.keep_snapshot();
            self.keep_ways();
            self.attach();
            self.reconcile()?;
            tell(&differences);
        }
        let count = differences.len() as u64;
        differences.truncate(NAMED);
        Ok(Verification {
            elements,
            count,
            differences,
            is_repaired,
            problems: self.report()?.problems,
        })
    }
}

fn tell(differences: &[Difference]) {
    let named: Vec<String> = differences.iter().take(10).map(|d| d.to_string()).collect();
    tracing::warn!(
        count = differences.len(),
        "the kernel's tables were not as they were written, and are again: {}",
        named.join("; ")
    );
}
