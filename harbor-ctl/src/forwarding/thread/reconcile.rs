//! Keeps the kernel's tables as they should be: what the services ask for, and what the host's own
//! routes and neighbours say.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Instant,
};

use harbor_common::frontend::BackendSet;

use super::{
    Forwarder, LOOK_GAP, LOOK_SHARE, WAYS,
    sweep::{Ending, Those},
};
use crate::{
    datapath::{DatapathError, KernelRoutes},
    forwarding::{heap, kernel::Change},
    model::{AllDown, Route, Service},
    reconcile::{self, Capacity, Desired, FrontendKey, Plan, Scope, TableMirror, Tables as _},
};

impl Forwarder {
    /// Takes over what is to be served.
    ///
    /// Before the first complete list of services nothing is touched: an agent that does not know
    /// yet must not take for unwanted what its predecessor served.
    pub(super) fn wish(&mut self, services: Vec<Arc<Service>>, all_down: AllDown) {
        let inputs = &mut self.inputs;
        let backends = services.iter().flat_map(|service| &service.backends);
        inputs.hosts = backends.map(|backend| backend.address.ip()).collect();
        let is_new = |host: &&IpAddr| !inputs.routes.contains_key(host);
        let fresh: BTreeSet<IpAddr> = inputs.hosts.iter().filter(is_new).copied().collect();
        let found = self.host.routes(&fresh);
        inputs.routes.extend(found);
        inputs.routes.retain(|host, _| inputs.hosts.contains(host));
        inputs.is_unjudged = true;
        let by_id = services
            .into_iter()
            .map(|service| (service.id.clone(), service));
        inputs.services = Some(by_id.collect());
        inputs.all_down = all_down;
        inputs.is_open = true;
    }

    /// Takes over changed services and brings their frontends, and no others, to what they ask for.
    pub(super) fn change(&mut self, changes: Vec<Change>) -> Result<(), DatapathError> {
        let inputs = &mut self.inputs;
        let Some(services) = inputs.services.as_mut() else {
            // What else is served is not known yet.
            return Ok(());
        };
        let (mut keys, mut changed) = (BTreeSet::new(), Vec::new());
        for (id, service) in changes {
            let held = match &service {
                Some(service) => services.insert(id, Arc::clone(service)),
                None => services.remove(&id),
            };
            let both = held.iter().chain(&service);
            keys.extend(both.flat_map(|service| reconcile::frontends(service)));
            changed.extend(service);
        }
        let backends = changed.iter().flat_map(|service| &service.backends);
        let hosts: BTreeSet<IpAddr> = backends.map(|backend| backend.address.ip()).collect();
        let fresh: BTreeSet<IpAddr> = hosts.difference(&inputs.hosts).copied().collect();
        if !fresh.is_empty() {
            let found = self.host.routes(&fresh);
            inputs.routes.extend(found);
            inputs.hosts.extend(fresh);
            self.attach_towards();
        }
        let inputs = &mut self.inputs;
        let now = Instant::now();
        let since = inputs.untidy.map_or(now, |[since, _]| since);
        inputs.untidy = Some([since, now]);
        if inputs.is_open {
            return self.reconcile();
        }
        let scope = Scope::Part(keys);
        let desired =
            reconcile::desired(changed.iter().map(Arc::as_ref), scope, inputs.host_view());
        let applied = self.plan_and_apply(&desired);
        // What failed half way is for a look at everything.
        self.inputs.is_open = applied.is_err();
        applied
    }

