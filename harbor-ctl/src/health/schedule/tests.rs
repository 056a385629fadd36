//! Time passes by hand.

use proptest::prelude::*;

use super::*;
use crate::model::{HealthCheck, StatusRange};

const INTERVAL: Duration = Duration::from_secs(5);

fn rule() -> Arc<HealthRule> {
    Arc::new(HealthRule {
        check: HealthCheck::Tcp,
        port: 0,
        status: StatusRange::default(),
        interval: INTERVAL,
        timeout: Duration::from_secs(1),
        rise: 2,
        fall: 3,
    })
}

fn key(service: u16, last: u8) -> Key {
    Key {
        service: format!("s{service}").into(),
        address: ([10, 0, 0, last], 80).into(),
    }
}

/// So many services with two backends each.
fn targets(services: u16) -> Vec<Target> {
    let rule = rule();
    let both = |service| [key(service, 1), key(service, 2)];
    let target = |key| Target {
        key,
        rule: Arc::clone(&rule),
        is_failing: false,
    };
    (0..services).flat_map(both).map(target).collect()
}

/// Has the roster follow these targets, and nobody else.
fn follow(roster: &mut Schedule, targets: Vec<Target>, now: Instant) {
    let wanted = targets.iter().map(|target| &target.key.service);
    let services: BTreeSet<Arc<str>> = roster.services.iter().chain(wanted).cloned().collect();
    for service in services {
        let of = targets
            .iter()
            .filter(|target| target.key.service == service);
        roster.follow(&service, of.cloned().collect(), now);
    }
}

fn silent() -> Result<(), Fault> {
    Err(Fault::new(FaultKind::Silent, "no answer"))
}

fn refused() -> Result<(), Fault> {
    Err(Fault::new(FaultKind::Answered, "connection refused"))
}

/// Lets time pass, each probe answered as `world` says; every change with its time.
fn live(
    roster: &mut Schedule,
    (from, seconds): (Instant, u64),
    world: impl Fn(&Key) -> Result<(), Fault>,
) -> Vec<(u64, Change)> {
    let mut changes = Vec::new();
    let mut jitters = [0.1, 0.9, 0.4, 0.7, 0.0, 0.3, 1.0].iter().cycle();
    for tick in 0..seconds * 10 {
        let now = from + Duration::from_millis(tick * 100);
        for (key, rule) in roster.begin(1_000, now) {
            let jitter = *jitters.next().unwrap();
            let change = roster.note((&key, &rule), &world(&key), (now, now), jitter);
            changes.extend(change.map(|change| (tick / 10, change)));
        }
    }
    changes
}

#[test]
fn a_restart_asks_everybody_at_the_rate_and_no_faster() {
    let start = Instant::now();
    let mut roster = Schedule::new(start);
    follow(&mut roster, targets(500), start);
    let mut begun = 0;
    for tick in 0..=20 {
        let now = start + Duration::from_millis(tick * 100);
        begun += roster.begin(100, now).len();
        // 100 a second, and a burst of a quarter second's at the most.
        let most = 25 + 10 * tick as usize;
        assert!(begun <= most, "{begun} after {tick} ticks");
    }
    assert!(begun >= 195, "{begun}");
    assert_eq!(roster.summary(start).backends, 1_000);
}

#[test]
fn a_backend_that_refuses_is_out_after_its_third_probe_and_back_after_two() {
    let start = Instant::now();
    let mut roster = Schedule::new(start);
    follow(&mut roster, targets(1), start);
    let bad = key(0, 1);
    let world = |key: &Key| if *key == bad { refused() } else { Ok(()) };
    let changes = live(&mut roster, (start, 30), world);
    let failing = Some("connection refused".to_owned());
    let change = Change { key: bad, failing };
    assert_eq!(changes.len(), 1);
    // Two intervals, each give or take a tenth.
    assert!((9..=11).contains(&changes[0].0), "{changes:?}");
    assert_eq!(changes[0].1, change);
    let changes = live(&mut roster, (start + Duration::from_secs(30), 30), |_| {
        Ok(())
    });
    assert_eq!(changes.len(), 1);
    assert!(changes[0].0 <= 10 && changes[0].1.failing.is_none());
}

#[test]
fn whom_a_client_doubts_is_asked_at_once_and_nothing_else() {
    let start = Instant::now();
    let mut roster = Schedule::new(start);
    follow(&mut roster, targets(1), start);
    live(&mut roster, (start, 2), |_| Ok(()));
    let bad = key(0, 1);
    let now = start + Duration::from_secs(2);
    assert!(roster.begin(1_000, now).is_empty());
    roster.hurry(&bad, now);
    let begun = roster.begin(1_000, now);
    assert_eq!(begun.len(), 1);
    let (key, rule) = &begun[0];
    assert_eq!(key, &bad);
    assert_eq!(roster.note((key, rule), &refused(), (now, now), 0.5), None);
    // One down, two to go: a client's word is not counted.
    let changes = live(&mut roster, (now, 4), |key| match *key == bad {
        true => refused(),
        false => Ok(()),
    });
    assert_eq!(changes.len(), 0);
}

