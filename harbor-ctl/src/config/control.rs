//! The TCP listener of the control API in the configuration, and who may use it.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::check::Check;
use crate::model::HttpLimits;

/// The TCP side of the control API: `[control]`, and the token of `[discovery]`.
#[derive(Clone, Debug, Default)]
pub(crate) struct ControlConfig {
    /// Whose members may everything by the socket: a name or a number; empty: nobody's.
    pub(crate) admin_group: String,
    /// Whose members may look.
    pub(crate) read_group: String,
    /// `None`: off.
    pub(crate) listen: Option<SocketAddr>,
    /// Whoever has this token may do everything.
    pub(crate) token_file: Option<PathBuf>,
    /// Whoever has this one may announce.
    pub(crate) announcer_token_file: Option<PathBuf>,
    /// Certificate and key.
    pub(crate) tls: Option<(PathBuf, PathBuf)>,
    /// Clients must show a certificate of this authority.
    pub(crate) client_ca: Option<PathBuf>,
    /// Whether they may have a token instead.
    pub(crate) is_certificate_optional: bool,
    /// What subjects of certificates may.
    pub(crate) subjects: Subjects,
    pub(crate) limits: HttpLimits,
    /// More names that it is asked by.
    pub(crate) hosts: Vec<String>,
}

/// Subjects of certificates, by what they may.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subjects {
    pub(crate) admin: Vec<String>,
    pub(crate) read: Vec<String>,
    pub(crate) announce: Vec<String>,
}

impl Subjects {
    fn is_empty(&self) -> bool {
        self.admin.is_empty() && self.read.is_empty() && self.announce.is_empty()
    }
}

impl Check {
    pub(super) fn control(&mut self) -> ControlConfig {
        let listen = |text: &str| match text {
            "" => Ok(None),
            text => text.parse::<SocketAddr>().map(Some).map_err(|_| {
                format!("{text:?} is not an address with a port, for example 10.0.0.1:8442")
            }),
        };
        let listen = self.read("control.listen", listen, None);
        let token_file = self.file("control.token_file");
        let announcer_token_file = self.file("discovery.token_file");
        let client_ca = self.file("control.tls_client_ca");
        let pair = (self.file("control.tls_cert"), self.file("control.tls_key"));
        if pair.0.is_some() != pair.1.is_some() {
            let text = "control.tls_cert and control.tls_key belong together".to_owned();
            self.problem(
                "control.tls_cert",
                text,
                Some("give both, or neither".into()),
            );
        }
        let tls = pair.0.zip(pair.1);
        if client_ca.is_some() && tls.is_none() {
            let text = "control.tls_client_ca needs control.tls_cert and control.tls_key";
            self.problem("control.tls_client_ca", text.to_owned(), None);
        }
        let has_hosts = self.file("discovery.hosts").is_some();
        let subjects = self.subjects(client_ca.is_some() && !has_hosts);
        let has_token = token_file.is_some() || announcer_token_file.is_some();
        let is_open = !has_token && client_ca.is_none() && !has_hosts;
        if listen.is_some() && is_open {
            let text = "control.listen would let everybody in".to_owned();
            let fix = "give control.token_file, discovery.token_file, discovery.hosts or control.tls_client_ca";
            self.problem("control.listen", text, Some(fix.into()));
        }
        let is_insecure = self.is_on("control.insecure");
        if let Some(address) = listen.filter(|_| tls.is_none() && !is_insecure)
            && !address.ip().is_loopback()
        {
            let text = format!("control.listen = \"{address}\": tokens would travel in the clear");
            let fix = "give control.tls_cert and control.tls_key, listen on 127.0.0.1, or say \
                control.insecure = true";
            self.problem("control.listen", text, Some(fix.into()));
        }
        ControlConfig {
            admin_group: self.group("control.admin_group"),
            read_group: self.group("control.read_group"),
            listen,
            token_file,
            announcer_token_file,
            tls,
            client_ca,
            is_certificate_optional: self.text("control.tls_clients") == "optional",
            subjects,
            limits: self.http_limits("control"),
            hosts: self.host_names("control.hosts"),
        }
    }

    /// What certificates are for; where nothing else is, one must be for something.
    fn subjects(&mut self, must_be: bool) -> Subjects {
        let subjects = Subjects {
            admin: self.items("control.admin_subjects"),
            read: self.items("control.read_subjects"),
            announce: self.items("control.announce_subjects"),
        };
        if must_be && subjects.is_empty() {
            let text = "control.tls_client_ca gives no right by itself".to_owned();
            let fix = "name subjects in control.admin_subjects, read_subjects or \
                announce_subjects, or app hosts in discovery.hosts";
            self.problem("control.tls_client_ca", text, Some(fix.into()));
        }
        subjects
    }

    /// What a section says of its listeners' connections.
    pub(super) fn http_limits(&mut self, section: &str) -> HttpLimits {
        let second = Duration::from_secs(1);
        let mut count = |name| self.number(&format!("{section}.{name}")) as usize;
        let (connections, connections_per_peer) =
            (count("connections"), count("connections_per_peer"));
        HttpLimits {
            header_timeout: self.period(&format!("{section}.header_timeout"), second),
            idle_timeout: self.period(&format!("{section}.idle_timeout"), second),
            connections,
            connections_per_peer,
        }
    }

    /// The name or number of a group, or nothing. Whether the system has it is seen at the start.
    fn group(&mut self, key: &str) -> String {
        let good = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        let parse = |text: &str| match text.chars().all(good) && text.len() <= 32 {
            true => Ok(text.to_owned()),
            false => Err(format!(
                "{:?} is not a group",
                text.escape_debug().to_string()
            )),
        };
        self.read(key, parse, String::new())
    }
}
