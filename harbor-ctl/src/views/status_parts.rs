//! Parts of `status` beside the engines' and the registry's: who is listened to, who shares the registry,
//! how full the flow table is, and what waits.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use super::{
    Snapshot,
    facts::{CertificateFacts, Unapplied},
    status::part,
};
use crate::{
    api::{PartStatus, PoolItem, PortItem},
    model::{DatapathReport, Filled, NodeRecord, counted, format_age, now},
};

/// A certificate that ends within this time is told.
const CERTIFICATE_SOON: Duration = Duration::from_secs(30 * 86_400);

/// What to do about files that do not answer.
const UNANSWERED_FIX: &str = "see to the disk or the file server that they are on";

/// An API by TCP.
#[derive(Clone, Debug)]
pub(crate) struct TcpApi {
    /// `None`: off.
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) has_tls: bool,
    /// Why nobody answers.
    pub(crate) problem: Option<String>,
}

impl TcpApi {
    /// `off`: what has to be set for it; `fix`: where to look when it does not run.
    pub(super) fn part(&self, off: &str, fix: &str) -> PartStatus {
        let Some(listen) = self.listen else {
            return part("ok", format!("off: {off} is not set"));
        };
        let tls = if self.has_tls { "TLS" } else { "no TLS" };
        match &self.problem {
            None => part("ok", format!("{listen}, {tls}")),
            Some(problem) => PartStatus {
                fix: Some(fix.to_owned()),
                ..part("degraded", problem.clone())
            },
        }
    }
}

/// The file as it is, what of it waits, and what is wrong with it.
pub(super) fn configuration_part(place: &str, configuration: &Unapplied) -> PartStatus {
    let Unapplied {
        waiting,
        problem,
        unread,
        left_out,
        unanswered,
    } = configuration;
    let mut text = place.to_owned();
    let mut fix = None;
    if !waiting.is_empty() {
        let (count, keys) = (counted(waiting.len(), "setting"), waiting.join(", "));
        let verb = if waiting.len() == 1 { "waits" } else { "wait" };
        text.push_str(&format!("; {count} {verb} for a restart: {keys}"));
        fix = Some("systemctl restart harbor".to_owned());
    }
    if !unread.is_empty() {
        let (count, keys) = (counted(unread.len(), "setting"), unread.join(", "));
        let (was, are) = match unread.len() {
            1 => ("was", "is"),
            _ => ("were", "are"),
        };
        let edited = format!("; {count} {was} edited and {are} not read yet: {keys}");
        text.push_str(&edited);
        fix = Some("systemctl reload harbor".to_owned());
    }
    let mut problems = left_out.clone();
    if let Some(problem) = problem {
        problems.push(format!(
            "what it says now is wrong, and not in force: {problem}"
        ));
    }
    if let Some(lasts) = unanswered {
        let lasts = format_age(lasts.as_secs());
        return PartStatus {
            fix: Some(UNANSWERED_FIX.to_owned()),
            ..part(
                "degraded",
                format!(
                    "{text}; its files have not answered for {lasts}: what was read before is in force"
                ),
            )
        };
    }
    if problems.is_empty() {
        return PartStatus {
            fix,
            ..part("ok", text)
        };
    }
    PartStatus {
        fix: Some(match problem {
            None => "harbor-ctl config check".into(),
            Some(_) => "harbor-ctl config check; then systemctl reload harbor".into(),
        }),
        ..part("degraded", format!("{text}; {}", problems.join("; ")))
    }
}

/// Who shares the registry. One that is drained was meant to be.
pub(super) fn nodes_part(own: &str, records: Option<&Vec<NodeRecord>>) -> PartStatus {
    if own.is_empty() {
        return part("ok", "this node alone".into());
    }
    let Some(records) = records else {
        return part("ok", format!("{own}; not asked about others yet"));
    };
    let of = |state: &str| -> Vec<&str> {
        let so = records.iter().filter(|record| record.state() == state);
        so.map(|record| record.id.as_str()).collect()
    };
    let mut text = counted(records.len(), "node");
    let drained = of("drained");
    if !drained.is_empty() {
        text.push_str(&format!(", drained: {}", drained.join(", ")));
    }
    // This one lives, or nobody would say so; what the registry thinks of it is the registry's part.
    let away: Vec<&str> = of("away").into_iter().filter(|id| *id != own).collect();
    if away.is_empty() {
        return part("ok", text);
    }
    PartStatus {
        fix: Some(
            "harbor-ctl node list; if one is gone for good: harbor-ctl node detach NODE".into(),
        ),
        ..part("degraded", format!("{text}, away: {}", away.join(", ")))
    }
}

