//! Where an app host sends its announcements: an agent, or the Redis that nodes share.

use std::{fs, path::PathBuf, time::Duration};

use clap::Args;

use super::{failure::Failure, session::Session};
use crate::{
    control::{Client, Remote},
    dea::Way,
    model::{RedisUrl, Secret, check_name},
    registry::{self, Announcements, Password},
};

/// Which agent to speak to.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The agent's control API by TCP, or the nodes' redis://, rediss:// or redis+sentinel:// [default:
    /// the control socket of this machine]
    #[arg(long, value_name = "URL")]
    pub(super) to: Option<String>,
    /// File with the token of app hosts; for a Redis, with its password
    #[arg(long, value_name = "FILE", requires = "to")]
    token_file: Option<PathBuf>,
    /// The nodes' cluster in their Redis
    #[arg(long, value_name = "NAME", default_value = "harbor")]
    cluster: String,
    /// Authority of the other end's certificate [default: those that this machine trusts]
    #[arg(long, value_name = "FILE", requires = "to")]
    ca_file: Option<PathBuf>,
    /// Own certificate and key in one file, for an agent that asks for one
    #[arg(long, value_name = "FILE", requires = "to")]
    identity_file: Option<PathBuf>,
}

/// How what is said gets to Harbor.
pub(super) fn way(session: &Session, target: &Target) -> Result<Way, Failure> {
    match target.to.as_deref().filter(|url| url.starts_with("redis")) {
        Some(url) => redis(session, target, url),
        None => Ok(Way::Agent(client(session, target)?)),
    }
}

fn redis(session: &Session, target: &Target, url: &str) -> Result<Way, Failure> {
    let url: RedisUrl = url.parse().map_err(Failure::usage)?;
    check_name("cluster", &target.cluster)?;
    let read = |path: &PathBuf| {
        let wrong = |error| Failure::failed(format!("{}: {error}", path.display()));
        fs::read_to_string(path).map_err(wrong)
    };
    let password = |path: &PathBuf| -> Result<Password, Failure> {
        let first = Secret::from_file(&read(path)?);
        let path = path.clone();
        let again = move || Some(Secret::from_file(&fs::read_to_string(&path).ok()?));
        Ok(Password::new(first, again))
    };
    let password = target.token_file.as_ref().map(password).transpose()?;
    let authorities = target.ca_file.as_ref().map(read).transpose()?;
    let server = registry::Target {
        url,
        password,
        authorities: authorities.map(String::into_bytes),
        timeout: session.globals.timeout.min(Duration::from_secs(5)),
    };
    Ok(Way::Redis(Box::new(Announcements::new(
        server,
        &target.cluster,
    ))))
}

pub(super) fn client(session: &Session, target: &Target) -> Result<Client, Failure> {
    let Some(url) = &target.to else {
        return session.client();
    };
    if url.starts_with("redis") {
        let text = "a Redis takes announcements and answers nothing";
        return Err(Failure::usage(text).fix("ask an agent"));
    }
    authority(url)?;
    let remote = Remote {
        url: url.clone(),
        token_file: target.token_file.clone(),
        ca: target.ca_file.clone(),
        identity: target.identity_file.clone(),
    };
    Ok(Client::remote(&remote, session.globals.timeout)?)
}

/// Host and port of a URL.
pub(super) fn authority(url: &str) -> Result<(String, u16), Failure> {
    let wrong = || {
        Failure::usage(format!("{url:?} is not where an agent can be"))
            .fix("write it as http://HOST:PORT, https://HOST:PORT or redis://HOST:PORT")
    };
    if let Ok(redis) = url.parse::<RedisUrl>() {
        return redis.hosts.first().cloned().ok_or_else(wrong);
    }
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"));
    let rest = rest
        .map(|rest| rest.trim_end_matches('/'))
        .ok_or_else(wrong)?;
    let (host, port) = rest.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().map_err(|_| wrong())?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':');
    match !host.is_empty() && host.chars().all(is_host) {
        true => Ok((host.to_owned(), port)),
        false => Err(wrong()),
    }
}
