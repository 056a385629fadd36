//! How people name a port: `35217`, `35217/udp`, a service's name or its id.
//!
//! One parser for every command, API path and announcement. An exact id wins, then a number, then a
//! name: whoever chooses a name takes nothing from others. Ambiguity is an answer that lists the
//! candidates, never a guess.

use std::borrow::Borrow;

use super::{
    protocol::Protocol,
    refusal::{Refusal, RefusalKind},
    service::Service,
};

/// What was typed to name a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PortRef {
    text: String,
    /// Set when the text is a number that could be a port, with the protocol if one was given.
    number: Option<(u16, Option<Protocol>)>,
}

impl PortRef {
    /// Reads any text; what names nothing is found out by [`PortRef::resolve`].
    pub(crate) fn parse(text: &str) -> Result<Self, Refusal> {
        let (head, protocol) = match text.split_once('/') {
            Some((head, "tcp")) => (head, Some(Protocol::Tcp)),
            Some((head, "udp")) => (head, Some(Protocol::Udp)),
            Some(_) => {
                let text = format!("{:?} does not name a port", shorten(text));
                return Err(Refusal::invalid("port", text)
                    .fix("use a number, NUMBER/tcp, NUMBER/udp, a service's name or its id"));
            }
            None => (text, None),
        };
        super::check_name("port", head)?;
        let digits = head.bytes().all(|b| b.is_ascii_digit());
        let number = if digits {
            head.parse().ok().filter(|&n| n != 0)
        } else {
            None
        };
        if protocol.is_some() && number.is_none() {
            let text = format!("{text:?} does not name a port: {head:?} is not a port number");
            return Err(Refusal::invalid("port", text));
        }
        Ok(Self {
            text: head.to_owned(),
            number: number.map(|n| (n, protocol)),
        })
    }

    /// The same where nobody looks whether there is such a port: a number that can be none is refused.
    pub(crate) fn of_one(text: &str) -> Result<Self, Refusal> {
        let found = Self::parse(text)?;
        let is_number = found.text.bytes().all(|b| b.is_ascii_digit());
        if is_number && found.number.is_none() {
            let text = format!("{} is no port: ports are 1 to 65535", shorten(&found.text));
            return Err(Refusal::invalid("port", text));
        }
        Ok(found)
    }

    /// The name, id or number.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The number, if it can be one.
    pub(crate) fn number(&self) -> Option<u16> {
        self.number.map(|(number, _)| number)
    }

