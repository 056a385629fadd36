//! Every family of metrics: its name, its labels, and what it says.
//!
//! Names are a contract with dashboards and alert rules: add, never rename. None begins as those of the
//! container registry that is also called Harbor do (`harbor_up`, `harbor_project_*`, ...).

/// What a family's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only grows, until it begins anew; its samples end in `_total`.
    Counter,
    Gauge,
    Histogram,
}

/// One family.
#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) labels: &'static [&'static str],
    pub(crate) help: &'static str,
}

macro_rules! families {
    ($($id:ident: $kind:ident $name:literal $labels:tt $help:literal)+) => {
        $(pub(crate) const $id: Family = Family {
            name: $name,
            kind: Kind::$kind,
            labels: &$labels,
            help: $help,
        };)+

        /// All of them, in the order in which they are written.
        pub(crate) const ALL: &[&Family] = &[$(&$id),+];
    };
}

families! {
    BUILD: Gauge "harbor_build_info" ["version", "layout"]
        "Always 1; the labels say which version runs, with which layout of the kernel's maps."
    AGENT_UPTIME: Gauge "harbor_agent_uptime_seconds" []
        "For how long the agent runs."
    DATAPATH_AGE: Gauge "harbor_datapath_age_seconds" []
        "For how long the oldest of the programs is in the kernel; missing while there is none."
    PART_OK: Gauge "harbor_part_ok" ["part"]
        "Whether a part is ok, as harbor-ctl status shows it: 1 or 0."

    PORTS: Gauge "harbor_ports" ["state"]
        "Ports of this node by state: up, degraded, down, draining, conflict, unknown."
    RANGE_NUMBERS: Gauge "harbor_range_numbers" ["protocol", "state"]
        "Numbers of the range by state: free, assigned, resting, held."
    PORT_STATE: Gauge "harbor_port_state" ["port", "name", "state"]
        "Always 1; the label state says how a port is."
    PORT_BACKENDS: Gauge "harbor_port_backends" ["port", "name"]
        "Backends of a port."
    PORT_BACKENDS_UP: Gauge "harbor_port_backends_up" ["port", "name"]
        "Backends of a port that take new flows."
    PORT_EJECTIONS: Counter "harbor_port_ejections" ["port", "name"]
        "How often a backend of a port was ejected since the agent started."
    PORT_FLOWS: Gauge "harbor_port_flows" ["port", "protocol", "name"]
        "Flows of a port now."
    PORT_NEW_FLOWS: Counter "harbor_port_new_flows" ["port", "protocol", "name"]
        "Flows of a port that were begun."
    PORT_REFUSED_FLOWS: Counter "harbor_port_refused_flows" ["port", "protocol", "name"]
        "Flows of a port that a limit, a list of networks or a full table refused."
    PORT_FORWARD_PACKETS: Counter "harbor_port_forward_packets" ["port", "protocol", "name"]
        "Packets from clients to backends."
    PORT_FORWARD_BYTES: Counter "harbor_port_forward_bytes" ["port", "protocol", "name"]
        "Bytes from clients to backends."
    PORT_REPLY_PACKETS: Counter "harbor_port_reply_packets" ["port", "protocol", "name"]
        "Packets from backends to clients."
    PORT_REPLY_BYTES: Counter "harbor_port_reply_bytes" ["port", "protocol", "name"]
        "Bytes from backends to clients."

    BACKENDS: Gauge "harbor_backends" ["state"]
        "Backends of all ports by state, as harbor-ctl backends list shows it."
    BACKENDS_LEFT_OUT: Gauge "harbor_backends_left_out" []
        "Backends without metrics of their own, by metrics.per_backend."
    BACKEND_UP: Gauge "harbor_backend_up" ["port", "name", "backend"]
        "Whether a backend takes new flows: 1 or 0."
    BACKEND_FLOWS: Gauge "harbor_backend_flows" ["port", "name", "backend"]
        "Flows to a backend now."
    BACKEND_NEW_FLOWS: Counter "harbor_backend_new_flows" ["port", "name", "backend"]
        "Flows to a backend that were begun."
    BACKEND_FORWARD_BYTES: Counter "harbor_backend_forward_bytes" ["port", "name", "backend"]
        "Bytes from clients to a backend."
    BACKEND_REPLY_BYTES: Counter "harbor_backend_reply_bytes" ["port", "name", "backend"]
        "Bytes from a backend to clients."
    BACKEND_SOURCE_PORTS: Gauge "harbor_backend_source_ports_ratio" ["port", "name", "backend"]
        "Which part of the source ports towards a backend is in use, 0 to 1."
    SOURCE_PORTS_MOST: Gauge "harbor_source_ports_most_ratio" []
        "The same of the backend that has most in use; at 1 it gets no new flow."

    VERDICTS: Counter "harbor_datapath_packets" ["verdict", "reason"]
        "Packets by what became of them in the kernel, each counted once."
    FLOW_TABLE_FLOWS: Gauge "harbor_flow_table_flows" []
        "Flows of all ports now."
    FLOW_TABLE_CAPACITY: Gauge "harbor_flow_table_capacity_flows" []
        "Flows of one family of addresses that there is room for."
    PROXY_CONNECTIONS: Gauge "harbor_proxy_connections" []
        "Connections and UDP flows that go through the proxy now."
    PROXY_NUMBERS: Gauge "harbor_proxy_numbers_held" []
        "Numbers, each in one protocol, that the proxy holds a socket of."
    PROXY_DESCRIPTORS: Gauge "harbor_proxy_descriptors" []
        "Descriptors that the proxy uses."
    PROXY_DESCRIPTOR_LIMIT: Gauge "harbor_proxy_descriptors_limit" []
        "Descriptors that the proxy may use."
    PROXY_SHED: Counter "harbor_proxy_turned_away" []
        "Connections and flows that the proxy turned away for want of descriptors or of room."
    PROXY_ENDED: Counter "harbor_proxy_ended_for_others" []
        "Connections and UDP flows through the proxy that had carried least, and ended to make room."

    RECONCILE: Histogram "harbor_reconcile_seconds" []
        "How long it took to bring changes to the kernel."
    REGISTRY_OK: Gauge "harbor_registry_reachable" []
        "Whether the registry takes changes: 1 or 0."
    REGISTRY_AWAY: Gauge "harbor_registry_away_seconds" []
        "For how long the registry does not answer, or its disk refuses; 0 while it is well."
    REGISTRY_REQUESTS: Histogram "harbor_registry_request_seconds" ["operation"]
        "How long the registry took to answer."
    NODES: Gauge "harbor_nodes" ["state"]
        "Nodes that share the registry by state: up, drained, away."
    SHARES: Gauge "harbor_shares" ["state"]
        "Shares of pools by where their addresses are: here, elsewhere."
    SHARE_PROBLEMS: Gauge "harbor_share_problems" []
        "Shares of pools with which something is wrong, as harbor-ctl pool show says."
    SHARE_ARRIVALS: Counter "harbor_share_arrivals" []
        "How often a share has come to this node since the agent started."
    COPIES_SENT: Counter "harbor_copies_sent" []
        "Flows that other nodes of a share were told since the agent started, each as often as it was."
    COPIES_RECEIVED: Counter "harbor_copies_received" []
        "Flows that other nodes have told since the agent started."
    COPIES_REFUSED: Counter "harbor_copies_refused" []
        "Of those, flows that had no room, port or backend here."
    COPIES_LAG: Gauge "harbor_copies_lag_seconds" []
        "From when flows were read until the other node had entered them, the last time; the longest of all nodes."
    APP_HOSTS: Gauge "harbor_app_hosts" []
        "App hosts whose instances are registered."
    INSTANCES: Gauge "harbor_app_host_instances" []
        "Instances that live by the lease of an app host."
    LEASES_FROZEN: Gauge "harbor_leases_frozen" []
        "Whether leases do not end because the registry does not say who lives: 1 or 0."
    CERTIFICATE_END: Gauge "harbor_certificate_expiry_timestamp_seconds" ["port", "name"]
        "When the first of a port's certificates ends, in seconds since 1970."

    PROCESS_CPU: Counter "process_cpu_seconds" []
        "Processor time that the agent has used."
    PROCESS_MEMORY: Gauge "process_resident_memory_bytes" []
        "Memory of the agent."
    PROCESS_DESCRIPTORS: Gauge "process_open_fds" []
        "Descriptors that the agent has open."
    PROCESS_DESCRIPTOR_LIMIT: Gauge "process_max_fds" []
        "Descriptors that the agent may have open."
    PROCESS_START: Gauge "process_start_time_seconds" []
        "When the agent was started, in seconds since 1970."
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unambiguous_and_are_not_those_of_the_container_registry() {
        let mut seen = BTreeSet::new();
        for family in ALL {
            let Family { name, help, .. } = family;
            assert!(seen.insert(*name), "{name} is there twice");
            assert!(help.ends_with('.'), "{name}: {help}");
            let good = |c: char| c.is_ascii_lowercase() || c == '_';
            assert!(name.chars().all(good), "{name}");
            for end in ["_total", "_sum", "_count", "_bucket", "_created"] {
                assert!(
                    !name.ends_with(end),
                    "{name} would be mistaken for a sample"
                );
            }
            for foreign in [
                "harbor_up",
                "harbor_project_",
                "harbor_core_",
                "harbor_registry_http_",
                "harbor_jobservice_",
                "harbor_task_",
                "harbor_health",
                "harbor_system_info",
                "harbor_quotas_",
                "harbor_statistics_",
                "harbor_artifact_",
                "harbor_exporter_",
            ] {
                let is_foreign =
                    *name == foreign || foreign.ends_with('_') && name.starts_with(foreign);
                assert!(!is_foreign, "{name} is the container registry's");
            }
        }
    }
}
