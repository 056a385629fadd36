//! Whom a request was meant for: a browser can be made to ask a server that its user never named.
//!
//! A page of `evil.example` whose name is made to lead to this node sends that name as `Host` (DNS
//! rebinding), and a page anywhere sends its own `Origin`. TLS refuses the first by itself.

use std::net::IpAddr;

use axum::http::{HeaderMap, Uri, header};

/// Names, in lower case, that a listener is asked by; one may begin with `*.`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names(Vec<String>);

impl Names {
    pub(crate) fn new(names: impl IntoIterator<Item = String>) -> Self {
        let names = names.into_iter().map(|name| name.to_ascii_lowercase());
        Self(names.filter(|name| !name.is_empty()).collect())
    }

    pub(crate) fn with(mut self, more: &[String]) -> Self {
        self.0.extend_from_slice(more);
        self
    }

    /// An address cannot be rebound; a name must be ours.
    fn has(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let address = host.trim_start_matches('[').trim_end_matches(']');
        let parent = host.split_once('.').map(|(_, parent)| parent);
        let is_own = |name: &String| match name.strip_prefix("*.") {
            Some(of) => parent == Some(of),
            None => *name == host,
        };
        address.parse::<IpAddr>().is_ok() || host == "localhost" || self.0.iter().any(is_own)
    }
}

/// Why a request was meant for somebody else, if it was; `names` where there is no TLS.
pub(crate) fn misdirected(
    asked: (&Uri, &HeaderMap),
    names: Option<&Names>,
) -> Option<&'static str> {
    if let Some(why) = names.and_then(|names| names_another(asked, names)) {
        return Some(why);
    }
    let (host, origin) = (host(asked), text(asked.1, header::ORIGIN)?);
    let own = match (origin.split_once("://"), names) {
        // A page that came without TLS may have been written by anybody on the way.
        (Some((scheme, _)), None) if scheme != "https" => None,
        (own, _) => own.map(|(_, rest)| rest),
    };
    let is_own = own.is_some_and(|own| host.is_some_and(|host| host.eq_ignore_ascii_case(own)));
    (!is_own).then_some("the header Origin names another server")
}

/// Why a request was meant for somebody else, by the name that it was sent to.
pub(crate) fn names_another(asked: (&Uri, &HeaderMap), names: &Names) -> Option<&'static str> {
    let is_own = host(asked).is_none_or(|host| names.has(without_port(host)));
    (!is_own).then_some("the header Host names another server")
}

fn host<'a>((uri, headers): (&'a Uri, &'a HeaderMap)) -> Option<&'a str> {
    let authority = uri.authority().map(|authority| authority.as_str());
    authority.or_else(|| text(headers, header::HOST))
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_ours(host: Option<&str>, origin: Option<&str>, names: Option<&Names>) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in [(header::HOST, host), (header::ORIGIN, origin)] {
            headers.extend(value.map(|value| (name, value.parse().unwrap())));
        }
        misdirected((&Uri::from_static("/v1/ports"), &headers), names).is_none()
    }

    #[test]
    fn a_name_of_a_certificate_may_stand_for_many() {
        let names = Names::default().with(&["*.example.org".to_owned()]);
        for (host, is_ours) in [
            ("node.example.org", true),
            ("NODE.example.org.", true),
            ("example.org", false),
            ("a.node.example.org", false),
            ("node.example.org.evil", false),
        ] {
            assert_eq!(names.has(host), is_ours, "{host}");
        }
    }

    #[test]
    fn what_a_browser_was_made_to_ask_is_refused() {
        let names = Names::new(["Node.Example".to_owned(), String::new()]);
        for host in [
            None,
            Some("10.0.0.1:8442"),
            Some("[2001:db8::1]:8442"),
            Some("[::1]"),
            Some("localhost:8442"),
            Some("node.example"),
            Some("NODE.example.:8442"),
        ] {
            assert!(is_ours(host, None, Some(&names)), "{host:?}");
        }
        for host in [
            "evil.example:8442",
            "node.example.evil",
            "",
            "10.0.0.1.nip.io",
        ] {
            assert!(!is_ours(Some(host), None, Some(&names)), "{host}");
            assert!(
                is_ours(Some(host), None, None),
                "TLS has seen to it: {host}"
            );
        }
        let host = Some("10.0.0.1:8442");
        assert!(is_ours(host, Some("http://10.0.0.1:8442"), Some(&names)));
        assert!(is_ours(host, Some("https://10.0.0.1:8442"), Some(&names)));
        assert!(is_ours(host, Some("https://10.0.0.1:8442"), None));
        assert!(!is_ours(host, Some("http://10.0.0.1:8442"), None));
        for origin in [
            "null",
            "https://evil.example",
            "http://10.0.0.1",
            "http://10.0.0.1:1",
        ] {
            assert!(!is_ours(host, Some(origin), Some(&names)), "{origin}");
            assert!(!is_ours(host, Some(origin), None), "{origin}");
        }
    }
}
