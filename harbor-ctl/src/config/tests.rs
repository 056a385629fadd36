//! What operators write, right and wrong.

use std::path::Path;

use super::*;

fn source(environment: &[(&str, &str)], flags: &[&str]) -> Source {
    Source {
        path: "/nowhere/harbor.toml".into(),
        must_exist: true,
        environment: environment
            .iter()
            .map(|(n, v)| ((*n).into(), (*v).into()))
            .collect(),
        flags: flags.iter().map(|f| (*f).into()).collect(),
    }
}

fn problems(text: &str) -> Vec<Problem> {
    load_text(&source(&[], &[]), text).unwrap_err().problems
}

#[test]
fn the_defaults_serve_a_single_node() {
    let loaded = load_text(&source(&[], &[]), "").unwrap();
    assert_eq!(loaded.config.range.to_string(), "35000-40000");
    assert_eq!(loaded.config.timeouts.tcp_established.as_secs(), 7_440);
    assert_eq!(
        loaded.config.paths.socket(),
        Path::new("/run/harbor/harbor.sock")
    );
    assert!(
        loaded
            .entries
            .values()
            .all(|entry| entry.origin == Origin::Default)
    );
    assert_eq!(loaded.entries.len(), KEYS.len());
}

#[test]
fn all_errors_come_at_once_with_line_and_column() {
    let found = problems(
        "[ports]\nrnage = \"1-2\"\nrest = 60\n\n[prots]\n\n[log]\nlevel = \"loud\"\n  keep = 0\n",
    );
    let places: Vec<&str> = found.iter().map(|p| p.place.as_str()).collect();
    assert!(places.contains(&"/nowhere/harbor.toml:2:1"), "{found:#?}");
    assert!(places.contains(&"/nowhere/harbor.toml:3:8"), "{found:#?}");
    assert!(places.contains(&"/nowhere/harbor.toml:5:2"), "{found:#?}");
    assert!(places.contains(&"/nowhere/harbor.toml:8:9"), "{found:#?}");
    assert!(places.contains(&"/nowhere/harbor.toml:9:10"), "{found:#?}");
    assert_eq!(found.len(), 5);
    assert!(
        found
            .iter()
            .any(|p| p.fix.as_deref().is_some_and(|f| f.contains("range")))
    );
    assert!(
        found
            .iter()
            .any(|p| p.fix.as_deref().is_some_and(|f| f.contains("[ports]")))
    );
}

#[test]
fn a_syntax_error_has_its_place() {
    let found = problems("[ports]\nrange = \n");
    assert!(
        found[0].place.starts_with("/nowhere/harbor.toml:2:"),
        "{found:?}"
    );
}

