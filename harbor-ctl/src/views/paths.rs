//! By whom a port's clients are served, and why by more than one.

use crate::model::{FrontendReport, Service};

/// The word for PATH, and the reason where it needs one.
pub(super) fn of_port(
    service: &Service,
    own: &[&FrontendReport],
    is_unknown: bool,
) -> (String, Option<String>) {
    let Some(first) = own.iter().max_by_key(|report| report.engine.name()) else {
        return (if is_unknown { "?" } else { "-" }.to_owned(), None);
    };
    if service.ends_tls() {
        return ("proxy(tls)".to_owned(), None);
    }
    let name = first.engine.name();
    match first.gap.as_ref().filter(|_| !name.starts_with("proxy")) {
        Some(gap) => (
            format!("{name}+proxy(route)"),
            Some(format!(
                "clients behind a way that is not known are served by the proxy: {gap}"
            )),
        ),
        None => (name.to_owned(), None),
    }
}
