//! Clocks that are set by minutes and by years, under drains, rests and ports that end by themselves.

use super::*;
use crate::{
    config::{self, Source},
    forwarding::Engines,
    model::{Departure, Protocols, now, testing::service},
    registry::{EmbeddedRegistry, Rests},
};

const TEN_YEARS: u64 = 3_652 * 86_400;

/// A controller of one port that ends in two hours and of which one backend drains; a number rests.
async fn controller(state: &std::path::Path, time: u64) -> Controller<EmbeddedRegistry> {
    let source = Source {
        path: "/nowhere/harbor.toml".into(),
        must_exist: false,
        environment: Vec::new(),
        flags: vec!["datapath.mode=proxy".into()],
    };
    let registry = EmbeddedRegistry::open(&state.join("harbor.redb")).unwrap();
    let mut web = service("web", 35_000, Protocols::Tcp);
    (web.created_at, web.expires_at) = (time, Some(time + 7_200));
    for last in 1..=2 {
        web.add_backend(([10, 0, 0, last], 80).into(), None, time)
            .unwrap();
    }
    let first = web.backends[0].instance.clone();
    web.remove_backend(&first, Departure::DrainUntil(time + 30))
        .unwrap();
    registry.allocate(&web, Rests::Respected).await.unwrap();
    let config = config::load(&source).unwrap();
    let engines = Engines::start(&config.config).await.unwrap();
    let contents = registry.load().await.unwrap();
    Controller::new(config, registry, contents, engines)
}

/// When the port ends and when its backend has left, as recorded.
async fn deadlines(controller: &Controller<EmbeddedRegistry>) -> (u64, u64) {
    let recorded = controller.registry.load().await.unwrap().services.remove(0);
    let BackendState::Leaving { until } = recorded.backends[0].state else {
        panic!("{recorded:?}")
    };
    (recorded.expires_at.unwrap(), until)
}

#[test]
fn a_clock_that_goes_on_is_not_set_however_long_nobody_looks() {
    let seconds = Duration::from_secs;
    let mut clock = Clock {
        wall: 1_000,
        since_boot: seconds(10),
    };
    assert_eq!(clock.look(1_001, seconds(11)), 0);
    assert_eq!(clock.look(1_600, seconds(610)), 0);
    assert_eq!(
        clock.look(1_610 + TEN_YEARS, seconds(620)),
        TEN_YEARS.cast_signed()
    );
    assert_eq!(clock.look(1_611 + TEN_YEARS, seconds(621)), 0);
    assert_eq!(
        clock.look(1_021, seconds(631)),
        -(TEN_YEARS.cast_signed() + 600)
    );
    // Steps that are too small to be seen one by one are seen together.
    assert_eq!(clock.look(1_026, seconds(632)), 0);
    assert_eq!(clock.look(1_031, seconds(633)), 8);
}

#[tokio::test]
async fn drains_and_lifetimes_move_with_a_clock_that_is_set_both_ways() {
    for by in [-600, 600, TEN_YEARS.cast_signed(), -TEN_YEARS.cast_signed()] {
        let folder = tempfile::tempdir().unwrap();
        let begun = now();
        let mut controller = controller(folder.path(), begun).await;
        controller.keep_time().await;
        assert_eq!(deadlines(&controller).await, (begun + 7_200, begun + 30));
        // The clock was at another time when it was looked at last.
        controller.clock.wall = controller.clock.wall.saturating_add_signed(-by);
        controller.keep_time().await;
        let (ends, left) = deadlines(&controller).await;
        let moved = |before: u64| before.saturating_add_signed(by);
        assert!(ends.abs_diff(moved(begun + 7_200)) <= 2, "{by}: {ends}");
        assert!(left.abs_diff(moved(begun + 30)) <= 2, "{by}: {left}");
    }
}

#[tokio::test]
async fn what_a_clock_that_was_years_ahead_has_left_is_as_short_as_it_was_meant() {
    let folder = tempfile::tempdir().unwrap();
    let mut controller = controller(folder.path(), now() + TEN_YEARS).await;
    let old = service("old", 35_001, Protocols::Tcp);
    controller
        .registry
        .allocate(&old, Rests::Ended)
        .await
        .unwrap();
    let rest = Duration::from_secs(TEN_YEARS);
    controller.registry.release(&old.id, rest).await.unwrap();
    controller.resting = controller.registry.load().await.unwrap().resting;
    controller.right_deadlines().await;
    let (ends, left) = deadlines(&controller).await;
    let time = now();
    assert!(ends.abs_diff(time + 7_200) <= 2, "{}", ends - time);
    assert!(left <= time + 30, "{}", left - time);
    let resting = controller.registry.load().await.unwrap().resting;
    assert_eq!(resting.len(), 1);
    assert!(resting.values().all(|until| *until <= time + 60));
    assert_eq!(controller.resting, resting);
}