#[test]
fn a_registry_is_read_whole_and_a_password_in_its_address_is_not_repeated() {
    let found = problems("[registry]\nurl = \"redis://u:secret@core\"\ncluster = \"a b\"\n");
    let text: String = found
        .iter()
        .map(|problem| problem.message.as_str())
        .collect();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(text.contains("registry.password_file") && text.contains("registry.cluster"));
    assert!(!text.contains("secret"), "{text}");
    let found = problems("[registry]\nca_file = \"x.pem\"\ntimeout = \"1ms\"\n");
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn what_this_version_lacks_is_refused_by_name() {
    let found = problems("[datapath]\nmode = \"dpdk\"\n");
    assert_eq!(found.len(), 1, "{found:?}");
    for words in ["datapath.mode", "this version does not have"] {
        assert!(found[0].message.contains(words), "{found:?}");
    }
}

#[test]
fn a_control_api_by_tcp_must_ask_who_comes() {
    let refused = [
        ("listen = \"10.0.0.1:8442\"\n", "would let everybody in"),
        (
            "listen = \"10.0.0.1\"\ntoken_file = \"/t\"\n",
            "not an address with a port",
        ),
        (
            "listen = \"10.0.0.1:8442\"\ntoken_file = \"/t\"\n",
            "tokens would travel in the clear",
        ),
        ("tls_cert = \"/c\"\n", "belong together"),
        ("tls_client_ca = \"/c\"\n", "needs control.tls_cert"),
        ("token_file = \"t\"\n", "not an absolute path"),
    ];
    for (lines, words) in refused {
        let found = problems(&format!("[control]\n{lines}"));
        assert!(found.iter().any(|p| p.message.contains(words)), "{found:?}");
    }
    for way in [
        "listen = \"10.0.0.1:8442\"\ninsecure = true\n",
        "listen = \"[::1]:8442\"\n",
        "listen = \"10.0.0.1:8442\"\ntls_cert = \"/c\"\ntls_key = \"/k\"\n",
    ] {
        let text = format!("[control]\n{way}[discovery]\ntoken_file = \"/t\"\n");
        let loaded = load_text(&source(&[], &[]), &text).unwrap();
        let control = loaded.config.control;
        assert!(control.token_file.is_none() && control.announcer_token_file.is_some());
    }
}

#[test]
fn a_gateway_is_off_without_a_password_and_needs_tls_beyond_this_machine() {
    let loaded = load_text(&source(&[], &[]), "[gateway]\nlisten = \"10.0.0.1:1\"\n").unwrap();
    assert_eq!(loaded.config.gateway, None);
    let on = "[gateway]\npassword_file = \"/p\"\n";
    let loaded = load_text(&source(&[], &[]), on).unwrap();
    let gateway = loaded.config.gateway.unwrap();
    assert!(gateway.listen.ip().is_loopback() && gateway.tls.is_none());
    for (lines, words) in [
        ("listen = \"10.0.0.1:8443\"\n", "in the clear"),
        ("listen = \"[::]:8443\"\n", "in the clear"),
        ("listen = \"8443\"\n", "not an address with a port"),
        ("tls_key = \"/k\"\n", "belong together"),
        ("user = \"a:b\"\n", "may not"),
    ] {
        let found = problems(&format!("{on}{lines}"));
        assert!(
            found.iter().any(|p| p.message.contains(words)),
            "{lines}: {found:?}"
        );
    }
    let tls = "listen = \"10.0.0.1:8443\"\ntls_cert = \"/c\"\ntls_key = \"/k\"\n";
    assert!(load_text(&source(&[], &[]), &format!("{on}{tls}")).is_ok());
}

#[test]
fn a_console_is_off_by_default_asks_who_comes_and_needs_tls_beyond_this_machine() {
    let loaded = load_text(&source(&[], &[]), "").unwrap();
    assert!(loaded.config.console.listen.is_none());
    let users = "[console]\npassword_file = \"/p\"\n";
    for (lines, words) in [
        ("listen = \"10.0.0.1:9443\"\n", "in the clear"),
        ("listen = \"[::]:9443\"\n", "in the clear"),
        ("listen = \"9443\"\n", "not an address with a port"),
        ("tls_key = \"/k\"\n", "belong together"),
        ("tls_client_ca = \"/a\"\n", "without TLS nobody"),
    ] {
        let found = problems(&format!("{users}{lines}"));
        let mut messages = found.iter().map(|p| &p.message);
        assert!(messages.any(|m| m.contains(words)), "{lines}: {found:?}");
    }
    let found = problems("[console]\nlisten = \"127.0.0.1:9443\"\n");
    assert!(
        found[0].message.contains("nobody could sign in"),
        "{found:?}"
    );
    let own = "listen = \"10.0.0.1:9443\"\ntls_cert = \"/c\"\ntls_key = \"/k\"\n";
    let shared = "listen = \"[::]:9443\"\n[control]\ntls_cert = \"/c\"\ntls_key = \"/k\"\n";
    for lines in ["listen = \"[::1]:9443\"\n", own, shared] {
        let loaded = load_text(&source(&[], &[]), &format!("{users}{lines}"));
        assert!(loaded.is_ok(), "{lines}: {loaded:?}");
    }
}

#[test]
fn default_values_of_missing_capabilities_are_accepted() {
    let text = "[datapath]\nmode = \"tc\"\n[registry]\nurl = \"embedded\"\n[gateway]\nlisten = \
                \"127.0.0.1:8443\"\n[control]\nlisten = \"\"\n[metrics]\nlisten = \"\"\n";
    assert!(load_text(&source(&[], &[]), text).is_ok());
}

#[test]
fn later_layers_win_and_say_so() {
    let text = "[ports]\nrange = \"36000-36010\"\nrest = \"1s\"\n[log]\nkeep = 2\n";
    let environment = [
        ("HARBOR_PORTS__RANGE", "37000-37010"),
        ("HARBOR_OTHER", "x"),
    ];
    let loaded = load_text(&source(&environment, &["log.keep=5"]), text).unwrap();
    assert_eq!(loaded.config.range.to_string(), "37000-37010");
    assert_eq!(loaded.config.log.keep, 5);
    let origin = |key: &str| loaded.entries[key].origin.to_string();
    assert_eq!(origin("ports.range"), "environment HARBOR_PORTS__RANGE");
    assert_eq!(origin("ports.rest"), "/nowhere/harbor.toml:3:8");
    assert_eq!(origin("log.keep"), "flag --set log.keep=5");
}

#[test]
fn an_unknown_variable_or_flag_is_an_error_too() {
    let environment = [("HARBOR_PORTS__RNAGE", "1-2")];
    let error = load_text(&source(&environment, &["nonsense"]), "").unwrap_err();
    assert_eq!(error.problems.len(), 2);
    assert!(error.to_string().contains("HARBOR_PORTS__RNAGE"), "{error}");
}

#[test]
fn drop_ins_come_after_the_main_file_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let main = directory.path().join("harbor.toml");
    std::fs::create_dir(directory.path().join("conf.d")).unwrap();
    std::fs::write(&main, "[log]\nkeep = 1\n").unwrap();
    std::fs::write(
        directory.path().join("conf.d/10-a.toml"),
        "[log]\nkeep = 2\n",
    )
    .unwrap();
    std::fs::write(
        directory.path().join("conf.d/20-b.toml"),
        "[log]\nkeep = 3\n",
    )
    .unwrap();
    std::fs::write(directory.path().join("conf.d/30.txt"), "nonsense").unwrap();
    let loaded = load(&Source {
        path: main,
        ..source(&[], &[])
    })
    .unwrap();
    assert_eq!(loaded.config.log.keep, 3);
}