    /// Brings the tables to what the services ask for.
    pub(super) fn reconcile(&mut self) -> Result<(), DatapathError> {
        self.keep_routes();
        self.judge_routes();
        let own = self.own_addresses();
        for number in self.shares.keep(&own.shares, &own.local, self.hold)? {
            tracing::info!(number, "a share of a pool has come to this node");
        }
        let has_moved = self.inputs.own.views != own.views;
        if self.inputs.own != own {
            self.inputs.own = own;
            self.inputs.is_open = true;
        }
        let inputs = &self.inputs;
        let Some(services) = inputs.services.as_ref().filter(|_| inputs.is_open) else {
            return Ok(());
        };
        let desired = reconcile::desired(
            services.values().map(Arc::as_ref),
            Scope::Whole,
            inputs.host_view(),
        );
        self.plan_and_apply(&desired)?;
        drop(desired);
        if has_moved {
            // Flows that looked their way up by the former views look again.
            self.heart.turn_generation();
            self.beat();
        }
        self.mirror.actual.pack();
        heap::give_back();
        (self.inputs.is_open, self.inputs.untidy) = (false, None);
        self.forget_hosts();
        Ok(())
    }

    pub(super) fn plan_and_apply(&mut self, desired: &Desired) -> Result<(), DatapathError> {
        let plan = Plan::between(&self.mirror.actual, desired, &mut self.mirror.free);
        for refused in &plan.refused {
            tracing::error!("{refused}");
        }
        if !plan.is_empty() {
            tracing::debug!("applying {plan}");
            self.apply(&plan)?;
        }
        Ok(())
    }

    /// Waits while nobody else does for the packets that may still read what was replaced, so that
    /// the next change of the same port need not.
    pub(super) fn settle(&mut self) {
        if !self.mirror.unsettled.is_empty() && self.tables.wait_for_readers().is_ok() {
            self.mirror.unsettled.clear();
        }
    }

    /// Forgets the ways to hosts that no backend is on any more.
    fn forget_hosts(&mut self) {
        let inputs = &mut self.inputs;
        let services = inputs.services.iter().flat_map(BTreeMap::values);
        let backends = services.flat_map(|service| &service.backends);
        inputs.hosts = backends.map(|backend| backend.address.ip()).collect();
        inputs.routes.retain(|host, _| inputs.hosts.contains(host));
    }

    fn apply(&mut self, plan: &Plan) -> Result<(), DatapathError> {
        let relisted = self.relisted(plan);
        self.judge_anew();
        if let Err(error) = reconcile::apply(plan, &mut self.mirror, &mut self.tables) {
            // What was written is uncertain: look, and leave the rest to the next round.
            let actual = self.tables.read()?;
            self.mirror = TableMirror::open(actual, Capacity::default());
            return Err(error);
        }
        if self.heart.meter(self.is_metered(plan)) {
            self.beat();
        }
        self.end_denied(relisted)
    }

    /// Frontends whose list of networks the plan changes.
    fn relisted(&self, plan: &Plan) -> BTreeSet<FrontendKey> {
        let changed = plan.frontends.iter().filter(|(key, _, sets)| {
            let held = self.mirror.actual.frontends.get(key);
            held.is_some_and(|(_, held)| {
                let (old, new) = (held[0].limits, sets[0].limits);
                (old.acl, old.acl_default) != (new.acl, new.acl_default)
            })
        });
        changed.map(|(key, ..)| *key).collect()
    }

    /// Has the flows of clients end that may no longer have any, in turns: other changes go on meanwhile.
    fn end_denied(&mut self, relisted: BTreeSet<FrontendKey>) -> Result<(), DatapathError> {
        if relisted.is_empty() {
            return Ok(());
        }
        // A packet that still saw the old list may open a flow.
        self.tables.wait_for_readers()?;
        self.endings.push_back(Ending::of(Those::Denied(relisted)));
        Ok(())
    }

    /// Whether some frontend is, now that the plan is carried out.
    fn is_metered(&self, plan: &Plan) -> bool {
        let is_limited = |sets: &[BackendSet; 2]| {
            let limits = sets[0].limits;
            limits.packets_per_second != 0 || limits.bytes_per_second != 0
        };
        let mut changed = plan.frontends.iter();
        let mut served = self.mirror.actual.frontends.values();
        // All are looked at only when the last one may be limited no longer.
        changed.any(|(_, _, sets)| is_limited(sets))
            || self.heart.is_metered() && served.any(|(_, sets)| is_limited(sets))
    }

