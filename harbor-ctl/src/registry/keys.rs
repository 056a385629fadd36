//! The keys that nodes share in Redis. All bear one hash tag, so a cluster keeps them in one slot
//! and one script may touch them all.
//!
//! ```text
//! {harbor:NAME}
//!  |- :meta        hash    schema, incarnation, seq (number of the last change), guard,
//!  |                       pools (number of the last change of a pool), keeper:POOL -> NODE and until when,
//!  |                       share:ID:NODE -> when the node spoke of the share, and what it said
//!  |- :services    hash    service id -> its record (JSON)
//!  |- :numbers     hash    tcp/35000 -> service id
//!  |- :resting     zset    tcp/35000 by the second at which its rest ends
//!  |- :app_hosts   hash    app host -> EPOCH:SEQ of its last announcement, 20 digits each
//!  |- :leases      zset    app host by the millisecond at which its lease ends
//!  |- :nodes       hash    node id -> what its agent says of itself (JSON)
//!  |- :tokens      hash    node id -> the token of the agent that may write for it
//!  |- :seen        zset    node id by the millisecond at which it was heard last
//!  |- :drained     set     node ids that take no new ports
//!  |- :buried      zset    id of a service that somebody deleted, by the millisecond of that
//!  |- :changes     stream  SEQ-0 {id: service id}, the last thousands
//!  |- :announce    stream  {m: what an app host says (JSON)}, written by app hosts
//!  '- :pools       hash    pool -> its record with its shares (JSON)
//! ```

/// Last parts of the keys, in the order in which scripts get them.
pub(super) const PARTS: [&str; 14] = [
    "meta",
    "services",
    "numbers",
    "resting",
    "app_hosts",
    "leases",
    "nodes",
    "tokens",
    "seen",
    "drained",
    "buried",
    "changes",
    "announce",
    "pools",
];

/// The whole keys of a cluster.
pub(super) fn of(cluster: &str) -> Vec<String> {
    let key = |part: &&str| format!("{{harbor:{cluster}}}:{part}");
    PARTS.iter().map(key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_shares_the_hash_tag() {
        let keys = of("west");
        assert!(keys.iter().all(|key| key.starts_with("{harbor:west}:")));
        assert_eq!(keys[0], "{harbor:west}:meta");
    }
}
