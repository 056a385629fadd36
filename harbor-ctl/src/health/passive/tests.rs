//! Who is asked, what an answer means, and that nobody empties a port.

mod half;
mod witnesses;

use proptest::prelude::*;

use super::*;
use crate::model::{Protocol, Witness};

const RATE: u32 = 1_000;

/// A port of so many backends, and a clock.
struct Scene {
    passive: Passive,
    port: Port,
    start: Instant,
    now: Instant,
}

impl Scene {
    fn new(backends: u8, can_ask: bool) -> Self {
        let start = Instant::now();
        let address = |n: u8| SocketAddr::from(([10, 0, 0, n], 80));
        Self {
            passive: Passive::new(start),
            port: Port {
                takers: (1..=backends).map(address).collect(),
                can_ask,
            },
            start,
            now: start + Duration::from_secs(1),
        }
    }

    fn suspect(&self, index: usize) -> Suspect {
        Suspect {
            protocol: Protocol::Tcp,
            port: 35_000,
            address: SocketAddr::from(([10, 0, 0, 1 + index as u8], 80)),
        }
    }

    fn after(&mut self, milliseconds: u64) -> &mut Self {
        self.now += Duration::from_millis(milliseconds);
        self
    }

    fn hear(&mut self, index: usize, witness: Witness, sight: Result<(), Doubt>) -> Option<Turn> {
        let suspect = self.suspect(index);
        let evidence = Evidence {
            suspect,
            witness,
            sight,
        };
        self.passive.hear(&evidence, &self.port, self.now)
    }

    fn doubt(&mut self, index: usize) -> Option<Turn> {
        let client = Witness::Client([192, 0, 2, 1].into());
        self.hear(index, client, Err(Doubt::Refused))
    }

    fn asked(&mut self) -> Vec<Suspect> {
        let questions = self.passive.questions(RATE, self.now);
        questions.iter().map(|question| question.suspect).collect()
    }

    fn answer(&mut self, index: usize, sight: Result<(), Fault>) -> Option<Turn> {
        let suspect = self.suspect(index);
        self.passive.answer(suspect, &sight, &self.port, self.now)
    }

    /// Doubts a backend, and confirms it.
    fn eject(&mut self, index: usize) -> Option<Turn> {
        assert_eq!(self.doubt(index), None);
        assert_eq!(self.asked(), [self.suspect(index)]);
        self.answer(index, dead())
    }

    fn look(&mut self) -> Vec<Turn> {
        let port = self.port.clone();
        self.passive.look(|_| Some(port.clone()), self.now)
    }

    fn ejected(&self) -> usize {
        self.passive
            .cases
            .values()
            .filter(|case| case.is_ejected)
            .count()
    }
}

fn dead() -> Result<(), Fault> {
    Err(Fault::new(FaultKind::Answered, "connection refused"))
}

fn kinds(turns: impl IntoIterator<Item = Turn>) -> Vec<TurnKind> {
    turns.into_iter().map(|turn| turn.kind).collect()
}

#[test]
fn a_doubt_alone_takes_nobody_away() {
    let mut scene = Scene::new(10, true);
    for _ in 0..100 {
        assert_eq!(scene.doubt(0), None);
    }
    assert_eq!(scene.asked(), [scene.suspect(0)], "one question at a time");
    assert_eq!(scene.doubt(0), None);
    assert_eq!(scene.asked(), []);
    assert_eq!(scene.answer(0, Ok(())), None);
    assert_eq!(scene.doubt(0), None);
    assert_eq!(scene.asked(), [], "it was asked just now");
    assert_eq!(scene.after(600).asked(), [scene.suspect(0)]);
    assert_eq!(scene.ejected(), 0);
}

#[test]
fn what_is_confirmed_is_ejected_longer_each_time_until_it_answers() {
    let mut scene = Scene::new(2, true);
    let turn = scene.eject(0).unwrap();
    assert_eq!(turn.kind, TurnKind::Ejected(Doubt::Refused));
    assert!(
        turn.reason.contains("connection refused"),
        "{}",
        turn.reason
    );
    for seconds in [2, 4, 8, 16, 32, 60, 60] {
        assert_eq!(scene.after(seconds * 1_000 - 1).asked(), []);
        assert_eq!(scene.after(1).asked(), [scene.suspect(0)], "{seconds} s");
        assert_eq!(scene.answer(0, dead()), None, "nothing new");
        assert_eq!(scene.ejected(), 1);
    }
    assert_eq!(scene.after(60_000).asked(), [scene.suspect(0)]);
    assert_eq!(kinds(scene.answer(0, Ok(()))), [TurnKind::Returned]);
    scene.after(1_000).eject(0).unwrap();
    assert_eq!(
        scene.after(2_000).asked(),
        [scene.suspect(0)],
        "from the start"
    );
}