    fn keep_routes(&mut self) {
        let inputs = &mut self.inputs;
        if std::mem::take(&mut inputs.is_stale) {
            let routes = self.host.routes(&inputs.hosts);
            let is_same = |(a, b): (&Route, &Route)| (a.ifindex, a.source) == (b.ifindex, b.source);
            let same = inputs.routes.keys().eq(routes.keys())
                && inputs.routes.values().zip(routes.values()).all(is_same);
            if !same {
                inputs.routes = routes;
                inputs.is_open = true;
            }
            inputs.is_unjudged = true;
        }
    }

    /// Attaches where new backends' ways leave, and judges those ways.
    fn attach_towards(&mut self) {
        let ways = self.inputs.routes.values();
        let towards: BTreeSet<u32> = ways.map(|route| route.ifindex).collect();
        if !towards
            .iter()
            .all(|index| self.attached.contains_key(index))
        {
            self.attach();
        }
        self.inputs.is_unjudged = true;
        self.judge_routes();
    }

    /// Finds out which ways to backends the programs can take: known for certain, and by an interface
    /// that has the program, because answers come back by it.
    fn judge_routes(&mut self) {
        let inputs = &mut self.inputs;
        if !std::mem::take(&mut inputs.is_unjudged) {
            return;
        }
        for (host, route) in &mut inputs.routes {
            let leaves_by = self.ways.interface_towards(route.source, *host);
            let is_taken = leaves_by.is_some_and(|index| self.attached.contains_key(&index));
            if std::mem::replace(&mut route.is_handed, !is_taken) == is_taken {
                inputs.is_open = true;
            }
        }
    }

    /// Looks at what has changed on the host, and follows at once.
    pub(super) fn look(&mut self) {
        let started = Instant::now();
        let news = std::mem::take(&mut self.news);
        if news.links {
            self.keep_snapshot();
            self.attach();
        }
        self.keep_ways();
        if news.links || news.routes {
            self.inputs.is_stale = true;
            if let Err(error) = self.reconcile() {
                tracing::error!("cannot bring the tables up to date: {error}");
            }
        }
        self.next_look = Instant::now() + LOOK_GAP.max(started.elapsed() * LOOK_SHARE);
    }

    pub(super) fn keep_snapshot(&mut self) {
        match self.host.snapshot() {
            Ok(snapshot) => self.snapshot = snapshot,
            Err(error) => tracing::warn!("{error}"),
        }
    }

    /// Brings the datapath's ways to what the kernel says; flows follow when they have changed.
    ///
    /// Ways that cannot be read are forgotten: the datapath would take old ones for true.
    pub(super) fn keep_ways(&mut self) {
        self.next_ways = Instant::now() + WAYS;
        let read = self.host.ways();
        let updated = match &read {
            Ok(kernel) => self.ways.update(kernel, &self.snapshot),
            Err(_) => self.ways.update(&KernelRoutes::default(), &self.snapshot),
        };
        if let Ok(kernel) = &read {
            self.hear_of_neighbours(kernel);
        }
        let problem = match (&read, &updated) {
            (Err(error), _) | (_, Err(error)) => Some(error.to_string()),
            _ => self.ways.gap().map(str::to_owned),
        };
        if let Some(problem) = problem
            .as_ref()
            .filter(|p| self.no_ways.as_ref() != Some(*p))
        {
            tracing::warn!("the proxy serves what is behind ways that are not known: {problem}");
        }
        self.no_ways = problem;
        if updated.is_err() {
            self.next_ways = Instant::now();
        }
        self.heart
            .tell_ways(!self.ways.views().is_empty(), self.ways.gap().is_some());
        // What was written before something failed is a change as well.
        if updated.unwrap_or(true) {
            self.inputs.is_unjudged = true;
            self.heart.turn_generation();
            self.beat();
        }
    }

    /// Tells the datapath that the agent lives.
    pub(super) fn beat(&mut self) {
        if let Err(error) = self.heart.beat() {
            tracing::error!("{error}");
        }
    }
}
