//! Programs that tell of packets stand in for the others while somebody traces.

use super::Forwarder;
use crate::{
    datapath::{DatapathError, Options, TraceLoad, TraceReader},
    model::Tracing,
};

impl Forwarder {
    /// Has the programs tell of packets; one reader at a time.
    pub(super) fn trace(&mut self, tracing: Tracing) -> Result<TraceReader, DatapathError> {
        if self.tracing.as_ref().is_some_and(TraceLoad::is_read) {
            return Err(DatapathError::with_fix(
                "somebody traces already, and one may at a time",
                "try again when that trace has ended",
            ));
        }
        self.replace(&Options {
            tracing: Some(tracing),
            ..self.settings.options()
        })?;
        let load = self.tracing.insert(TraceLoad::default());
        Ok(load.reader(self.datapath.take_traces()?))
    }

    /// Puts the programs back that tell of nothing, once nobody reads any more: whoever asked may have
    /// gone before he was answered.
    pub(super) fn end_unread_trace(&mut self) {
        if self.tracing.as_ref().is_some_and(|load| !load.is_read()) {
            self.end_trace();
        }
    }

    pub(super) fn end_trace(&mut self) {
        if self.tracing.is_some()
            && let Err(error) = self.replace(&self.settings.options())
        {
            tracing::error!("the programs go on telling of packets: {error}");
        }
    }

    /// Loads the programs anew and puts them in the place of those that are attached. A trace ends.
    pub(super) fn replace(&mut self, options: &Options) -> Result<(), DatapathError> {
        self.datapath.reload(options)?;
        self.tracing = None;
        self.attached.clear();
        self.xdp.forget();
        self.attach();
        Ok(())
    }
}
