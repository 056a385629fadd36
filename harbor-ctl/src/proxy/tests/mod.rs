//! The proxy over real sockets on loopback.

mod client_ip;
mod hold;
mod limited;
mod opening;
mod policies;
mod roster;
mod scarce;
mod shares;
mod tcp;
mod udp;

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::atomic::{AtomicU16, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{Ledger, Proxy, settings::ProxySettings};
use crate::model::{
    AllDown, Backend, BackendState, Doubt, FlowFilter, FlowRecord, Protocol, Protocols, Service,
    Suspect, Timeouts, testing,
};

/// Nothing here takes longer.
const PATIENCE: Duration = Duration::from_secs(10);

fn settings() -> ProxySettings {
    ProxySettings {
        timeouts: Timeouts {
            opening: Duration::from_secs(6),
            tcp_established: Duration::from_secs(7_440),
            tcp_closed: Duration::from_secs(30),
            tcp_reset: Duration::from_secs(10),
            udp_single: Duration::from_secs(30),
            udp_stream: Duration::from_secs(180),
        },
        connect_timeout: Duration::from_secs(1),
        give_up: Duration::from_secs(10),
        half_closed: Duration::from_secs(60),
        port_share: 25,
        client_share: 10,
        flows: 10_000,
        addresses: Vec::new(),
    }
}

impl Proxy {
    /// Every flow.
    fn listed(&self) -> Vec<FlowRecord> {
        self.flows(FlowFilter::default())
            .flat_map(Result::unwrap)
            .collect()
    }
}

fn proxy() -> Proxy {
    Proxy::start(settings()).unwrap()
}

/// A number that no socket of this host has now, outside of what the kernel hands out itself.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % 9_000) as u16;
    loop {
        let port = 10_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        if TcpListener::bind(("::", port)).is_ok() && UdpSocket::bind(("::", port)).is_ok() {
            return port;
        }
    }
}

fn service(port: u16, protocols: Protocols, backends: &[SocketAddr]) -> Service {
    let mut service = testing::service(&format!("s{port}"), port, protocols);
    service.backends = backends.iter().map(|address| backend(*address)).collect();
    service
}

fn backend(address: SocketAddr) -> Backend {
    Backend {
        instance: address.to_string(),
        address,
        weight: 1,
        state: BackendState::Active,
        registered_at: 1,
        announced: None,
        failing: None,
    }
}

/// A backend of a port, as evidence names it.
fn suspect(protocol: Protocol, port: u16, address: SocketAddr) -> Suspect {
    Suspect {
        protocol,
        port,
        address,
    }
}

/// What was seen of backends, without repetitions.
fn sights(proxy: &Proxy) -> Vec<(SocketAddr, Result<(), Doubt>)> {
    let evidence = proxy.evidence().into_iter();
    let mut sights: Vec<_> = evidence.map(|e| (e.suspect.address, e.sight)).collect();
    sights.dedup();
    sights
}

/// A proxy that serves one service.
fn serving(service: &Service) -> Proxy {
    let proxy = proxy();
    proxy.apply(vec![service.clone().into()], AllDown::UseLast);
    assert_eq!(proxy.unheld().len(), 0, "{:?}", proxy.unheld());
    proxy
}

fn change(proxy: &Proxy, service: &Service) {
    proxy.change(vec![(service.id.clone(), Some(service.clone().into()))]);
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn connect(port: u16) -> TcpStream {
    dial(port).unwrap()
}

/// A reset may come before the connection is handed over.
fn dial(port: u16) -> std::io::Result<TcpStream> {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map(patient)
}

fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A server that answers each connection with its name and then sends back what it gets.
fn tcp_server(name: u8) -> SocketAddr {
    tcp_server_at("127.0.0.1:0", name)
}

fn tcp_server_at(at: &str, name: u8) -> SocketAddr {
    let listener = TcpListener::bind(at).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let Ok(mut client) = client else { return };
            thread::spawn(move || {
                if client.write_all(&[name]).is_err() {
                    return;
                }
                let mut echo = client.try_clone().unwrap();
                let _ = std::io::copy(&mut client, &mut echo);
                let _ = echo.shutdown(std::net::Shutdown::Write);
            });
        }
    });
    address
}

/// The name that the server behind a connection says first.
fn name_of(stream: &mut TcpStream) -> std::io::Result<u8> {
    let mut name = [0];
    stream.read_exact(&mut name).map(|()| name[0])
}

/// Connects once; the server's name.
fn ask(port: u16) -> u8 {
    name_of(&mut connect(port)).unwrap()
}

/// A server that answers each datagram with its name and the datagram.
fn udp_server(name: u8) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    serve_udp(socket, name);
    address
}

fn serve_udp(socket: UdpSocket, name: u8) {
    thread::spawn(move || {
        let mut room = vec![0; 65_536];
        while let Ok((length, client)) = socket.recv_from(&mut room[1..]) {
            room[0] = name;
            let _ = socket.send_to(&room[..=length], client);
        }
    });
}

fn udp_client(at: &str) -> UdpSocket {
    let socket = UdpSocket::bind(at).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Sends a datagram and returns the first byte of what comes back.
fn exchange(client: &UdpSocket, to: impl std::net::ToSocketAddrs, text: &[u8]) -> u8 {
    client.send_to(text, to).unwrap();
    let mut room = vec![0; 65_536];
    let length = client.recv(&mut room).unwrap();
    assert_eq!(&room[1..length], text);
    room[0]
}

fn is_reset(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe
    )
}

/// Whether a connection ends with a reset, without a byte.
fn is_turned_away(port: u16) -> bool {
    is_turned_away_at((Ipv4Addr::LOCALHOST, port).into())
}

fn is_turned_away_at(to: SocketAddr) -> bool {
    let outcome = TcpStream::connect(to).and_then(|stream| patient(stream).read(&mut [0]));
    match outcome {
        Err(error) => is_reset(&error),
        Ok(_) => false,
    }
}

fn flows_of(proxy: &Proxy, protocol: Protocol) -> u64 {
    let reports = proxy.frontends(None);
    let mine = reports.iter().filter(|report| report.protocol == protocol);
    mine.map(|report| report.flows).sum()
}
