//! The Lua scripts: one a verb, each atomic on the server and safe to repeat.

use redis::Script;

macro_rules! script {
    ($name:literal) => {
        Script::new(concat!(
            include_str!("lua/prelude.lua"),
            "\n",
            include_str!(concat!("lua/", $name))
        ))
    };
}

/// All scripts; hashed once.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) allocate: Script,
    pub(super) app_hosts: Script,
    pub(super) beat: Script,
    pub(super) buried: Script,
    pub(super) claims: Script,
    pub(super) drain_node: Script,
    pub(super) forget_app_host: Script,
    pub(super) forget_node: Script,
    pub(super) heard: Script,
    pub(super) join: Script,
    pub(super) look: Script,
    pub(super) nodes: Script,
    pub(super) place: Script,
    pub(super) pools: Script,
    pub(super) put_pool: Script,
    pub(super) release: Script,
    pub(super) rests: Script,
    pub(super) snapshot: Script,
    pub(super) update: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            allocate: script!("allocate.lua"),
            app_hosts: script!("app_hosts.lua"),
            beat: script!("beat.lua"),
            buried: script!("buried.lua"),
            claims: script!("claims.lua"),
            drain_node: script!("drain_node.lua"),
            forget_app_host: script!("forget_app_host.lua"),
            forget_node: script!("forget_node.lua"),
            heard: script!("heard.lua"),
            join: script!("join.lua"),
            look: script!("look.lua"),
            nodes: script!("nodes.lua"),
            place: script!("place.lua"),
            pools: script!("pools.lua"),
            put_pool: script!("put_pool.lua"),
            release: script!("release.lua"),
            rests: script!("rests.lua"),
            snapshot: script!("snapshot.lua"),
            update: script!("update.lua"),
        }
    }
}
