//! How commands end: the exit code, and an error that says what, where, and what to do.

use super::globals::Format;
use crate::{
    api::ErrorBody,
    config::ConfigError,
    control::ClientError,
    datapath::{DatapathError, DatapathErrorKind},
    model::{Refusal, RefusalKind, escaped},
};

/// The exit codes of the manual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Ok = 0,
    Failed = 1,
    Usage = 2,
    Unreachable = 3,
    NotFound = 4,
    Conflict = 5,
    Denied = 6,
    Degraded = 7,
    Timeout = 8,
}

impl From<Exit> for u8 {
    fn from(exit: Exit) -> Self {
        exit as Self
    }
}

/// A command that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    /// The stable word for scripts.
    kind: &'static str,
    /// First line: what is wrong; further lines: details.
    description: String,
    field: Option<String>,
    fix: Option<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, kind: &'static str, description: impl Into<String>) -> Self {
        Self {
            exit,
            kind,
            description: description.into(),
            field: None,
            fix: None,
        }
    }

    pub(crate) fn failed(description: impl Into<String>) -> Self {
        Self::new(Exit::Failed, "failed", description)
    }

    pub(crate) fn usage(description: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "invalid", description)
    }

    pub(crate) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// What is wrong, without the fix.
    pub(crate) fn description(&self) -> &str {
        &self.description
    }

    /// Whether nobody answers at the socket.
    pub(crate) fn is_unreachable(&self) -> bool {
        self.exit == Exit::Unreachable
    }

    /// The text for stderr; in JSON when data is JSON too.
    pub(crate) fn render(&self, format: Format) -> String {
        if format == Format::Json {
            let body = ErrorBody {
                error: self.kind.to_owned(),
                description: self.description.clone(),
                field: self.field.clone(),
                fix: self.fix.clone(),
                epoch: None,
            };
            // A structure of strings always serialises.
            return serde_json::to_string(&body).unwrap_or_default() + "\n";
        }
        let mut lines = self.description.lines();
        let mut text = format!("error: {}\n", escaped(lines.next().unwrap_or_default()));
        let details: Vec<(&str, &str)> = lines
            .map(|line| line.split_once(": ").unwrap_or(("", line)))
            .collect();
        if details.is_empty() {
            if let Some(fix) = &self.fix {
                text.push_str(&format!("fix:   {}\n", escaped(fix)));
            }
            return text;
        }
        let fix = self.fix.as_deref().map(|fix| ("fix", fix));
        let all: Vec<(&str, &str)> = details.into_iter().chain(fix).collect();
        // Long labels (places of configuration errors) are not worth a column.
        let labels = all
            .iter()
            .map(|(label, _)| label.len())
            .filter(|&length| length <= 12);
        let width = labels.max().unwrap_or(0) + 1;
        for (label, words) in all {
            let label = if label.is_empty() {
                String::new()
            } else {
                format!("{label}:")
            };
            text.push_str(&format!(
                "  {:width$} {}\n",
                escaped(&label),
                escaped(words)
            ));
        }
        text
    }
}

/// The exit code of a refusal.
fn exit_of(kind: RefusalKind) -> Exit {
    match kind {
        RefusalKind::Invalid
        | RefusalKind::UnknownField
        | RefusalKind::Unsupported
        | RefusalKind::Ambiguous
        | RefusalKind::PortOutOfRange
        | RefusalKind::AddressRefused
        | RefusalKind::BodyTooLarge => Exit::Usage,
        RefusalKind::Denied => Exit::Denied,
        RefusalKind::NotFound => Exit::NotFound,
        RefusalKind::NameTaken
        | RefusalKind::InstanceTaken
        | RefusalKind::PortAssigned
        | RefusalKind::PortHeld
        | RefusalKind::RangeExhausted
        | RefusalKind::QuotaExceeded
        | RefusalKind::TooManyBackends
        | RefusalKind::Conflict => Exit::Conflict,
        RefusalKind::NotReady => Exit::Degraded,
        RefusalKind::Timeout => Exit::Timeout,
        RefusalKind::Failed => Exit::Failed,
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let Refusal {
            kind,
            description,
            field,
            fix,
            ..
        } = refusal;
        Self {
            exit: exit_of(kind),
            kind: kind.name(),
            description,
            field,
            fix,
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let text = error.to_string();
        match error {
            ClientError::NoSocket(_) | ClientError::NobodyListens(_) => {
                Self::new(Exit::Unreachable, "unreachable", text).fix("systemctl start harbor")
            }
            ClientError::Denied(_) => Self::new(Exit::Denied, "denied", text)
                .fix("run it as root, or join the group: usermod -aG harbor USER"),
            ClientError::Timeout(_) => Self::new(Exit::Timeout, "timeout", text)
                .fix("give it longer with --timeout, or see: harbor-ctl status"),
            ClientError::Refused(refusal) => refusal.into(),
            ClientError::Unreachable(_) => Self::new(Exit::Unreachable, "unreachable", text)
                .fix("see that the agent runs there, with control.listen in its configuration"),
            ClientError::Transport(_) | ClientError::Local(_) => Self::failed(text),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Refusal::from(error).into()
    }
}

impl From<DatapathError> for Failure {
    fn from(error: DatapathError) -> Self {
        let exit = match error.kind {
            DatapathErrorKind::InUse | DatapathErrorKind::Foreign => Exit::Conflict,
            DatapathErrorKind::Denied => Exit::Denied,
            DatapathErrorKind::Failed => Exit::Failed,
        };
        Self {
            fix: error.fix,
            ..Self::new(exit, "datapath", error.message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_reads_as_in_the_manual() {
        let refusal = Refusal::new(
            RefusalKind::PortHeld,
            "port 35500/tcp is held by another process\nheld by: pid 4121 node, listening on \
             0.0.0.0:35500",
        )
        .fix("stop it, or let Harbor choose: harbor-ctl ports create web");
        let failure = Failure::from(refusal);
        assert_eq!(failure.exit(), Exit::Conflict);
        assert_eq!(
            failure.render(Format::Table),
            "error: port 35500/tcp is held by another process\n\
             \x20 held by: pid 4121 node, listening on 0.0.0.0:35500\n\
             \x20 fix:     stop it, or let Harbor choose: harbor-ctl ports create web\n"
        );
    }

    #[test]
    fn an_unreachable_agent_reads_as_in_the_manual() {
        let failure = Failure::from(ClientError::NoSocket("/run/harbor/harbor.sock".into()));
        assert_eq!(
            failure.render(Format::Table),
            "error: agent is not running: no socket at /run/harbor/harbor.sock\n\
             fix:   systemctl start harbor\n"
        );
        let json = failure.render(Format::Json);
        let body: ErrorBody = serde_json::from_str(&json).unwrap();
        assert_eq!(
            (body.error.as_str(), json.lines().count()),
            ("unreachable", 1)
        );
    }

    #[test]
    fn escapes_do_not_reach_the_terminal() {
        let text = Failure::failed("a\u{1b}[2J")
            .fix("b\u{7}")
            .render(Format::Table);
        assert!(
            !text.replace('\n', "").chars().any(char::is_control),
            "{text:?}"
        );
    }
}
