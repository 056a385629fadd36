//! Datagrams that are larger than the wire: each arrives whole, at one backend, from one sender.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::mpsc::{self, Sender},
    thread,
    time::Duration,
};

use kit::{Family, Netns};

use super::Engine;
use crate::scene::{FAMILIES, Scene};

super::scenarios!(datagrams_larger_than_the_wire_arrive_whole_at_one_backend_from_one_sender,);

/// Questions from one client in each family, of 2,000 to 20,000 bytes.
const DATAGRAMS: usize = 100;
const PATIENCE: Duration = Duration::from_secs(5);
/// Ends the answering.
const BYE: &[u8] = b"bye";

/// Answers each datagram with itself, and tells who has sent it to which app.
fn answer(host: &Netns, at: SocketAddr, name: usize, seen: Sender<(usize, SocketAddr)>) {
    let socket = host.enter(|| UdpSocket::bind(at)).unwrap();
    thread::spawn(move || -> io::Result<()> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let (length, sender) = socket.recv_from(&mut buffer)?;
            if &buffer[..length] == BYE {
                return Ok(());
            }
            // Nobody listens any more when the test has ended.
            seen.send((name, sender)).map_err(io::Error::other)?;
            socket.send_to(&buffer[..length], sender)?;
        }
    });
}

/// Bytes that differ from datagram to datagram.
fn payload(number: usize) -> Vec<u8> {
    let size = 2_000 + number * 18_000 / (DATAGRAMS - 1);
    (0..size).map(|at| (at * 7 + number) as u8).collect()
}

fn datagrams_larger_than_the_wire_arrive_whole_at_one_backend_from_one_sender(engine: Engine) {
    for scene in [engine.routed(), engine.bridged()] {
        for family in FAMILIES {
            larger_than_the_wire(&scene, family);
        }
    }
}

fn larger_than_the_wire(scene: &Scene, family: Family) {
    let apps = [0, 1].map(|index| SocketAddr::new(scene.lab.app(family, index), 9_201));
    let (seen, senders) = mpsc::channel();
    for (index, at) in apps.into_iter().enumerate() {
        answer(&scene.lab.apps[index], at, index, seen.clone());
    }
    let name = format!("udp-{family:?}");
    let [one, two] = apps.map(|app| app.to_string());
    let port = scene
        .agent
        .create(&[&name, "--backend", &one, "--backend", &two]);
    let to = SocketAddr::new(scene.lab.public(family), port);
    let socket = scene
        .lab
        .client
        .enter(|| UdpSocket::bind((family.any(), 0)))
        .unwrap();
    socket.connect(to).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = vec![0; 1 << 16];
    let mut first = None;
    for number in 0..DATAGRAMS {
        let question = payload(number);
        socket.send(&question).unwrap();
        let length = socket
            .recv(&mut buffer)
            .unwrap_or_else(|error| panic!("{family:?}, {} bytes: {error}", question.len()));
        assert!(buffer[..length] == question, "{} bytes", question.len());
        let sender = senders.recv_timeout(PATIENCE).unwrap();
        assert_eq!(*first.get_or_insert(sender), sender, "one app, one sender");
    }
    assert_eq!(first.unwrap().1.ip(), scene.lab.translation(family));
    for index in [0, 1] {
        scene.lab.node.enter(|| {
            let own = UdpSocket::bind((family.any(), 0)).unwrap();
            own.send_to(BYE, apps[index]).unwrap();
        });
    }
}