    /// The one service that is meant.
    pub(crate) fn resolve<'a, S: Borrow<Service>>(
        &self,
        services: &'a [S],
    ) -> Result<&'a S, Refusal> {
        let found = [Self::is_id_of, Self::is_number_of, Self::is_name_of]
            .into_iter()
            .map(|is_meant| {
                let is_meant = |service: &&S| is_meant(self, (*service).borrow());
                services.iter().filter(is_meant).collect::<Vec<&S>>()
            })
            .find(|found| !found.is_empty())
            .unwrap_or_default();
        match found.as_slice() {
            [one] => Ok(one),
            [] => Err(
                Refusal::new(RefusalKind::NotFound, format!("no port {}", self.shown()))
                    .field("port")
                    .fix("harbor-ctl ports list"),
            ),
            many => {
                let mut text = format!("{} names {} ports", self.shown(), many.len());
                for service in many {
                    let Service {
                        name,
                        port,
                        protocols,
                        id,
                        ..
                    } = (*service).borrow();
                    text.push_str(&format!("\ncandidate: {port}/{protocols} {name} (id {id})"));
                }
                Err(Refusal::new(RefusalKind::Ambiguous, text)
                    .field("port")
                    .fix("name it by its id"))
            }
        }
    }

    /// Whether the service is one of those that it can mean, alone or among others.
    pub(crate) fn can_mean(&self, service: &Service) -> bool {
        self.is_id_of(service) || self.is_number_of(service) || self.is_name_of(service)
    }

    fn is_id_of(&self, service: &Service) -> bool {
        !self.has_protocol() && service.id == self.text
    }

    fn is_number_of(&self, service: &Service) -> bool {
        self.number.is_some_and(|(number, protocol)| {
            number == service.port && protocol.is_none_or(|p| service.protocols.contains(p))
        })
    }

    fn is_name_of(&self, service: &Service) -> bool {
        !self.has_protocol() && service.name == self.text
    }

    /// `35217/udp` can only be a number; bare digits may be the name of an older version's service.
    fn has_protocol(&self) -> bool {
        matches!(self.number, Some((_, Some(_))))
    }

    fn shown(&self) -> String {
        match self.number {
            Some((number, Some(protocol))) => format!("{number}/{protocol}"),
            _ => self.text.clone(),
        }
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Protocols, testing::service};

    fn found(text: &str, services: &[Service]) -> Result<String, RefusalKind> {
        let reference = PortRef::parse(text).map_err(|r| r.kind)?;
        reference
            .resolve(services)
            .map(|s| s.id.clone())
            .map_err(|r| r.kind)
    }

    #[test]
    fn a_port_is_named_by_number_protocol_name_or_id() {
        let services = [
            service("web", 35217, Protocols::Tcp),
            service("g", 35218, Protocols::Udp),
        ];
        for text in ["35217", "35217/tcp", "web", "id-web"] {
            assert_eq!(found(text, &services), Ok("id-web".into()), "{text}");
        }
        assert_eq!(found("35217/udp", &services), Err(RefusalKind::NotFound));
        assert_eq!(found("nobody", &services), Err(RefusalKind::NotFound));
    }

    #[test]
    fn both_protocols_answer_to_either() {
        let services = [service("sip", 36002, Protocols::Both)];
        for text in ["36002", "36002/tcp", "36002/udp"] {
            assert_eq!(found(text, &services), Ok("id-sip".into()));
        }
    }

    #[test]
    fn ambiguity_lists_the_candidates() {
        let services = [
            service("web", 35217, Protocols::Tcp),
            service("g", 35217, Protocols::Udp),
        ];
        let refusal = PortRef::parse("35217")
            .unwrap()
            .resolve(&services)
            .unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::Ambiguous);
        assert!(refusal.description.contains("35217/tcp web"), "{refusal}");
        assert!(refusal.description.contains("35217/udp g"), "{refusal}");
        assert_eq!(found("35217/udp", &services), Ok("id-g".into()));
    }

    #[test]
    fn no_name_wins_over_an_id_or_a_number() {
        let services = [
            service("id-x", 35000, Protocols::Tcp),
            service("35001", 35002, Protocols::Tcp),
            service("x", 35001, Protocols::Tcp),
            service("id-35001", 35003, Protocols::Tcp),
        ];
        for text in ["35001", "35001/tcp", "id-x", "x"] {
            assert_eq!(found(text, &services), Ok("id-x".into()), "{text}");
        }
        // Until the number is somebody's, the name of an older version's service still means it.
        assert_eq!(found("35001", &services[..2]), Ok("id-35001".into()));
    }

    #[test]
    fn a_name_that_two_have_is_ambiguous_and_their_ids_are_not() {
        let mut services = [
            service("db", 35000, Protocols::Tcp),
            service("db", 35001, Protocols::Tcp),
        ];
        services[1].id = "second".into();
        assert_eq!(found("db", &services), Err(RefusalKind::Ambiguous));
        assert_eq!(found("second", &services), Ok("second".into()));
    }

    #[test]
    fn nonsense_is_a_usage_error() {
        for text in [
            "",
            "a/b",
            "35217/sctp",
            "web/tcp",
            "a\nb",
            "0/tcp",
            "70000/udp",
        ] {
            assert_eq!(found(text, &[]), Err(RefusalKind::Invalid), "{text:?}");
        }
    }
}
