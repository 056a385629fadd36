//! How people name a port: `35217`, `35217/udp`, a service's name or its id.
//!
//! One parser for every command and API path. Ambiguity is an answer that lists the candidates,
//! never a guess.

use std::borrow::Borrow;

use super::{Protocol, Refusal, RefusalKind, Service};

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
        let is_meant = |service: &&S| self.matches((*service).borrow());
        let found: Vec<&S> = services.iter().filter(is_meant).collect();
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

    fn matches(&self, service: &Service) -> bool {
        let by_number = self.number.is_some_and(|(number, protocol)| {
            number == service.port && protocol.is_none_or(|p| service.protocols.contains(p))
        });
        // `35217/udp` can only be a number; bare digits may also be somebody's service name.
        let named = !matches!(self.number, Some((_, Some(_))));
        by_number || (named && (service.name == self.text || service.id == self.text))
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
    fn a_service_named_like_another_ones_number_is_ambiguous() {
        let services = [
            service("35001", 35000, Protocols::Tcp),
            service("x", 35001, Protocols::Tcp),
        ];
        assert_eq!(found("35001", &services), Err(RefusalKind::Ambiguous));
        assert_eq!(found("35001/tcp", &services), Ok("id-x".into()));
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
