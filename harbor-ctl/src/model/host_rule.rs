//! What one app host may: the contents of its file in `[discovery].hosts`.

use std::net::IpAddr;

use ipnet::IpNet;

use super::service::Service;

/// One app host and what it may announce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostRule {
    /// Its name, which nobody else speaks for.
    pub(crate) dea: String,
    /// SHA-256 of its token.
    pub(crate) token_sha256: Option<[u8; 32]>,
    /// The subject of its certificate.
    pub(crate) subject: Option<String>,
    /// Where its instances may be; empty: wherever backends may be.
    pub(crate) networks: Vec<IpNet>,
    /// Which services it may serve, by id or name, with `*` for any text; empty: all.
    pub(crate) services: Vec<String>,
    /// The most instances at once.
    pub(crate) instances: usize,
}

impl HostRule {
    pub(crate) fn may_be_at(&self, ip: IpAddr) -> bool {
        self.networks.is_empty() || self.networks.iter().any(|network| network.contains(&ip))
    }

    pub(crate) fn may_serve(&self, service: &Service) -> bool {
        let is_meant =
            |pattern: &String| matches(pattern, &service.id) || matches(pattern, &service.name);
        self.services.is_empty() || self.services.iter().any(is_meant)
    }

    /// Whether it proves who it is: by a token or a certificate.
    pub(crate) fn proves_itself(&self) -> bool {
        self.token_sha256.is_some() || self.subject.is_some()
    }
}

/// Whether a text is as the pattern says: `*` stands for any characters, also none.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut left) = text.strip_prefix(head) else {
        return false;
    };
    let parts: Vec<&str> = rest.split('*').collect();
    let (last, middle) = parts.split_last().unwrap_or((&"", &[]));
    for part in middle {
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    left.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Protocols, testing::service};

    #[test]
    fn patterns_are_of_whole_names_and_ids() {
        for (pattern, text, is_it) in [
            ("web", "web", true),
            ("web", "web2", false),
            ("web*", "web", true),
            ("web*", "web2", true),
            ("*web", "my-web", true),
            ("*web", "web2", false),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "acb", false),
            ("*", "", true),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches(pattern, text), is_it, "{pattern} {text}");
        }
        let rule = HostRule {
            dea: "d".into(),
            token_sha256: None,
            subject: None,
            networks: vec!["10.0.0.0/24".parse().unwrap()],
            services: vec!["id-w*".into(), "db".into()],
            instances: 1,
        };
        let may = |name| rule.may_serve(&service(name, 1, Protocols::Tcp));
        assert!(may("web") && may("db") && !may("mail"));
        assert!(rule.may_be_at([10, 0, 0, 9].into()) && !rule.may_be_at([10, 0, 1, 9].into()));
        assert!(!rule.proves_itself());
    }
}
