//! What a probe asks of a backend: one text for command line, JSON, registry and configuration.
//!
//! `off`, `tcp`, `http:/PATH`, `udp:SEND` or `udp:SEND/EXPECT`. A payload is written with the
//! escapes `\n`, `\r`, `\t`, `\\`, `\/` and `\xHH`, and always shown the same way.

use std::{fmt, ops::RangeInclusive, str::FromStr};

use serde::{Deserialize, Serialize};

/// The longest path of a request, and the longest payload of a datagram, in bytes.
const TEXT_LIMIT: usize = 512;

/// What a probe asks of a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum HealthCheck {
    /// Nothing.
    Off,
    /// That it takes a connection.
    Tcp,
    /// That it answers a GET for this path with a status that is expected.
    Http { path: String },
    /// That it answers a datagram, with one that contains `expect`.
    Udp { send: Vec<u8>, expect: Vec<u8> },
}

impl HealthCheck {
    /// A request for this path.
    pub(crate) fn http(path: &str) -> Result<Self, String> {
        let is_good = |b: u8| b.is_ascii_graphic() && b != b'#';
        if !path.starts_with('/') || !path.bytes().all(is_good) {
            return Err(format!(
                "{:?} is not a path: it begins with / and has neither blanks nor #",
                shown(path)
            ));
        }
        if path.len() > TEXT_LIMIT {
            return Err(format!("a path has at most {TEXT_LIMIT} bytes"));
        }
        Ok(Self::Http { path: path.into() })
    }

    /// A datagram, and what its answer contains; both with escapes.
    pub(crate) fn udp(send: &str, expect: &str) -> Result<Self, String> {
        let (send, expect) = (unescaped(send)?, unescaped(expect)?);
        if send.is_empty() {
            return Err("udp: says nothing to send: write udp:SEND or udp:SEND/EXPECT".into());
        }
        if send.len().max(expect.len()) > TEXT_LIMIT {
            return Err(format!("a payload has at most {TEXT_LIMIT} bytes"));
        }
        Ok(Self::Udp { send, expect })
    }
}

impl FromStr for HealthCheck {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if matches!(text, "off" | "none") => Ok(Self::Off),
            None if text == "tcp" => Ok(Self::Tcp),
            Some(("http", path)) => Self::http(path),
            Some(("udp", payloads)) => {
                let (send, expect) = halves(payloads);
                Self::udp(send, expect)
            }
            _ => Err(format!(
                "{:?} is not a health check: use off, tcp, http:/PATH, udp:SEND or udp:SEND/EXPECT",
                shown(text)
            )),
        }
    }
}

impl TryFrom<String> for HealthCheck {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<HealthCheck> for String {
    fn from(check: HealthCheck) -> Self {
        check.to_string()
    }
}

impl fmt::Display for HealthCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Tcp => f.write_str("tcp"),
            Self::Http { path } => write!(f, "http:{path}"),
            Self::Udp { send, expect } if expect.is_empty() => write!(f, "udp:{}", escaped(send)),
            Self::Udp { send, expect } => write!(f, "udp:{}/{}", escaped(send), escaped(expect)),
        }
    }
}

/// The two sides of the first `/` that is not escaped.
fn halves(text: &str) -> (&str, &str) {
    let mut is_escape = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if is_escape => is_escape = false,
            '\\' => is_escape = true,
            '/' => return (&text[..at], &text[at + 1..]),
            _ => {}
        }
    }
    (text, "")
}

fn unescaped(text: &str) -> Result<Vec<u8>, String> {
    let wrong = || {
        let escapes = r"\n, \r, \t, \\, \/ or \xHH";
        format!("{:?}: after a \\ one of {escapes} is expected", shown(text))
    };
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next().ok_or_else(wrong)? {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            plain @ (b'\\' | b'/') => plain,
            b'x' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let pair = digit().zip(digit());
                let (high, low) = pair.ok_or_else(wrong)?;
                (high * 16 + low) as u8
            }
            _ => return Err(wrong()),
        });
    }
    Ok(bytes)
}

fn escaped(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        match byte {
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            b'\\' => text.push_str("\\\\"),
            b'/' => text.push_str("\\/"),
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text
}

fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Which HTTP statuses are well: `200`, or `200-399`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct StatusRange(RangeInclusive<u16>);

impl StatusRange {
    pub(crate) fn contains(&self, status: u16) -> bool {
        self.0.contains(&status)
    }
}

impl Default for StatusRange {
    /// Answers that are neither the client's fault nor the server's.
    fn default() -> Self {
        Self(200..=399)
    }
}

impl FromStr for StatusRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        let number = |text: &str| match text.bytes().all(|b| b.is_ascii_digit()) {
            true => text.parse().ok().filter(|n| (100..=599).contains(n)),
            false => None,
        };
        let range = number(low).zip(number(high)).filter(|(l, h)| l <= h);
        let (low, high) = range.ok_or_else(|| {
            let text = shown(text);
            format!("{text:?} is no HTTP status: write 200 or 200-399, 100 to 599 is allowed")
        })?;
        Ok(Self(low..=high))
    }
}

impl TryFrom<String> for StatusRange {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<StatusRange> for String {
    fn from(range: StatusRange) -> Self {
        range.to_string()
    }
}

impl fmt::Display for StatusRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.start(), self.0.end()) {
            (low, high) if low == high => write!(f, "{low}"),
            (low, high) => write!(f, "{low}-{high}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_is_read_and_shown_as_it_was() {
        for text in [
            "off",
            "tcp",
            "http:/",
            "http:/health?deep=1",
            "udp:ping",
            "udp:ping/pong",
            r"udp:\x00\x01ping\r\n\//\\ok",
        ] {
            let check: HealthCheck = text.parse().unwrap();
            assert_eq!(check.to_string(), text);
        }
        assert_eq!("none".parse(), Ok(HealthCheck::Off));
        let slash: HealthCheck = "udp:a/b/c".parse().unwrap();
        let expected = HealthCheck::Udp {
            send: b"a".into(),
            expect: b"b/c".into(),
        };
        assert_eq!(slash, expected);
    }

    #[test]
    fn what_is_no_check_says_what_one_is() {
        for text in [
            "",
            "http",
            "https:/",
            "http:health",
            "http:/a b",
            "http:/a\r\nX: y",
            "tcp:80",
            "udp",
            "udp:",
            "udp:/x",
            r"udp:\q",
            r"udp:\x0",
            r"udp:a\",
            "TCP",
        ] {
            let error = text.parse::<HealthCheck>().unwrap_err();
            assert!(
                !error.is_empty() && !error.contains('\r'),
                "{text}: {error}"
            );
        }
        let long = format!("http:/{}", "a".repeat(TEXT_LIMIT));
        assert!(long.parse::<HealthCheck>().is_err());
    }

    #[test]
    fn statuses_are_one_or_a_range() {
        for text in ["200", "200-399", "100-599"] {
            assert_eq!(text.parse::<StatusRange>().unwrap().to_string(), text);
        }
        for text in ["", "2xx", "99", "600", "300-200", "200-", "-200", "+200"] {
            assert!(text.parse::<StatusRange>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_payload_survives_its_text(send in prop::collection::vec(any::<u8>(), 1..40),
                                         expect in prop::collection::vec(any::<u8>(), 0..40)) {
            let check = HealthCheck::Udp { send, expect };
            prop_assert_eq!(check.to_string().parse(), Ok(check));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,60}") {
            if let Ok(check) = text.parse::<HealthCheck>() {
                prop_assert_eq!(check.to_string().parse(), Ok(check));
            }
        }
    }
}
