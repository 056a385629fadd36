//! Clients that do several things at once: two addresses for one connection, two processors for one
//! socket.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{FromRawFd, OwnedFd},
    sync::{Arc, Barrier},
    thread,
    time::Duration,
};

use kit::{Config, Lab, V4, patient};
use nix::{
    libc,
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use crate::scene::{FAMILIES, Scene};

/// Multipath TCP.
fn socket(family: libc::c_int) -> OwnedFd {
    // SAFETY: no pointers are given.
    let descriptor = unsafe {
        libc::socket(
            family,
            libc::SOCK_STREAM | libc::SOCK_CLOEXEC,
            libc::IPPROTO_MPTCP,
        )
    };
    assert!(descriptor >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: nobody else has it.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

fn sockaddr(at: SocketAddr) -> libc::sockaddr_in {
    let IpAddr::V4(v4) = at.ip() else {
        panic!("{at} is not IPv4")
    };
    // SAFETY: all zero is a valid sockaddr_in.
    let mut address: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    address.sin_family = libc::AF_INET as u16;
    address.sin_port = at.port().to_be();
    address.sin_addr.s_addr = u32::from_ne_bytes(v4.octets());
    address
}

/// An app that speaks Multipath TCP: says its name, and ends a connection when the client has.
fn serve(host: &kit::Netns, at: SocketAddr, name: &'static str) {
    let listener = host.enter(|| {
        use std::os::fd::AsRawFd as _;
        let socket = socket(libc::AF_INET);
        let address = sockaddr(at);
        let size = size_of::<libc::sockaddr_in>() as u32;
        // SAFETY: the address is valid for the length given.
        let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size) };
        assert_eq!(bound, 0, "{}", std::io::Error::last_os_error());
        // SAFETY: no pointers are given.
        assert_eq!(unsafe { libc::listen(socket.as_raw_fd(), 64) }, 0);
        TcpListener::from(socket)
    });
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let _ = stream.write_all(name.as_bytes());
                let _ = stream.read(&mut [0]);
            });
        }
    });
}

/// One connection, long enough for the second address to try to join; who answered.
fn talk(host: &kit::Netns, to: SocketAddr) -> String {
    host.enter(|| {
        use std::os::fd::AsRawFd as _;
        let socket = socket(libc::AF_INET);
        let address = sockaddr(to);
        let size = size_of::<libc::sockaddr_in>() as u32;
        // SAFETY: the address is valid for the length given.
        let done = unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), size) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
        let mut stream = TcpStream::from(socket);
        stream
            .set_read_timeout(Some(patient(Duration::from_secs(5))))
            .unwrap();
        let mut name = [0; 4];
        stream.read_exact(&mut name).unwrap();
        thread::sleep(Duration::from_millis(20));
        String::from_utf8(name.to_vec()).unwrap()
    })
}

#[test]
fn clients_with_two_addresses_are_shared_fairly_and_take_nobody_out() {
    let lab = Lab::routed();
    let second = lab.client_host(V4, 77);
    lab.client.ip(&format!("addr add {second}/24 dev eth0"));
    for words in [
        "mptcp limits set subflow 4 add_addr_accepted 4".to_owned(),
        format!("mptcp endpoint add {second} dev eth0 subflow"),
    ] {
        kit::finish(lab.client.command("ip").args(words.split(' '))).ok();
    }
    let scene = Scene::on(lab, &Config::default());
    let apps = [(0, "app1"), (1, "app2")].map(|(index, name)| {
        let at = SocketAddr::new(scene.lab.app(V4, index), 9_500);
        serve(&scene.lab.apps[usize::from(index)], at, name);
        at.to_string()
    });
    let words = ["mptcp", "--backend", &apps[0], "--backend", &apps[1]];
    let to = SocketAddr::new(scene.lab.public(V4), scene.agent.create(&words));
    let names: Vec<String> = (0..40).map(|_| talk(&scene.lab.client, to)).collect();
    let joined = kit::finish(
        scene
            .lab
            .client
            .command("nstat")
            .args(["-asz", "MPTcpExtMPJoinSynTx"]),
    );
    let counted = joined.ok().stdout;
    let mut words = counted.split_whitespace();
    words.find(|word| word.starts_with("MPTcpExt")).unwrap();
    let joins: u64 = words.next().unwrap().parse().unwrap();
    assert!(joins > 0, "no client tried to join");
    let first = names.iter().filter(|name| *name == "app1").count();
    // A request to join takes no turn.
    assert_eq!(first, 20, "{names:?}");
    let events = scene.agent.items(&["events"]);
    let ejected = events
        .iter()
        .any(|event| event["kind"] == "backend_ejected");
    assert!(!ejected, "{events:?}");
}

#[test]
fn the_first_two_datagrams_of_a_socket_from_two_processors_both_arrive() {
    const PAIRS: usize = 2_000;
    let scene = Scene::routed();
    for family in FAMILIES {
        let scene_port = format!("udp-{family:?}").to_lowercase();
        let backends = [0, 1].map(|index| {
            SocketAddr::new(scene.lab.app(family, index), crate::scene::APP_PORT).to_string()
        });
        let words = [
            &*scene_port,
            "--backend",
            &backends[0],
            "--backend",
            &backends[1],
        ];
        let to = SocketAddr::new(scene.lab.public(family), scene.agent.create(&words));
        let mut lost = 0;
        for _ in 0..PAIRS {
            let socket = scene
                .lab
                .client
                .enter(|| UdpSocket::bind((family.any(), 0)).unwrap());
            let socket = Arc::new(socket);
            let start = Arc::new(Barrier::new(2));
            let send = |processor: usize| {
                let (socket, start) = (Arc::clone(&socket), Arc::clone(&start));
                thread::spawn(move || {
                    let mut set = CpuSet::new();
                    set.set(processor).unwrap();
                    sched_setaffinity(Pid::from_raw(0), &set).unwrap();
                    start.wait();
                    socket.send_to(b"who", to).unwrap();
                })
            };
            let senders = [send(0), send(1)];
            senders
                .into_iter()
                .for_each(|sender| sender.join().unwrap());
            socket
                .set_read_timeout(Some(patient(Duration::from_secs(2))))
                .unwrap();
            for _ in 0..2 {
                lost += usize::from(socket.recv_from(&mut [0; 64]).is_err());
            }
        }
        assert_eq!(lost, 0, "of {PAIRS} pairs, {family:?}");
    }
}
