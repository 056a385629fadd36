//! The lab's app: a server that says its name, and a process that holds ports.
//!
//! TCP connections are greeted with `NAME\n` and then echoed; datagrams are answered with `NAME `
//! before their own bytes. Prints `ready` when it listens.
#![allow(clippy::print_stdout, reason = "a command's output is its purpose")]

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use clap::Parser;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, socket};

/// As many as a process may have here, and some left.
const HELD: usize = 15_000;

/// What the app does.
#[derive(Parser)]
enum Verb {
    /// Greet and echo
    Serve {
        /// How it introduces itself
        #[arg(long)]
        name: String,
        /// Where to accept connections
        #[arg(long)]
        tcp: Vec<SocketAddr>,
        /// Where to answer datagrams
        #[arg(long)]
        udp: Vec<SocketAddr>,
    },
    /// Hold ports without ever accepting
    Hold {
        /// The ports
        ports: Vec<u16>,
        /// Hold the UDP ports, not the TCP ones
        #[arg(long)]
        udp: bool,
    },
    /// Connect again and again, say nothing, and never leave
    Silence {
        /// An address with a port, or the path of a socket
        to: String,
        /// How many connections to make before it is said that they were
        count: usize,
        /// Where they come from, in turn; none: wherever the system chooses
        #[arg(long)]
        from: Vec<IpAddr>,
    },
}

fn main() -> Result<()> {
    match Verb::parse() {
        Verb::Serve { name, tcp, udp } => serve(&name, &tcp, &udp),
        Verb::Hold { ports, udp } => hold(&ports, udp),
        Verb::Silence { to, count, from } => keep_silent(&to, count, &from),
    }
}

fn serve(name: &str, tcp: &[SocketAddr], udp: &[SocketAddr]) -> Result<()> {
    let greeting = format!("{name}\n");
    for address in tcp {
        let listener = TcpListener::bind(address).with_context(|| address.to_string())?;
        let greeting = greeting.clone();
        thread::spawn(move || accept(&listener, &greeting));
    }
    for address in udp {
        let socket = UdpSocket::bind(address).with_context(|| address.to_string())?;
        let name = name.to_owned();
        thread::spawn(move || answer(&socket, &name));
    }
    wait()
}

/// Says that all is set up, and stays until it is killed.
fn wait() -> Result<()> {
    println!("ready");
    io::stdout().flush()?;
    loop {
        thread::park();
    }
}

fn accept(listener: &TcpListener, greeting: &str) {
    for stream in listener.incoming().flatten() {
        let greeting = greeting.to_owned();
        // A client that goes away ends its own conversation and no other.
        thread::spawn(move || echo(stream, &greeting).ok());
    }
}

fn echo(mut stream: TcpStream, greeting: &str) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(greeting.as_bytes())?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            length => stream.write_all(&buffer[..length])?,
        }
    }
}

fn answer(socket: &UdpSocket, name: &str) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok((length, sender)) = socket.recv_from(&mut buffer) {
        let reply = [name.as_bytes(), b" ", &buffer[..length]].concat();
        // A reply that cannot be sent is a lost datagram, as any other.
        socket.send_to(&reply, sender).ok();
    }
}

/// The newest connections are held, whatever the other end makes of them.
fn keep_silent(to: &str, count: usize, from: &[IpAddr]) -> Result<()> {
    let mut held: VecDeque<OwnedFd> = VecDeque::new();
    for number in 0_usize.. {
        if number == count {
            println!("ready");
            io::stdout().flush()?;
        }
        if held.len() == HELD {
            held.pop_front();
        }
        let source = from.get(number % from.len().max(1)).copied();
        // Whoever does not get in tries again.
        held.extend(connect(to, source));
        if number > count {
            thread::sleep(Duration::from_millis(10));
        }
    }
    Ok(())
}

fn connect(to: &str, source: Option<IpAddr>) -> Option<OwnedFd> {
    let Ok(to) = to.parse::<SocketAddr>() else {
        return UnixStream::connect(to).ok().map(OwnedFd::from);
    };
    let family = match to {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_NONBLOCK, None).ok()?;
    if let Some(source) = source {
        let source = SockaddrStorage::from(SocketAddr::new(source, 0));
        bind(socket.as_raw_fd(), &source).ok()?;
    }
    // It is under way.
    let _ = nix::sys::socket::connect(socket.as_raw_fd(), &SockaddrStorage::from(to));
    Some(socket)
}

fn hold(ports: &[u16], udp: bool) -> Result<()> {
    let mut listeners = Vec::new();
    let mut sockets = Vec::new();
    for port in ports {
        let address = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), *port);
        if udp {
            sockets.push(UdpSocket::bind(address).with_context(|| address.to_string())?);
        } else {
            listeners.push(TcpListener::bind(address).with_context(|| address.to_string())?);
        }
    }
    wait()
}