/// How many shares this node has, and what is wrong with one.
pub(super) fn pools_part(pools: &[PoolItem]) -> PartStatus {
    let shares = || pools.iter().flat_map(|pool| &pool.shares);
    if pools.is_empty() {
        return part("ok", "no pool".into());
    }
    let here: Vec<&str> = shares()
        .filter(|share| share.here)
        .map(|share| share.id.as_str())
        .collect();
    let mut text = counted(pools.len(), "pool");
    if !here.is_empty() {
        text.push_str(&format!(", here: {}", here.join(", ")));
    }
    let bad = pools.iter().find_map(|pool| {
        let mut shares = pool.shares.iter();
        shares.find_map(|share| Some((pool, share, share.problem.as_ref()?)))
    });
    match bad {
        None => part("ok", text),
        Some((pool, share, problem)) => PartStatus {
            fix: Some(format!("harbor-ctl pool show {}", pool.name)),
            ..part("degraded", format!("{text}; share {}: {problem}", share.id))
        },
    }
}

/// Of this node's ports, the certificate that ends first, and what is wrong with one.
pub(super) fn certificates_part(
    (certificates, unanswered): (&BTreeMap<String, CertificateFacts>, Option<Duration>),
    ports: &[&PortItem],
) -> PartStatus {
    if certificates.is_empty() {
        return part("ok", "no port ends TLS".into());
    }
    let time = now();
    let mut text = counted(certificates.len(), "port") + " with TLS";
    if let Some(lasts) = unanswered {
        let lasts = format_age(lasts.as_secs());
        return PartStatus {
            fix: Some(UNANSWERED_FIX.to_owned()),
            ..part(
                "degraded",
                format!(
                    "{text}; their files have not answered for {lasts}: what was read before is in force"
                ),
            )
        };
    }
    let named = |item: &&PortItem| Some((certificates.get(&item.id)?.clone(), item.name.clone()));
    let named: Vec<(CertificateFacts, String)> = ports.iter().filter_map(named).collect();
    let wrong = named.iter().find_map(|(shown, name)| {
        let fault = match (shown.expires_at, &shown.problem) {
            (None, problem) => problem.clone().unwrap_or_else(|| "no certificate".into()),
            (Some(end), _) if end < time => format!("expired {} ago", format_age(time - end)),
            (Some(_), Some(problem)) => format!("{problem}; the one before stays in force"),
            (Some(_), None) => return None,
        };
        Some((name, fault))
    });
    if let Some((name, fault)) = wrong {
        return PartStatus {
            fix: Some(format!("harbor-ctl ports show {name}")),
            ..part("degraded", format!("{text}; {name}: {fault}"))
        };
    }
    let first = named
        .iter()
        .filter_map(|(shown, name)| Some((shown.expires_at?, name)))
        .min();
    if let Some((end, name)) = first
        && end.saturating_sub(time) < CERTIFICATE_SOON.as_secs()
    {
        let left = format_age(end.saturating_sub(time));
        text.push_str(&format!("; the certificate of {name} expires in {left}"));
    }
    part("ok", text)
}

impl Snapshot {
    /// App hosts, and whether their leases end.
    pub(super) fn discovery_part(&self) -> PartStatus {
        let backends = self.services.iter().flat_map(|service| &service.backends);
        let deas: Vec<&str> = backends
            .filter_map(|backend| Some(backend.announced.as_ref()?.dea.as_str()))
            .collect();
        let hosts: BTreeSet<&str> = deas.iter().copied().collect();
        let mut text = match deas.len() {
            0 => "no app host has announced anything".to_owned(),
            instances => format!(
                "{} with {}, leases of {}",
                counted(hosts.len(), "app host"),
                counted(instances, "instance"),
                format_age(self.lease.as_secs())
            ),
        };
        if !self.leases_frozen {
            return part("ok", text);
        }
        text.push_str("; leases are frozen: the registry does not say who lives");
        PartStatus {
            fix: Some("harbor-ctl status: see to the registry".into()),
            ..part("degraded", text)
        }
    }

