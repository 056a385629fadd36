//! Who has to leave, without sockets or threads.

use harbor_common::addr::Ip;

use super::*;
use crate::{
    model::Protocol,
    proxy::{flows::Home, worker::poll::Name},
};

const LATE: u64 = 10 * GRACE;
const ROOM: Room = Room {
    whole: 320,
    port: 80,
    client: 32,
    leaving: 20,
    is_crowded: false,
};

fn newcomer(port: u16, client: u8, rank: Rank) -> Newcomer {
    let protocol = match rank {
        Rank::Question => Protocol::Udp,
        _ => Protocol::Tcp,
    };
    Newcomer {
        home: Home {
            worker: 0,
            protocol,
            name: Name::new(0, 0),
        },
        port: (protocol, port),
        client: Ip::from(std::net::IpAddr::from([192, 0, 2, client])),
        descriptors: if rank == Rank::Question { 1 } else { 2 },
        rank,
    }
}

/// Lets flows of a port in, one of each client; their numbers.
fn fill(book: &mut Book, port: u16, count: u8, rank: Rank) -> Vec<u32> {
    let each = (0..count).map(|client| {
        let one = newcomer(port, client, rank);
        let at = 1 + u64::from(client);
        book.enter(&one, Vec::new(), at).0
    });
    each.collect()
}

fn choice(book: &Book, one: &Newcomer) -> Result<Vec<u32>, DropReason> {
    choose(book, one, &ROOM, LATE)
}

#[test]
fn where_there_is_room_nobody_leaves() {
    let mut book = Book::default();
    fill(&mut book, 1, 39, Rank::Unused);
    assert_eq!(choice(&book, &newcomer(1, 99, Rank::Unused)), Ok(vec![]));
}

#[test]
fn a_full_port_makes_room_out_of_its_own_the_oldest_of_the_first_rank_first() {
    let mut book = Book::default();
    let flows = fill(&mut book, 1, 40, Rank::Unused);
    let others = fill(&mut book, 2, 10, Rank::HalfClosed);
    let one = newcomer(1, 99, Rank::Unused);
    assert_eq!(choice(&book, &one), Ok(vec![flows[0]]));
    book.set_rank(flows[7], Some(Rank::HalfClosed), 5);
    assert_eq!(choice(&book, &one), Ok(vec![flows[7]]));
    for flow in &flows {
        book.set_rank(*flow, None, 6);
    }
    assert_eq!(choice(&book, &one), Err(DropReason::FlowCeiling));
    // Another port is not concerned.
    let beside = newcomer(2, 99, Rank::Unused);
    assert_eq!(choice(&book, &beside), Ok(vec![]));
    book.remove(flows[3]);
    assert_eq!(choice(&book, &one), Ok(vec![]));
    assert_eq!(others.len(), 10);
}

#[test]
fn a_client_makes_room_out_of_its_own_at_any_port() {
    let mut book = Book::default();
    let own: Vec<u32> = (0..16)
        .map(|port| {
            let one = newcomer(port, 1, Rank::Unused);
            book.enter(&one, Vec::new(), 100 - u64::from(port)).0
        })
        .collect();
    let one = newcomer(99, 1, Rank::Unused);
    assert_eq!(choice(&book, &one), Ok(vec![own[15]]));
    for flow in own {
        book.set_rank(flow, None, 101);
    }
    assert_eq!(choice(&book, &one), Err(DropReason::ClientQuota));
    let other = newcomer(99, 2, Rank::Unused);
    assert_eq!(choice(&book, &other), Ok(vec![]));
}

#[test]
fn a_connection_is_left_in_peace_at_first_and_a_question_is_not() {
    let mut book = Book::default();
    fill(&mut book, 1, 40, Rank::Unused);
    let one = newcomer(1, 99, Rank::Unused);
    let early = choose(&book, &one, &ROOM, GRACE - 1);
    assert_eq!(early, Err(DropReason::FlowCeiling));
    let mut book = Book::default();
    let questions = fill(&mut book, 1, 80, Rank::Question);
    let one = newcomer(1, 99, Rank::Question);
    assert_eq!(choose(&book, &one, &ROOM, 200), Ok(vec![questions[0]]));
}

