//! The variables that an app finds its numbers in.

use std::collections::BTreeSet;

/// `STACKATO_HARBOR` for one service, `STACKATO_HARBOR_<NAME>` for several: names with what they
/// listen on.
///
/// Of services whose names give the same variable the one bound first has it; the others follow, in
/// the order of their numbers, as `STACKATO_HARBOR_<NAME>_2`, `_3` and so on.
pub(crate) fn variables(services: &[(&str, u16)]) -> Vec<(String, String)> {
    if let [(_, port)] = services {
        return vec![("STACKATO_HARBOR".into(), port.to_string())];
    }
    let mut ordered = services.to_vec();
    ordered.sort_by_key(|(_, port)| *port);
    // A name of its own is never given to another.
    let own: BTreeSet<String> = ordered.iter().map(|(name, _)| variable(name)).collect();
    let mut taken: BTreeSet<String> = BTreeSet::new();
    let mut all = Vec::new();
    for (name, port) in ordered {
        let plain = variable(name);
        let mut numbered = (2..).map(|n| format!("{plain}_{n}"));
        let chosen = match taken.contains(&plain) {
            false => Some(plain.clone()),
            true => numbered.find(|name| !own.contains(name) && !taken.contains(name)),
        };
        if let Some(chosen) = chosen {
            taken.insert(chosen.clone());
            all.push((chosen, port.to_string()));
        }
    }
    all
}

fn variable(name: &str) -> String {
    let own = |c: char| match c.is_ascii_alphanumeric() {
        true => c.to_ascii_uppercase(),
        false => '_',
    };
    let name: String = name.chars().map(own).collect();
    format!("STACKATO_HARBOR_{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_service_has_the_short_name_and_several_have_their_own() {
        let one = variables(&[("udp-game", 4_100)]);
        assert_eq!(one, [("STACKATO_HARBOR".into(), "4100".into())]);
        let two = variables(&[("udp-game", 4_100), ("Web.1 a", 4_101)]);
        let names: Vec<&str> = two.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            ["STACKATO_HARBOR_UDP_GAME", "STACKATO_HARBOR_WEB_1_A"]
        );
    }

    #[test]
    fn services_of_one_name_have_variables_of_their_own() {
        let all = [
            ("web", 4_102),
            ("web", 4_100),
            ("Web-2", 4_101),
            ("web", 4_103),
        ];
        let expected = [
            ("STACKATO_HARBOR_WEB", "4100"),
            ("STACKATO_HARBOR_WEB_2", "4101"),
            ("STACKATO_HARBOR_WEB_3", "4102"),
            ("STACKATO_HARBOR_WEB_4", "4103"),
        ];
        let expected = expected.map(|(name, port)| (name.to_owned(), port.to_owned()));
        assert_eq!(variables(&all), expected);
    }
}