#[test]
fn a_named_file_must_exist_and_the_default_one_need_not() {
    let named = source(&[], &[]);
    assert!(
        load(&named)
            .unwrap_err()
            .to_string()
            .contains("/nowhere/harbor.toml")
    );
    assert!(
        load(&Source {
            must_exist: false,
            ..named
        })
        .is_ok()
    );
}

#[test]
fn the_service_range_and_the_source_ports_stay_apart() {
    let found = problems("[ports]\nrange = \"30000-36000\"\n");
    assert!(found[0].message.contains("overlaps"), "{found:?}");
}

#[test]
fn source_ports_are_many_and_on_one_side_of_1024() {
    let of = |range: &str| problems(&format!("[datapath]\nsource_ports = \"{range}\"\n")).len();
    for good in ["10240-32767", "1024-2047", "512-1023", "1-1023"] {
        assert_eq!(
            load_text(
                &source(&[], &[]),
                &format!("[datapath]\nsource_ports = \"{good}\"\n")
            )
            .map(drop)
            .map_err(|e| e.to_string()),
            Ok(())
        );
    }
    for bad in ["1000-3000", "1023-5000", "900-1023", "2000-2999"] {
        assert_eq!(of(bad), 1, "{bad}");
    }
}

#[test]
fn an_address_list_is_auto_or_names() {
    let text = "[node]\naddresses = [\"192.0.2.1\", \"192.0.2.2\"]\ninterfaces = [\"eth0\"]\n";
    let loaded = load_text(&source(&[], &[]), text).unwrap();
    assert_eq!(loaded.config.addresses.len(), 2);
    assert_eq!(loaded.config.interfaces, ["eth0"]);
    assert_eq!(
        problems("[node]\naddresses = [\"auto\", \"192.0.2.1\"]\n").len(),
        1
    );
    assert_eq!(problems("[node]\naddresses = [\"x\", \"y\"]\n").len(), 2);
}