#[test]
fn when_all_is_full_the_port_with_most_gives_way_and_only_to_one_that_has_less() {
    let mut book = Book::default();
    let mut flows = Vec::new();
    for (port, count) in [(1, 36), (2, 35), (3, 35), (4, 34)] {
        flows.push(fill(&mut book, port, count, Rank::Unused));
    }
    // The last part is for ports that have little.
    let rich = newcomer(4, 99, Rank::Unused);
    assert_eq!(choice(&book, &rich), Ok(vec![flows[0][0]]));
    let poor = newcomer(9, 99, Rank::Unused);
    assert_eq!(choice(&book, &poor), Ok(vec![]));
    fill(&mut book, 5, 20, Rank::Unused);
    assert_eq!(choice(&book, &poor), Ok(vec![flows[0][0]]));
    // Whoever has most himself makes room out of his own.
    for flow in flows.iter().skip(1).flatten() {
        book.set_rank(*flow, None, 7);
    }
    let richest = newcomer(1, 99, Rank::Unused);
    assert_eq!(choice(&book, &richest), Ok(flows[0][..2].to_vec()));
    for flow in &flows[0] {
        book.set_rank(*flow, None, 7);
    }
    let ends = book.holders_of_ports().map(|port| port.ranked.len());
    assert_eq!(ends.sum::<usize>(), 20, "those of the port that has little");
    assert_eq!(choice(&book, &richest), Err(DropReason::FlowsFull));
}

#[test]
fn those_who_leave_count_for_nobody_and_one_that_stays_counts_again() {
    let mut book = Book::default();
    let flows = fill(&mut book, 1, 40, Rank::Unused);
    let one = newcomer(1, 99, Rank::Unused);
    let victims = choice(&book, &one).unwrap();
    let (index, homes) = book.enter(&one, victims, LATE);
    assert_eq!((homes.len(), book.leaving(), book.total()), (1, 2, 82));
    book.set_rank(flows[0], None, LATE);
    book.stay(flows[0]);
    assert_eq!((book.leaving(), book.total()), (0, 82));
    let held = |book: &Book| book.port((Protocol::Tcp, 1)).map(|port| port.descriptors);
    assert_eq!(held(&book), Some(82));
    for flow in flows.into_iter().chain([index]) {
        book.remove(flow);
    }
    assert_eq!((book.total(), book.flows(), held(&book)), (0, 0, None));
    assert_eq!(book.clients().count(), 0);
}

#[test]
fn a_port_that_is_full_does_not_use_up_what_others_need_to_make_room() {
    let mut book = Book::default();
    fill(&mut book, 1, 80, Rank::Question);
    let one = newcomer(1, 99, Rank::Question);
    let mut let_in = 0;
    while let Ok(victims) = choice(&book, &one) {
        book.enter(&newcomer(1, 100 + let_in, Rank::Question), victims, LATE);
        let_in += 1;
    }
    assert_eq!(u64::from(let_in), ROOM.leaving / 2);
}

#[test]
fn handshakes_are_bounded_for_a_client_for_a_port_and_in_all() {
    let room = Room {
        whole: 1 << 20,
        port: 1 << 20,
        client: 1 << 20,
        ..ROOM
    };
    let mut book = Book::default();
    let shaking = |port: u16, client: u8| newcomer(port, client, Rank::Handshake);
    let mut enter = |port: u16, client: u8, count: u64| {
        let one = shaking(port, client);
        let all = (0..count).map(|_| book.enter(&one, Vec::new(), 1).0);
        all.collect::<Vec<u32>>()
    };
    let of_client = enter(1, 1, HANDSHAKES_OF_CLIENT);
    let at_port = enter(2, 2, HANDSHAKES_OF_PORT);
    let of = |port, client, book: &Book| choose(book, &shaking(port, client), &room, LATE);
    assert_eq!(of(3, 1, &book), Ok(vec![of_client[0]]));
    assert_eq!(of(2, 3, &book), Ok(vec![at_port[0]]));
    assert_eq!(of(3, 3, &book), Ok(vec![]));
    let rest = HANDSHAKES - HANDSHAKES_OF_CLIENT - HANDSHAKES_OF_PORT;
    for _ in 0..rest {
        book.enter(&shaking(4, 4), Vec::new(), 1);
    }
    // Out of the port with most, whoever made it.
    let victims = of(3, 3, &book).unwrap();
    let ports = victims
        .iter()
        .map(|index| book.entry(*index).unwrap().port.1);
    assert_eq!(ports.collect::<Vec<u16>>(), [4]);
    // One that is over counts no more.
    book.set_rank(of_client[5], None, 2);
    assert_eq!(of(3, 1, &book), Ok(vec![]));
}
