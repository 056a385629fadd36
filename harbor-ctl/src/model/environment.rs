//! The variables that an app finds its numbers in.

/// `STACKATO_HARBOR` for one service, `STACKATO_HARBOR_<NAME>` for several: names with what they
/// listen on.
pub(crate) fn variables(services: &[(&str, u16)]) -> Vec<(String, String)> {
    match services {
        [(_, port)] => vec![("STACKATO_HARBOR".into(), port.to_string())],
        several => several
            .iter()
            .map(|(name, port)| {
                let own = |c: char| match c.is_ascii_alphanumeric() {
                    true => c.to_ascii_uppercase(),
                    false => '_',
                };
                let name: String = name.chars().map(own).collect();
                (format!("STACKATO_HARBOR_{name}"), port.to_string())
            })
            .collect(),
    }
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
}
