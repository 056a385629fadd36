//! How the backends of a service are probed: the port's settings over the node's.

use std::{fmt, str::FromStr, time::Duration};

use super::{
    health_check::{HealthCheck, StatusRange},
    protocol::Protocol,
    refusal::Refusal,
    service::Service,
};

/// `[health]`: what holds where a port says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HealthDefaults {
    pub(crate) check: HealthCheck,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) rise: u32,
    pub(crate) fall: u32,
    /// Probes a second, all ports together.
    pub(crate) rate: u32,
    pub(crate) all_down: AllDown,
}

/// What becomes of new flows when every backend of a service is failing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum AllDown {
    /// They go to the backends that are known, as if those were well.
    #[default]
    UseLast,
    Refuse,
}

impl AllDown {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::UseLast => "use-last",
            Self::Refuse => "refuse",
        }
    }
}

impl fmt::Display for AllDown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for AllDown {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = [Self::UseLast, Self::Refuse].into_iter();
        let mut found = found.filter(|choice| choice.name() == text);
        found
            .next()
            .ok_or_else(|| format!("{text:?}: use use-last or refuse"))
    }
}

/// How the backends of one service are probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HealthRule {
    pub(crate) check: HealthCheck,
    /// 0 = where the backend serves.
    pub(crate) port: u16,
    pub(crate) status: StatusRange,
    /// From the begin of a probe to the begin of the next.
    pub(crate) interval: Duration,
    /// After which a probe has failed.
    pub(crate) timeout: Duration,
    /// Passed probes in a row that end a failing backend's state.
    pub(crate) rise: u32,
    /// Failed probes in a row that begin it.
    pub(crate) fall: u32,
}

impl HealthRule {
    /// The rule of a service; `None` where nothing is probed.
    ///
    /// The node's own check holds for ports that serve what it asks for, and for no others.
    pub(crate) fn of(service: &Service, defaults: &HealthDefaults) -> Option<Self> {
        let settings = &service.settings;
        let check = match &settings.health {
            Some(check) => check.clone(),
            None if fits(&defaults.check, service, settings.health_port) => defaults.check.clone(),
            None => HealthCheck::Off,
        };
        if check == HealthCheck::Off {
            return None;
        }
        let seconds = |own: u32, default: Duration| match own {
            0 => default,
            own => Duration::from_secs(own.into()),
        };
        let count = |own: u32, default: u32| if own == 0 { default } else { own };
        Some(Self {
            check,
            port: settings.health_port,
            status: settings.health_status.clone().unwrap_or_default(),
            interval: seconds(settings.health_interval_s, defaults.interval),
            timeout: seconds(settings.health_timeout_s, defaults.timeout),
            rise: count(settings.health_rise, defaults.rise),
            fall: count(settings.health_fall, defaults.fall),
        })
    }
}

impl Service {
    /// Refuses a check that asks for a protocol which the port does not serve, as it would find every
    /// backend failing, and a status that nothing will be compared with.
    pub(crate) fn check_health(&self) -> Result<(), Refusal> {
        let settings = &self.settings;
        let Some(check) = &settings.health else {
            return Ok(());
        };
        if matches!(check, HealthCheck::Tcp | HealthCheck::Udp { .. })
            && let Some(status) = &settings.health_status
        {
            let text = format!("health_status = {status}: health = {check} knows no HTTP status");
            return Err(Refusal::invalid("health_status", text)
                .fix("health_status=none, or health=http:/PATH"));
        }
        if fits(check, self, settings.health_port) {
            return Ok(());
        }
        let (wanted, fix) = match check {
            HealthCheck::Udp { .. } => ("UDP", "health=tcp, or health_port=NUMBER"),
            _ => ("TCP", "health=udp:SEND/EXPECT, or health_port=NUMBER"),
        };
        let text = format!(
            "health = {check} asks for {wanted}, and port {} serves {} only",
            self.name, self.protocols
        );
        Err(Refusal::invalid("health", text)
            .fix(format!("{fix}, the port of the app host that answers it")))
    }
}

/// Whether the check asks for what the port serves, or for a port that was named.
fn fits(check: &HealthCheck, service: &Service, port: u16) -> bool {
    let protocol = match check {
        HealthCheck::Off => return true,
        HealthCheck::Tcp | HealthCheck::Http { .. } => Protocol::Tcp,
        HealthCheck::Udp { .. } => Protocol::Udp,
    };
    port != 0 || service.protocols.contains(protocol)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Protocols, testing::service};

    fn defaults(check: &str) -> HealthDefaults {
        HealthDefaults {
            check: check.parse().unwrap(),
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            rise: 2,
            fall: 3,
            rate: 500,
            all_down: AllDown::UseLast,
        }
    }

    #[test]
    fn a_port_is_probed_by_its_own_word_or_by_the_nodes_if_that_fits() {
        let mut web = service("web", 35000, Protocols::Tcp);
        let game = service("udp-game", 35001, Protocols::Udp);
        assert_eq!(HealthRule::of(&web, &defaults("off")), None);
        let by_node = HealthRule::of(&web, &defaults("tcp")).unwrap();
        assert_eq!((by_node.rise, by_node.fall), (2, 3));
        assert_eq!(HealthRule::of(&game, &defaults("tcp")), None);

        web.settings.health = Some(HealthCheck::Off);
        assert_eq!(HealthRule::of(&web, &defaults("tcp")), None);
        web.settings.health = Some("http:/up".parse().unwrap());
        web.settings.health_interval_s = 1;
        web.settings.health_fall = 7;
        let own = HealthRule::of(&web, &defaults("off")).unwrap();
        assert_eq!(own.interval, Duration::from_secs(1));
        assert_eq!((own.rise, own.fall), (2, 7));
    }

    #[test]
    fn a_status_needs_a_check_that_has_one() {
        let mut web = service("web", 35000, Protocols::Tcp);
        web.settings.health_status = Some("204".parse().unwrap());
        for (check, is_right) in [("off", true), ("http:/", true), ("tcp", false)] {
            web.settings.health = Some(check.parse().unwrap());
            assert_eq!(web.check_health().is_ok(), is_right, "{check}");
        }
        let refusal = web.check_health().unwrap_err();
        assert_eq!(refusal.field.as_deref(), Some("health_status"));
    }

    #[test]
    fn a_check_of_the_other_protocol_needs_a_port_by_name() {
        let mut game = service("udp-game", 35001, Protocols::Udp);
        game.settings.health = Some(HealthCheck::Tcp);
        let refusal = game.check_health().unwrap_err();
        assert_eq!(refusal.field.as_deref(), Some("health"));
        assert!(refusal.fix.unwrap().contains("health_port"));
        game.settings.health_port = 9_000;
        assert_eq!(game.check_health(), Ok(()));
        let mut both = service("both-sip", 35002, Protocols::Both);
        for check in ["tcp", "udp:x", "http:/"] {
            both.settings.health = Some(check.parse().unwrap());
            assert_eq!(both.check_health(), Ok(()));
        }
    }
}
