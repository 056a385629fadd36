//! Records of services from outside this process: a shared Redis, a file. Each is held against the
//! same rules that an operator's words are; one that breaks them is refused whole.

use std::collections::BTreeSet;

use crate::model::{
    BACKEND_LIMIT, BINDING_LIMIT, Backend, BackendRule, PortRef, PortSettings, Refusal, SETTINGS,
    Service, SettingValue, SettingValues, WEIGHT_LIMIT, check_name, check_word, parse_backend,
};

/// The longest record, in bytes: 128 backends with all that can be said of them.
pub(crate) const RECORD_LIMIT: usize = 128 * 1024;
/// The longest reason of a failing backend, in bytes.
const REASON_LIMIT: usize = 512;
/// Integers above this are not exact in every tool.
const NUMBER_LIMIT: u64 = 1 << 53;

/// Reads and checks the record kept under `id`.
pub(super) fn read(id: &str, bytes: &[u8], rule: &BackendRule) -> Result<Service, String> {
    if bytes.len() > RECORD_LIMIT {
        return Err(format!(
            "{} bytes: {RECORD_LIMIT} are the most",
            bytes.len()
        ));
    }
    let service: Service = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if service.id != id {
        return Err("it names another id".into());
    }
    check(&service, rule).map_err(|refusal| refusal.description)?;
    Ok(service)
}

/// Checks everything that its type does not.
pub(crate) fn check(service: &Service, rule: &BackendRule) -> Result<(), Refusal> {
    check_name("id", &service.id)?;
    check_name("name", &service.name)?;
    if !service.node.is_empty() {
        check_name("node", &service.node)?;
    }
    if service.port == 0 {
        return Err(Refusal::invalid("port", "port 0 is none"));
    }
    if service.revision > NUMBER_LIMIT || service.created_at > NUMBER_LIMIT {
        return Err(Refusal::invalid("revision", "a number is too large"));
    }
    check_settings(&service.settings)?;
    check_promises(service)?;
    if service.backends.len() > BACKEND_LIMIT {
        let text = format!(
            "{} backends: {BACKEND_LIMIT} are the most",
            service.backends.len()
        );
        return Err(Refusal::invalid("backends", text));
    }
    let (mut instances, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    for backend in &service.backends {
        check_backend(backend, rule)?;
        if !instances.insert(&backend.instance) || !addresses.insert(backend.address) {
            let text = format!("backend {} stands there twice", backend.instance);
            return Err(Refusal::invalid("backends", text));
        }
    }
    Ok(())
}

/// What belongs to the gateway.
fn check_promises(service: &Service) -> Result<(), Refusal> {
    if let Some(provisioned) = &service.provisioned {
        check_word("organization", &provisioned.organization)?;
        check_word("space", &provisioned.space)?;
        for (field, word) in [
            ("platform", &provisioned.platform),
            ("name", &provisioned.name),
        ] {
            if !word.is_empty() {
                check_word(field, word)?;
            }
        }
    }
    let mut ids = BTreeSet::new();
    if service.bindings.len() > BINDING_LIMIT
        || (!service.bindings.is_empty() && service.provisioned.is_none())
    {
        return Err(Refusal::invalid(
            "bindings",
            "too many bindings, or none are allowed",
        ));
    }
    for binding in &service.bindings {
        check_name("binding", &binding.id)?;
        if let Some(app) = &binding.app {
            check_word("app", app)?;
        }
        if !ids.insert(&binding.id) {
            return Err(Refusal::invalid(
                "bindings",
                format!("binding {} stands there twice", binding.id),
            ));
        }
    }
    Ok(())
}

/// Through the same door as what is typed.
fn check_settings(settings: &PortSettings) -> Result<(), Refusal> {
    let values = SETTINGS.iter().filter_map(|(key, _)| {
        let shown = settings.shown(key)?;
        Some(((*key).to_owned(), SettingValue::Text(shown)))
    });
    let defaults = PortSettings::default();
    defaults.with(&values.collect::<SettingValues>(), &defaults)?;
    Ok(())
}

fn check_backend(backend: &Backend, rule: &BackendRule) -> Result<(), Refusal> {
    check_name("instance", &backend.instance)?;
    parse_backend(&backend.address.to_string())?;
    rule.check_kind(backend.address)?;
    if !(1..=WEIGHT_LIMIT).contains(&backend.weight) {
        return Err(Refusal::invalid(
            "weight",
            format!("weight = {}", backend.weight),
        ));
    }
    if let Some(announced) = &backend.announced {
        check_name("dea", &announced.dea)?;
        PortRef::parse(&announced.service)?;
        announced
            .app
            .as_deref()
            .map_or(Ok(()), |app| check_name("app", app))?;
    }
    if let Some(failing) = &backend.failing
        && (failing.reason.len() > REASON_LIMIT || failing.reason.chars().any(char::is_control))
    {
        return Err(Refusal::invalid(
            "reason",
            "the reason is too long, or not one line",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Protocols, testing::service};

    fn good() -> Service {
        let mut web = service("web", 35_000, Protocols::Tcp);
        web.add_backend("10.0.0.1:80".parse().unwrap(), None, 1)
            .unwrap();
        web
    }

    fn verdict(change: impl FnOnce(&mut Service)) -> Result<Service, String> {
        let mut service = good();
        change(&mut service);
        let bytes = serde_json::to_vec(&service).unwrap();
        read("id-web", &bytes, &BackendRule::default())
    }

    #[test]
    fn a_good_record_is_read_as_it_was_written() {
        assert_eq!(verdict(|_| ()).unwrap(), good());
    }

    /// What is wrong, and how a record gets so.
    type Spoilt = (&'static str, Box<dyn FnOnce(&mut Service)>);

    #[test]
    fn what_no_operator_could_have_said_is_refused() {
        let at = |text: &str| text.parse().unwrap();
        let cases: [Spoilt; 12] = [
            ("another id", Box::new(|s| s.id = "other".into())),
            ("a name", Box::new(|s| s.name = "a\u{1b}[31m".into())),
            ("a node", Box::new(|s| s.node = "x y".into())),
            ("port 0", Box::new(|s| s.port = 0)),
            ("a setting", Box::new(|s| s.settings.drain_s = u32::MAX)),
            ("a revision", Box::new(|s| s.revision = u64::MAX)),
            (
                "loopback",
                Box::new(move |s| s.backends[0].address = at("127.0.0.1:80")),
            ),
            (
                "multicast",
                Box::new(move |s| s.backends[0].address = at("224.0.0.1:80")),
            ),
            (
                "link-local",
                Box::new(move |s| s.backends[0].address = at("169.254.169.254:80")),
            ),
            ("a weight", Box::new(|s| s.backends[0].weight = 0)),
            (
                "twice",
                Box::new(|s| s.backends.push(s.backends[0].clone())),
            ),
            (
                "an instance",
                Box::new(|s| s.backends[0].instance = "\n".into()),
            ),
        ];
        for (what, change) in cases {
            assert!(verdict(change).is_err(), "{what}");
        }
        let long = vec![b' '; RECORD_LIMIT + 1];
        assert!(read("id-web", &long, &BackendRule::default()).is_err());
        assert!(read("id-web", &[b'['; 10_000], &BackendRule::default()).is_err());
    }
}
