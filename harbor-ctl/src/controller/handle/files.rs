//! Operations that read or write the operator's files: the configuration, files of app hosts, certificates.
//!
//! A file that does not answer keeps those waiting who asked for it. So files are read before anybody has
//! the controller, in turns that are taken before its lock and never after it.

use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;

use super::Handle;
use crate::{
    api::ConfigChange,
    config::{self, Loaded, Look},
    control::Answer,
    controller::{
        background::in_background,
        certificates::{self, Following},
    },
    model::{ConfigItem, Refusal, SettingValue, SettingValues, Tls},
    registry::Registry,
};

impl<R: Registry> Handle<R> {
    /// Waits until nobody reads or writes the file of the configuration.
    pub(super) async fn config_turn(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.config_turn).lock_owned().await
    }

    /// Every value, with who said it. The files may have been edited by hand, and not been read again.
    pub(super) async fn config_items(&self) -> Answer<Vec<ConfigItem>> {
        let (running, last) = self.lock().await.loaded();
        in_background(move || {
            let written = config::load(&running.source).unwrap_or(last);
            config::config_items(&running, &written)
        })
        .await
    }

    /// Sets a value in the file, or takes it out, then uses what the files say.
    pub(super) async fn write_config(
        &self,
        name: String,
        value: Option<String>,
        seen: Option<String>,
    ) -> Answer<ConfigChange> {
        let key = config::find_key(&name).ok_or_else(|| config::unknown_key(&name))?;
        let handle = self.clone();
        let work = async move {
            let _turn = handle.config_turn().await;
            let source = handle.lock().await.running.source.clone();
            let write = move || match value {
                Some(value) => config::set_value_if(&source, key, &value, seen.as_deref()),
                None => config::unset_value(&source, key),
            };
            let written = in_background(write).await?.map_err(Refusal::from)?;
            Ok(handle.lock().await.use_written(written, key).await)
        };
        self.to_its_end(work).await
    }

    /// Reads the configuration again, without keeping the caller.
    pub(crate) fn reload_soon(&self) {
        let handle = self.clone();
        tokio::spawn(async move {
            let _turn = handle.config_turn().await;
            let (source, folder, reading) = {
                let controller = handle.lock().await;
                let Loaded { source, config, .. } = &controller.running;
                let reading = controller.reading.begin();
                (source.clone(), config.app_hosts.clone(), reading)
            };
            let read = move || {
                let hosts = folder.map(|folder| config::read_app_hosts(&folder));
                (config::load(&source), hosts)
            };
            let read = in_background(read).await;
            drop(reading);
            match read {
                Ok((read, hosts)) => handle.lock().await.reload(read, hosts).await,
                Err(refusal) => tracing::error!("the configuration was not read: {refusal}"),
            }
        });
    }

    /// Waits for the files of the configuration, so that whoever writes them next, as a step of a change,
    /// does not wait in everybody's way.
    pub(super) async fn await_configuration(&self) -> Answer<()> {
        let source = self.lock().await.running.source.clone();
        let read = in_background(move || config::load(&source)).await?;
        read.map(drop).map_err(Refusal::from)
    }

    /// Looks whether the files of the configuration are others than they were, and what is wrong with them
    /// then; whether something still is, if something was.
    pub(in crate::controller) async fn recheck_configuration(&self, last: &mut Option<Look>) {
        let _turn = self.config_turn().await;
        let (source, reading, is_well) = {
            let controller = self.lock().await;
            let source = controller.running.source.clone();
            let is_well = controller.configuration.is_well();
            (source, controller.reading.begin(), is_well)
        };
        let before = last.clone();
        let read = move || {
            // What is written while it is read is looked at once more.
            let found = config::look(&source);
            let is_due = !is_well || before.as_ref() != Some(&found);
            (is_due.then(|| config::load(&source)), found)
        };
        let done = in_background(read).await;
        drop(reading);
        let Ok((read, found)) = done else { return };
        *last = Some(found);
        if let Some(read) = read {
            self.lock().await.recheck(read);
        }
    }

    /// Reads the certificates that a change names, so that whoever names a file that does not answer
    /// does not wait in everybody's way. What is wrong with them the change itself says.
    pub(super) async fn read_named(&self, values: &SettingValues) {
        if let Some(SettingValue::Text(text)) = values.get("tls")
            && let Ok(Tls::Files(pairs)) = text.parse()
        {
            let _ = in_background(move || certificates::load(pairs.iter()).map(drop)).await;
        }
    }

    /// Gives the proxy the certificates of this node's ports as they are now.
    pub(in crate::controller) async fn keep_certificates(&self) {
        let turn = self.certificates.turn().await;
        let following: Following = self.lock().await.following(turn);
        following.run().await;
    }
}
