//! Names of services and instances: `[A-Za-z0-9_.-]{1,64}`, and nothing else, ever.
//!
//! Names reach terminals, logs and file names; a name that passed here needs no escaping.

use super::refusal::Refusal;

/// The longest name, in bytes.
pub(crate) const NAME_LIMIT: usize = 64;

/// Refuses a name that is empty, too long or holds anything but letters, digits, `_`, `.` and `-`.
///
/// `field` is the parameter that a refusal names.
pub(crate) fn check_name(field: &str, name: &str) -> Result<(), Refusal> {
    let rule = "use 1 to 64 letters, digits, '_', '.' or '-'";
    if name.is_empty() {
        return Err(Refusal::invalid(field, format!("the {field} is empty")).fix(rule));
    }
    if name.len() > NAME_LIMIT {
        let text = format!("the {field} is {} bytes long: 64 are allowed", name.len());
        return Err(Refusal::invalid(field, text).fix(rule));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    match name.chars().find(|&c| !allowed(c)) {
        Some(bad) => {
            let text = format!("the {field} {name:?} holds {bad:?}, which is not allowed");
            Err(Refusal::invalid(field, text).fix(rule))
        }
        None => Ok(()),
    }
}

/// Refuses a new service's name or id that reads like a number: that names a port.
pub(crate) fn check_not_a_number(field: &str, name: &str) -> Result<(), Refusal> {
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(());
    }
    let shown: String = name.chars().take(NAME_LIMIT).collect();
    let text = format!("the {field} {shown} reads like a port's number");
    Err(Refusal::invalid(field, text).fix("use a letter in it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reads_like_a_number_is_no_new_name() {
        for name in ["35217", "0", "99999999", "007"] {
            let refusal = check_not_a_number("name", name).unwrap_err();
            assert_eq!(refusal.field.as_deref(), Some("name"));
        }
        for name in ["", "web", "35217a", "1.2", "-1"] {
            assert_eq!(check_not_a_number("name", name), Ok(()), "{name}");
        }
    }

    #[test]
    fn ordinary_names_pass() {
        for name in ["web", "udp-game", "a", "A_1.b-2", "35217", &"x".repeat(64)] {
            assert_eq!(check_name("name", name), Ok(()), "{name}");
        }
    }

    #[test]
    fn escapes_newlines_and_long_names_are_refused_without_repeating_them_raw() {
        for name in [
            "",
            "\u{1b}[31mred",
            "a\nb",
            "a b",
            "é",
            "a/b",
            "a\0",
            &"x".repeat(300),
        ] {
            let refusal = check_name("name", name).unwrap_err();
            assert!(
                !refusal.description.chars().any(char::is_control),
                "{refusal:?}"
            );
            assert!(refusal.description.len() < 200);
            assert_eq!(refusal.field.as_deref(), Some("name"));
        }
    }
}
