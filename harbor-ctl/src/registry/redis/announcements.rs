//! The other end of the stream `announce`: what an app host writes into it.

use redis::Script;

use super::link::{Link, Target};
use crate::registry::keys;

/// About so many announcements are kept: nodes that were away for longer ask for all anyway.
const KEPT: &str = "100000";
/// The key of the stream is the last one.
const WRITE: &str =
    "return redis.call('XADD', KEYS[#KEYS], 'MAXLEN', '~', ARGV[2], '*', 'm', ARGV[1])";

/// A way to announce over a registry that nodes share. Nobody answers.
#[derive(Debug)]
pub(crate) struct Announcements {
    link: Link,
    write: Script,
}

impl Announcements {
    pub(crate) fn new(target: Target, cluster: &str) -> Self {
        Self {
            link: Link::new(target, keys::of(cluster)),
            write: Script::new(WRITE),
        }
    }

    /// Writes one document; the error is what stood in the way.
    pub(crate) async fn say(&self, document: &str) -> Result<(), String> {
        let arguments = [document.as_bytes().to_vec(), KEPT.as_bytes().to_vec()];
        let written: Result<String, _> = self.link.run(&self.write, &arguments, 1).await;
        written.map(drop).map_err(|fault| fault.text)
    }
}
