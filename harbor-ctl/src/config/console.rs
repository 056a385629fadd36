//! `[console]`: where the management console listens, and who may sign in.

use std::{net::SocketAddr, path::PathBuf};

use super::check::Check;

/// `[console]`
#[derive(Clone, Debug, Default)]
pub(crate) struct ConsoleConfig {
    /// `None`: off.
    pub(crate) listen: Option<SocketAddr>,
    /// More names that it is asked by.
    pub(crate) hosts: Vec<String>,
    /// Whoever has this token may change everything.
    pub(crate) token_file: Option<PathBuf>,
    /// Users with their roles and hashes.
    pub(crate) password_file: Option<PathBuf>,
    /// Certificate and key: its own, or the control API's.
    pub(crate) tls: Option<(PathBuf, PathBuf)>,
    /// Browsers must show a certificate of this authority.
    pub(crate) client_ca: Option<PathBuf>,
}

impl Check {
    pub(super) fn console(&mut self) -> ConsoleConfig {
        let address = |text: &str| match text {
            "" => Ok(None),
            text => text.parse::<SocketAddr>().map(Some).map_err(|_| {
                format!("{text:?} is not an address with a port, for example 127.0.0.1:9443")
            }),
        };
        let listen = self.read("console.listen", address, None);
        let (token_file, password_file) = (
            self.file("console.token_file"),
            self.file("console.password_file"),
        );
        let tls = self.console_tls();
        let client_ca = self.file("console.tls_client_ca");
        if client_ca.is_some() && tls.is_none() {
            let text = "console.tls_client_ca: without TLS nobody shows a certificate".to_owned();
            let fix = "give console.tls_cert and console.tls_key too";
            self.problem("console.tls_client_ca", text, Some(fix.into()));
        }
        if listen.is_some() && token_file.is_none() && password_file.is_none() {
            let text = "console.listen: nobody could sign in".to_owned();
            let fix = "give console.token_file or console.password_file";
            self.problem("console.listen", text, Some(fix.into()));
        }
        if let Some(address) = listen.filter(|address| tls.is_none() && !address.ip().is_loopback())
        {
            let text =
                format!("console.listen = \"{address}\": passwords would travel in the clear");
            let fix = "give console.tls_cert and console.tls_key, or listen on 127.0.0.1";
            self.problem("console.listen", text, Some(fix.into()));
        }
        ConsoleConfig {
            listen,
            hosts: self.host_names("console.hosts"),
            token_file,
            password_file,
            tls,
            client_ca,
        }
    }

    fn console_tls(&mut self) -> Option<(PathBuf, PathBuf)> {
        let own = (self.file("console.tls_cert"), self.file("console.tls_key"));
        match own {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => {
                // Whether these are paths is said where the control API is read.
                let other = |key: &str| Some(self.text(key)).filter(|text| !text.is_empty());
                let pair = other("control.tls_cert").zip(other("control.tls_key"));
                pair.map(|(certificate, key)| (certificate.into(), key.into()))
            }
            _ => {
                let text = "console.tls_cert and console.tls_key belong together".to_owned();
                let fix = Some("give both, or neither".to_owned());
                self.problem("console.tls_cert", text, fix);
                None
            }
        }
    }
}