#[test]
fn a_success_of_any_client_means_that_nothing_has_happened() {
    let mut scene = Scene::new(2, true);
    scene.doubt(0);
    assert_eq!(scene.asked().len(), 1);
    assert_eq!(scene.hear(0, Witness::Unknown, Ok(())), None);
    assert_eq!(scene.doubt(0), None, "a question is under way");
    assert_eq!(scene.answer(0, dead()), None);
    assert_eq!(scene.ejected(), 0);
    scene.after(1_000).eject(0).unwrap();
    assert_eq!(
        kinds(scene.hear(0, Witness::Unknown, Ok(()))),
        [TurnKind::Returned]
    );
    assert_eq!(scene.after(10_000).asked(), [], "nothing is left of it");
}

#[test]
fn what_this_node_could_not_ask_says_nothing() {
    let own = || Err(Fault::new(FaultKind::Own, "no descriptors"));
    let mut scene = Scene::new(2, true);
    scene.doubt(0);
    scene.asked();
    assert_eq!(scene.answer(0, own()), None);
    assert_eq!(scene.ejected(), 0);
    scene.after(1_000).eject(0).unwrap();
    assert_eq!(scene.after(2_000).asked().len(), 1);
    assert_eq!(scene.answer(0, own()), None);
    assert_eq!((scene.ejected(), scene.after(600).asked().len()), (1, 1));
}

#[test]
fn where_nobody_can_be_asked_two_clients_must_say_so() {
    let client = |last: u8| Witness::Client([192, 0, 2, last].into());
    let failed = Err(Doubt::Unreachable);
    let mut scene = Scene::new(2, false);
    for _ in 0..100 {
        assert_eq!(scene.hear(0, client(1), failed), None);
        assert_eq!(scene.hear(0, Witness::Unknown, failed), None);
    }
    assert_eq!(scene.asked(), []);
    assert_eq!(scene.hear(0, Witness::Unknown, Ok(())), None);
    assert_eq!(
        scene.hear(0, client(2), failed),
        None,
        "the first word counts no more"
    );
    scene.after(11_000);
    assert_eq!(scene.hear(0, client(1), failed), None, "so long ago");
    let turn = scene.after(300).hear(0, client(2), failed);
    assert_eq!(kinds(turn), [TurnKind::Ejected(Doubt::Unreachable)]);
    assert_eq!(scene.after(1_999).look(), []);
    assert_eq!(kinds(scene.after(1).look()), [TurnKind::Returned]);
    scene.hear(0, client(1), failed);
    scene.after(300).hear(0, client(2), failed).unwrap();
    assert_eq!(scene.after(3_999).look(), [], "twice as long");
    assert_eq!(scene.after(1).look().len(), 1);
}

#[test]
fn one_subscriber_is_one_client_and_the_kernels_word_is_enough() {
    let client = |text: &str| Witness::Client(text.parse().unwrap());
    let failed = Err(Doubt::Unreachable);
    let mut scene = Scene::new(2, false);
    for text in ["2001:db8::1", "2001:db8::2", "2001:db8::ffff"] {
        assert_eq!(scene.hear(0, client(text), failed), None, "{text}");
    }
    scene.after(300);
    assert_eq!(scene.hear(0, client("2001:db8::1"), failed), None);
    assert!(scene.hear(0, client("2001:db8:0:1::1"), failed).is_some());
    let mut scene = Scene::new(2, false);
    assert!(scene.hear(0, Witness::Kernel, failed).is_some());
}

#[test]
fn a_client_that_has_waited_a_second_is_not_made_to_wait_as_long_again() {
    let mut scene = Scene::new(2, true);
    let evidence = Evidence {
        suspect: scene.suspect(1),
        witness: Witness::Unknown,
        sight: Err(Doubt::Silent),
    };
    assert_eq!(scene.passive.hear(&evidence, &scene.port, scene.now), None);
    let questions = scene.passive.questions(RATE, scene.now);
    assert_eq!(questions[0].suspect, scene.suspect(1));
    assert_eq!(questions[0].patience, FIRST_PATIENCE);
}

#[test]
fn a_backend_that_is_far_away_is_taken_once_and_then_given_its_time() {
    let mut scene = Scene::new(2, true);
    let evidence = Evidence {
        suspect: scene.suspect(1),
        witness: Witness::Unknown,
        sight: Err(Doubt::Silent),
    };
    let silent = Err(Fault::new(FaultKind::Silent, "no answer"));
    scene.passive.hear(&evidence, &scene.port, scene.now);
    let first = scene.passive.questions(RATE, scene.now);
    assert_eq!(first[0].patience, FIRST_PATIENCE);
    let now = scene.after(300).now;
    let turn = scene
        .passive
        .answer(scene.suspect(1), &silent, &scene.port, now);
    assert_eq!(turn.unwrap().kind, TurnKind::Ejected(Doubt::Silent));
    // It answers the question that brings it back, after 400 ms.
    let now = scene.after(2_000).now;
    assert_eq!(scene.passive.questions(RATE, now).len(), 1);
    let (now, suspect) = (scene.after(400).now, scene.suspect(1));
    scene
        .passive
        .note_distance(suspect, Duration::from_millis(400), now);
    let turn = scene.passive.answer(suspect, &Ok(()), &scene.port, now);
    assert_eq!(turn.unwrap().kind, TurnKind::Returned);
    let now = scene.after(60_000).now;
    scene.passive.hear(&evidence, &scene.port, now);
    let next = scene.passive.questions(RATE, now);
    assert_eq!(next[0].patience, PATIENCE);
}

