//! Who may be ejected of a port: half of its backends, and what becomes of the others.

use super::*;

#[test]
fn at_most_half_and_never_the_only_one() {
    for (backends, most) in [(1, 0), (2, 1), (3, 1), (4, 2), (10, 5)] {
        let mut scene = Scene::new(backends, true);
        let turns = (0..backends.into()).filter_map(|index| scene.eject(index));
        let (ejected, missed): (Vec<_>, Vec<_>) = kinds(turns)
            .into_iter()
            .partition(|kind| matches!(kind, TurnKind::Ejected(_)));
        assert_eq!(ejected.len(), most, "of {backends}");
        assert_eq!(missed.len(), usize::from(backends) - most);
        assert_eq!(scene.look(), [], "nor is anybody given back");
    }
}

#[test]
fn the_only_one_is_missed_once_and_found_when_it_answers() {
    let mut scene = Scene::new(1, true);
    assert_eq!(kinds(scene.eject(0)), [TurnKind::Missed(Doubt::Refused)]);
    assert_eq!(scene.ejected(), 0);
    for _ in 0..3 {
        assert_eq!(scene.doubt(0), None);
        assert_eq!(scene.after(2_000).asked(), [scene.suspect(0)]);
        assert_eq!(scene.answer(0, dead()), None);
    }
    assert_eq!(scene.after(2_000).asked(), [scene.suspect(0)]);
    assert_eq!(kinds(scene.answer(0, Ok(()))), [TurnKind::Found]);
    // With somebody beside it, it is ejected instead.
    kinds(scene.after(1_000).eject(0));
    scene.port.takers = Scene::new(2, true).port.takers;
    assert_eq!(scene.after(2_000).asked(), [scene.suspect(0)]);
    assert_eq!(
        kinds(scene.answer(0, dead())),
        [TurnKind::Ejected(Doubt::Refused)]
    );
    // Where nobody can be asked, its time ends.
    let mut scene = Scene::new(1, false);
    let kernel = scene.hear(0, Witness::Kernel, Err(Doubt::Unreachable));
    assert_eq!(kinds(kernel), [TurnKind::Missed(Doubt::Unreachable)]);
    assert_eq!(scene.look(), []);
    assert_eq!(kinds(scene.after(11_000).look()), [TurnKind::Found]);
}

#[test]
fn who_is_one_too_many_when_others_leave_is_given_back() {
    let mut scene = Scene::new(4, true);
    scene.eject(0).unwrap();
    scene.eject(1).unwrap();
    scene.port.takers.truncate(3);
    let turns = scene.look();
    assert_eq!(turns.len(), 1, "{turns:?}");
    assert_eq!((turns[0].kind, scene.ejected()), (TurnKind::Returned, 1));
    scene.port.takers.clear();
    assert_eq!(kinds(scene.look()), [TurnKind::Returned]);
    assert!(scene.passive.cases.is_empty(), "who is gone is forgotten");
}