#[test]
fn a_node_that_is_cut_off_changes_nothing() {
    let start = Instant::now();
    let mut roster = Schedule::new(start);
    follow(&mut roster, targets(4), start);
    assert!(live(&mut roster, (start, 8), |_| Ok(())).is_empty());
    let cut = start + Duration::from_secs(8);
    assert!(live(&mut roster, (cut, 60), |_| silent()).is_empty());
    let summary = roster.summary(cut + Duration::from_secs(60));
    assert_eq!((summary.braked, summary.failing), (Some((8, 8)), 0));
    let back = cut + Duration::from_secs(60);
    assert!(live(&mut roster, (back, 60), |_| Ok(())).is_empty());
    assert_eq!(roster.summary(back).braked, None);
}

#[test]
fn a_dead_app_host_with_most_backends_leaves_where_others_answer() {
    let start = Instant::now();
    let mut roster = Schedule::new(start);
    let mut wanted = targets(4);
    // The host with the last octet 1 has three of every four backends.
    let more = (4..8).map(|service| Target {
        key: key(service, 1),
        ..wanted[0].clone()
    });
    wanted.extend(more.collect::<Vec<_>>());
    follow(&mut roster, wanted, start);
    let dead = |key: &Key| match key.address.ip().to_string() == "10.0.0.1" {
        true => silent(),
        false => Ok(()),
    };
    let changes = live(&mut roster, (start, 40), dead);
    let left: BTreeSet<Key> = changes.into_iter().map(|(_, change)| change.key).collect();
    let survivors = (0..4).map(|service| key(service, 1));
    assert!(survivors.clone().all(|key| left.contains(&key)), "{left:?}");
}

#[test]
fn what_is_recorded_is_where_it_begins_and_a_new_rule_begins_anew() {
    let start = Instant::now();
    let mut roster = Schedule::new(start);
    let mut wanted = targets(1);
    wanted[0].is_failing = true;
    follow(&mut roster, wanted.clone(), start);
    assert_eq!(roster.summary(start).failing, 1);
    let begun = roster.begin(1_000, start);
    assert_eq!(begun.len(), 1, "a burst is part of a second's");
    let changed = Arc::new(HealthRule {
        fall: 1,
        ..(*wanted[0].rule).clone()
    });
    wanted
        .iter_mut()
        .for_each(|t| t.rule = Arc::clone(&changed));
    follow(&mut roster, wanted, start);
    let (key, old) = &begun[0];
    assert_eq!(roster.note((key, old), &Ok(()), (start, start), 0.5), None);
    let later = start + Duration::from_secs(1);
    assert_eq!(roster.begin(1_000, later).len(), 2);
    follow(&mut roster, Vec::new(), later);
    assert_eq!(roster.summary(later), Summary::default());
    assert_eq!(roster.out, 0);
}

proptest! {
    /// Whatever the jitter, whenever a node is cut off and however long: nobody's state changes. A
    /// probe that began during it may end after it.
    #[test]
    fn no_cut_changes_a_state(
        jitters in prop::collection::vec(0.0f64..1.0, 40),
        (cut, back) in (50u64..150, 1u64..400),
        services in 3u16..8,
    ) {
        let start = Instant::now();
        let at = |tick: u64| start + Duration::from_millis(tick * 100);
        let mut roster = Schedule::new(start);
        follow(&mut roster, targets(services), start);
        let mut jitters = jitters.iter().cycle();
        let mut out = Vec::new();
        for tick in 0..cut + back + 300 {
            let is_cut = (cut..cut + back).contains(&tick);
            for (key, rule) in roster.begin(1_000, at(tick)) {
                out.push((tick, is_cut, key, rule));
            }
            let (ended, under_way) = out
                .into_iter()
                .partition::<Vec<_>, _>(|(begun, is_cut, ..)| !is_cut || begun + 10 <= tick);
            out = under_way;
            for (begun, is_cut, key, rule) in ended {
                let sight = if is_cut { silent() } else { Ok(()) };
                let jitter = *jitters.next().unwrap();
                let times = (at(begun), at(tick));
                prop_assert_eq!(roster.note((&key, &rule), &sight, times, jitter), None);
            }
        }
        prop_assert_eq!(roster.summary(at(0)).braked, None);
    }
}