    /// How full the flow table is, and which port has most of it.
    pub(super) fn flows_part(
        &self,
        ports: &[&PortItem],
        report: Option<&DatapathReport>,
    ) -> PartStatus {
        let wanted = u64::from(self.flows_wanted);
        let room = report.map_or(wanted, |report| report.flow_capacity.into());
        if let Some(why) = ports.iter().find_map(|port| port.unknown.as_deref()) {
            return unknown_flows(room, why);
        }
        let flows = |port: &&&PortItem| port.flows.unwrap_or_default();
        let used: u64 = ports.iter().map(|port| flows(&port)).sum();
        let mut text = format!("{used} of {room}");
        if let Some(most) = ports
            .iter()
            .filter(|port| flows(port) > 0)
            .max_by_key(flows)
        {
            let limit = match most.settings.max_connections {
                0 => String::new(),
                limit => format!(" of its {limit}"),
            };
            let flows = flows(&most);
            text.push_str(&format!("; most: {} with {flows}{limit}", most.name));
        }
        let anew = format!(
            "harbor-ctl config set datapath.flows {}; systemctl restart harbor (open flows stay)",
            wanted.saturating_mul(2)
        );
        if room != wanted {
            text.push_str(&format!(
                "; datapath.flows = {wanted} has to wait until the flows of the tables before have ended, and \
                 for a restart"
            ));
        }
        let filled = report.map_or(&[][..], |report| &report.filled);
        let (clients, others): (Vec<&Filled>, Vec<&Filled>) = filled
            .iter()
            .filter(|filled| filled.is_nearly_full())
            .partition(|filled| filled.what == "client");
        // A client that keeps as many flows as it may is that client's matter alone.
        for client in clients {
            text.push_str(&format!("; {client}"));
        }
        for other in &others {
            text.push_str(&format!("; nearly full: {other}"));
        }
        let fix = match others.first().map(|other| other.what.as_str()) {
            None => return part("ok", text),
            Some("flow table") => anew,
            Some("port") => "harbor-ctl config set limits.flows_per_port N, or end flows: \
                             harbor-ctl flows list"
                .into(),
            Some("organization") => "harbor-ctl config set limits.flows_per_organization N".into(),
            Some(_) => "add a backend, or an address: datapath.source_addresses".into(),
        };
        PartStatus {
            fix: Some(fix),
            ..part("degraded", text)
        }
    }
}

/// What nobody counts.
fn unknown_flows(room: u64, why: &str) -> PartStatus {
    PartStatus {
        fix: Some("harbor-ctl status: see to the datapath".into()),
        ..part("degraded", format!("not known, of {room}: {why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_by_tcp_is_off_on_or_in_trouble() {
        let mut api = TcpApi {
            listen: None,
            has_tls: false,
            problem: None,
        };
        let said = |api: &TcpApi| api.part("control.listen", "look");
        assert_eq!(said(&api).text, "off: control.listen is not set");
        api.listen = Some(([127, 0, 0, 1], 8_442).into());
        assert_eq!(said(&api).text, "127.0.0.1:8442, no TLS");
        api.problem = Some("taken".into());
        assert_eq!(
            (said(&api).state, said(&api).fix),
            ("degraded".into(), Some("look".into()))
        );
    }

    #[test]
    fn what_waits_is_said_and_what_is_wrong_is_no_ok() {
        let mut configuration = Unapplied::default();
        let said = |configuration: &Unapplied| configuration_part("file", configuration);
        assert_eq!(
            (said(&configuration).state, said(&configuration).text),
            ("ok".into(), "file".into())
        );
        configuration.waiting = vec!["node.id".into()];
        let waits = said(&configuration);
        assert_eq!(waits.text, "file; 1 setting waits for a restart: node.id");
        assert!(waits.fix.is_some());
        configuration.problem = Some("line 3".into());
        assert_eq!(said(&configuration).state, "degraded");
    }

    #[test]
    fn a_drained_node_is_well_and_one_that_is_away_is_not() {
        let record = |id: &str, seen_ms_ago, drained| NodeRecord {
            id: id.into(),
            version: String::new(),
            seen_ms_ago,
            addresses: Vec::new(),
            sync: None,
            drained,
        };
        assert_eq!(nodes_part("", None).text, "this node alone");
        let mut records = vec![record("one", Some(1), false), record("two", Some(1), true)];
        let well = nodes_part("one", Some(&records));
        assert_eq!(
            (well.state.as_str(), well.text.as_str()),
            ("ok", "2 nodes, drained: two")
        );
        records[1].seen_ms_ago = Some(60_000);
        let away = nodes_part("one", Some(&records));
        assert_eq!(away.state, "degraded");
        assert!(away.text.ends_with("away: two"), "{}", away.text);
    }
}
