//! Where ports are kept: `embedded`, or a Redis that several nodes share.
//!
//! ```text
//! redis://[USER@]HOST[:PORT][/DB]       rediss:// the same over TLS
//! redis+sentinel://HOST:PORT[,HOST:PORT...]/MASTER[/DB]
//! ```
//!
//! A password never stands here: it is read from `registry.password_file`.

use std::{fmt, str::FromStr};

use super::name::check_name;

/// The port of Redis, and that of its Sentinel.
const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
/// The most Sentinels that are asked.
const HOST_LIMIT: usize = 16;

/// `[registry].url`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RegistryUrl {
    Embedded,
    Redis(RedisUrl),
}

/// A Redis, and how it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RedisUrl {
    pub(crate) transport: Transport,
    /// One server, or the Sentinels.
    pub(crate) hosts: Vec<(String, u16)>,
    /// What Sentinels call the master; `None`: the host is the server itself.
    pub(crate) master: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) db: u16,
}

/// How its bytes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Plain,
    Tls,
}

impl FromStr for RegistryUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "embedded" {
            return Ok(Self::Embedded);
        }
        text.parse().map(Self::Redis)
    }
}

/// What `node attach` is given: a URL, or the host of a core, as a URL.
pub(crate) fn core_url(text: &str) -> String {
    if text.contains("://") {
        return text.to_owned();
    }
    match text.parse::<std::net::Ipv6Addr>() {
        Ok(address) => format!("redis://[{address}]"),
        Err(_) => format!("redis://{text}"),
    }
}

impl FromStr for RedisUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").ok_or_else(unknown)?;
        let (transport, is_sentinel) = match scheme {
            "redis" => (Transport::Plain, false),
            "rediss" => (Transport::Tls, false),
            "redis+sentinel" => (Transport::Plain, true),
            _ => return Err(unknown()),
        };
        if rest.contains(['?', '#']) {
            return Err("options after the address are not known".into());
        }
        let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, place) = match place.rsplit_once('@') {
            Some((user, place)) => (Some(user_name(user)?), place),
            None => (None, place),
        };
        let default = if is_sentinel {
            SENTINEL_PORT
        } else {
            REDIS_PORT
        };
        let hosts = place.split(',').map(|host| host_and_port(host, default));
        let hosts = hosts.collect::<Result<Vec<_>, _>>()?;
        if hosts.len() > HOST_LIMIT || (hosts.len() > 1 && !is_sentinel) {
            return Err("several hosts: only Sentinels are written so, 16 at most".into());
        }
        let (master, db) = match (is_sentinel, path.split_once('/')) {
            (false, _) => (None, path),
            (true, Some((master, db))) => (Some(master_name(master)?), db),
            (true, None) => (Some(master_name(path)?), ""),
        };
        Ok(Self {
            transport,
            hosts,
            master,
            user,
            db: database(db)?,
        })
    }
}

impl fmt::Display for RedisUrl {
    /// The server or the master, never a user: what logs and `status` show.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<String> = self.hosts.iter().map(shown).collect();
        match &self.master {
            Some(master) => write!(f, "{master} of sentinels {}", hosts.join(","))?,
            None => f.write_str(&hosts.join(","))?,
        }
        match self.transport {
            Transport::Tls => f.write_str(" over TLS"),
            Transport::Plain => Ok(()),
        }
    }
}

fn shown((host, port): &(String, u16)) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

fn unknown() -> String {
    "use \"embedded\", redis://HOST[:PORT], rediss://HOST[:PORT] or \
     redis+sentinel://HOST:PORT[,HOST:PORT]/MASTER"
        .into()
}

fn user_name(text: &str) -> Result<String, String> {
    if text.contains(':') {
        return Err(
            "a password does not belong here: write it to a file and name it as \
                    registry.password_file"
                .into(),
        );
    }
    check_name("user", text).map_err(|refusal| refusal.description)?;
    Ok(text.to_owned())
}

fn master_name(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("the master's name is missing: redis+sentinel://HOST:PORT/MASTER".into());
    }
    check_name("master's name", text).map_err(|refusal| refusal.description)?;
    Ok(text.to_owned())
}

fn database(text: &str) -> Result<u16, String> {
    match text {
        "" => Ok(0),
        _ => text.parse().map_err(|_| "the database is a number".into()),
    }
}

/// `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`.
fn host_and_port(text: &str, default: u16) -> Result<(String, u16), String> {
    let wrong = || {
        format!(
            "{:?} is not a host",
            text.chars().take(80).collect::<String>()
        )
    };
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or_else(wrong)?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| wrong())?;
            (
                host,
                port.strip_prefix(':').or(port.is_empty().then_some("")),
            )
        }
        None => match text.split_once(':') {
            Some((host, port)) if !port.is_empty() => (host, Some(port)),
            Some(_) => return Err(wrong()),
            None => (text, Some("")),
        },
    };
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
    if host.is_empty() || host.len() > 253 || !host.chars().all(good) {
        return Err(wrong());
    }
    let port = match port.ok_or_else(wrong)? {
        "" => default,
        port => port
            .parse()
            .ok()
            .filter(|&port| port != 0)
            .ok_or_else(wrong)?,
    };
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> RedisUrl {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn every_form_is_read_and_shown() {
        for (text, shown) in [
            ("redis://core", "core:6379"),
            ("redis://10.0.0.1:7000/3", "10.0.0.1:7000"),
            ("rediss://harbor@core", "core:6379 over TLS"),
            ("redis://[2001:db8::1]", "[2001:db8::1]:6379"),
            ("redis://[2001:db8::1]:7", "[2001:db8::1]:7"),
            (
                "redis+sentinel://a,b:7/harbor/2",
                "harbor of sentinels a:26379,b:7",
            ),
        ] {
            assert_eq!(read(text).to_string(), shown, "{text}");
        }
        assert_eq!(read("redis://10.0.0.1:7000/3").db, 3);
        assert_eq!(read("redis+sentinel://a/m").master.as_deref(), Some("m"));
        assert_eq!(core_url("10.0.0.1:7"), "redis://10.0.0.1:7");
        assert_eq!(core_url("::1"), "redis://[::1]");
        assert_eq!(core_url("rediss://a"), "rediss://a");
        assert_eq!("embedded".parse(), Ok(RegistryUrl::Embedded));
    }

    #[test]
    fn what_is_wrong_is_refused_and_a_password_is_not_repeated() {
        for text in [
            "",
            "redis",
            "redis://",
            "http://core",
            "redis://core:",
            "redis://core:0",
            "redis://core:70000",
            "redis://a,b",
            "redis://core/x",
            "redis+sentinel://a",
            "redis://core?x=1",
            "redis://[::1",
            "redis://a b",
            "redis://@core",
        ] {
            assert!(text.parse::<RegistryUrl>().is_err(), "{text}");
        }
        let error = "redis://user:secret@core"
            .parse::<RegistryUrl>()
            .unwrap_err();
        assert!(
            error.contains("password_file") && !error.contains("secret"),
            "{error}"
        );
    }
}
