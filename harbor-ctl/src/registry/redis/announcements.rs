//! The other end of the stream `announce`: what an app host writes into it.

use std::time::Duration;

use redis::Script;

use super::connection::{Link, Target};
use crate::registry::keys;

/// About so many announcements are kept: nodes that were away for longer ask for all anyway.
const KEPT: &str = "100000";
/// The stream has the place that `keys` gives it.
const WRITE: &str =
    "return redis.call('XADD', KEYS[13], 'MAXLEN', '~', ARGV[2], '*', 'm', ARGV[1])";

/// An epoch by the server's clock, and above the one that is known. ARGV: app host, milliseconds since it
/// started.
const EPOCH: &str = "
    local time = redis.call('TIME')
    local epoch = time[1] * 1000 + math.floor(time[2] / 1000) - ARGV[2]
    local held = redis.call('HSTRLEN', KEYS[5], ARGV[1]) <= 41 and redis.call('HGET', KEYS[5], ARGV[1])
    local known = held and tonumber(string.match(held, '^(%d+):'))
    if known and known >= epoch then epoch = known + 1 end
    return string.format('%.0f', epoch)";

/// A way to announce over a registry that nodes share. Nobody answers.
#[derive(Debug)]
pub(crate) struct Announcements {
    link: Link,
    write: Script,
    epoch: Script,
}

impl Announcements {
    pub(crate) fn new(target: Target, cluster: &str) -> Self {
        Self {
            link: Link::new(target, keys::of(cluster)),
            write: Script::new(WRITE),
            epoch: Script::new(EPOCH),
        }
    }

    /// An epoch for an app host that started so long ago; the error is what stood in the way.
    pub(crate) async fn epoch(&self, dea: &str, age: Duration) -> Result<u64, String> {
        let age = age.as_millis().to_string();
        let arguments = [dea.as_bytes().to_vec(), age.into_bytes()];
        let epoch: Result<String, _> = self.link.run(&self.epoch, &arguments, 1).await;
        let epoch = epoch.map_err(|fault| fault.text)?;
        epoch.parse().map_err(|_| format!("an epoch of {epoch}"))
    }

    /// Writes one document; the error is what stood in the way.
    pub(crate) async fn say(&self, document: &str) -> Result<(), String> {
        let arguments = [document.as_bytes().to_vec(), KEPT.as_bytes().to_vec()];
        let written: Result<String, _> = self.link.run(&self.write, &arguments, 1).await;
        written.map(drop).map_err(|fault| fault.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The script of whoever announces has no names for keys.
    #[test]
    fn what_is_written_and_read_are_the_keys_that_are_meant() {
        let keys = keys::of("west");
        for (script, place, part) in [(WRITE, 13, "announce"), (EPOCH, 5, "app_hosts")] {
            assert!(script.contains(&format!("KEYS[{place}]")));
            assert_eq!(keys[place - 1], format!("{{harbor:west}}:{part}"));
        }
    }
}