#[test]
fn what_two_clients_say_together_takes_one_that_cannot_be_asked() {
    let mut scene = Scene::new(2, false);
    let evidence = |witness| Evidence {
        suspect: scene.suspect(1),
        witness,
        sight: Err(Doubt::Unreachable),
    };
    let (one, both) = (evidence(Witness::Unknown), evidence(Witness::Several));
    assert_eq!(scene.passive.hear(&one, &scene.port, scene.now), None);
    let turn = scene.passive.hear(&both, &scene.port, scene.now);
    assert_eq!(turn.unwrap().kind, TurnKind::Ejected(Doubt::Unreachable));
}

#[test]
fn no_more_is_asked_than_the_rate_allows() {
    let mut scene = Scene::new(200, true);
    for index in 0..200 {
        scene.doubt(index);
    }
    let mut asked = 0;
    for _ in 0..10 {
        let now = scene.after(100).now;
        let questions = scene.passive.questions(20, now);
        asked += questions.len();
        for question in questions {
            scene
                .passive
                .answer(question.suspect, &Ok(()), &scene.port, now);
        }
    }
    assert!((20..=25).contains(&asked), "{asked} in a second");
}

#[test]
fn who_is_turned_off_gives_everybody_back_and_old_cases_are_forgotten() {
    let mut scene = Scene::new(4, true);
    scene.eject(0).unwrap();
    scene.doubt(1);
    let turns = scene.passive.end("passive health is off", scene.now);
    assert_eq!(kinds(turns), [TurnKind::Returned]);
    assert_eq!(scene.after(60_000).asked(), []);
    assert_eq!(scene.look(), []);
    assert!(scene.passive.cases.is_empty() && scene.passive.due.is_empty());
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Doubt(usize, u8),
    Success(usize),
    Ask,
    Answer(bool),
    Pass(u64),
    Take(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..6_usize, 0..4_u8).prop_map(|(index, client)| Step::Doubt(index, client)),
        (0..6_usize).prop_map(Step::Success),
        Just(Step::Ask),
        any::<bool>().prop_map(Step::Answer),
        (1..3_000_u64).prop_map(Step::Pass),
        (1..7_u8).prop_map(Step::Take),
    ]
}

proptest! {
    #[test]
    fn whatever_is_said_half_stays_and_every_turn_is_told_once(
        can_ask: bool,
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut scene = Scene::new(6, can_ask);
        let (mut under_way, mut told) = (Vec::new(), BTreeSet::new());
        let mut missed = BTreeSet::new();
        for step in steps {
            let mut turns = Vec::new();
            match step {
                Step::Doubt(index, client) => {
                    let client = Witness::Client([192, 0, 2, client].into());
                    turns.extend(scene.hear(index, client, Err(Doubt::Silent)));
                }
                Step::Success(index) => turns.extend(scene.hear(index, Witness::Unknown, Ok(()))),
                Step::Ask => under_way.extend(scene.asked()),
                Step::Answer(is_well) => {
                    if let Some(suspect) = under_way.pop() {
                        let sight = if is_well { Ok(()) } else { dead() };
                        let (port, now) = (scene.port.clone(), scene.now);
                        turns.extend(scene.passive.answer(suspect, &sight, &port, now));
                    }
                }
                Step::Pass(milliseconds) => drop(scene.after(milliseconds)),
                Step::Take(backends) => scene.port = Scene::new(backends, can_ask).port,
            }
            turns.extend(scene.look());
            for turn in turns {
                let is_news = match turn.kind {
                    TurnKind::Ejected(_) => {
                        missed.remove(&turn.suspect);
                        told.insert(turn.suspect)
                    }
                    TurnKind::Returned => told.remove(&turn.suspect),
                    TurnKind::Missed(_) => missed.insert(turn.suspect),
                    TurnKind::Found => missed.remove(&turn.suspect),
                };
                prop_assert!(is_news, "{turn:?} twice");
            }
            prop_assert_eq!(scene.ejected(), told.len());
            prop_assert!(missed.is_disjoint(&told), "{missed:?} {told:?}");
            prop_assert!(told.len() <= scene.port.takers.len() / 2);
            let mut once = under_way.clone();
            once.sort();
            once.dedup();
            prop_assert_eq!(once.len(), under_way.len(), "two questions to one backend");
            prop_assert_eq!(scene.passive.out, under_way.len());
            prop_assert!(scene.now > scene.start);
        }
    }
}
