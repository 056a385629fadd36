//! A proxy in a process of its own, whose descriptors run out or whose memory is measured.

use std::{
    fs,
    io::{BufRead, BufReader, stdin},
    process::{Child, Command, Stdio},
};

use super::*;

/// The process, ended with the test.
struct Other(Child);

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Other {
    /// A process that may have so many descriptors serves a port, and believes that it may have more.
    fn serving(port: u16, backend: SocketAddr, descriptors: u32) -> Self {
        let mut child = Command::new("sh")
            .args([
                "-c",
                &format!("ulimit -n {descriptors}; exec \"$0\" \"$@\""),
            ])
            .arg(std::env::current_exe().unwrap())
            .args([
                "proxy::tests::scarce::the_other",
                "--exact",
                "--ignored",
                "--nocapture",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdin = child.stdin.as_mut().unwrap();
        writeln!(stdin, "{port} {backend}").unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().ends_with("serving")));
        Self(child)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{name}", self.0.id())).unwrap()
    }

    /// User and system time, in ticks.
    fn ticks(&self) -> u64 {
        let stat = self.read("stat");
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    /// What no file stands behind: pages of the program come and go with what runs.
    fn own_kib(&self) -> u64 {
        let status = self.read("status");
        let line = status
            .lines()
            .find(|line| line.starts_with("RssAnon:"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Waits until it does nothing.
    fn rest(&self) {
        until("it rests", || {
            let before = self.ticks();
            thread::sleep(Duration::from_millis(300));
            self.ticks() == before
        });
    }
}

#[test]
#[ignore = "the other process of the tests here"]
fn the_other() {
    let mut order = String::new();
    stdin().read_line(&mut order).unwrap();
    let Some((port, backend)) = order.trim().split_once(' ') else {
        return;
    };
    let web = service(
        port.parse().unwrap(),
        Protocols::Tcp,
        &[backend.parse().unwrap()],
    );
    let proxy = Proxy::start_within(settings(), Ledger::new(1 << 20)).unwrap();
    proxy.apply(vec![web.into()], AllDown::UseLast);
    println!("serving");
    // Until the test has ended.
    let _ = stdin().read_line(&mut order);
}

#[test]
fn when_the_kernel_has_no_descriptor_the_new_are_reset_and_nothing_spins() {
    // One of the two runs out while it accepts, the other while it connects.
    for descriptors in [64, 65] {
        let (port, backend) = (free_port(), tcp_server(b'a'));
        let other = Other::serving(port, backend, descriptors);
        let (mut served, mut turned_away) = (Vec::new(), 0);
        for _ in 0..200 {
            let greeted = |mut client| name_of(&mut client).map(|_| client);
            match dial(port).and_then(greeted) {
                Ok(client) => served.push(client),
                Err(error) => {
                    assert!(is_reset(&error), "{error}");
                    turned_away += 1;
                }
            }
        }
        assert!(
            served.len() > 10 && turned_away > 100,
            "{} {turned_away}",
            served.len()
        );
        other.rest();
        for client in &mut served {
            client.write_all(b"x").unwrap();
            assert_eq!(name_of(client).unwrap(), b'x');
        }
        served.truncate(2);
        until("there is room again", || {
            dial(port)
                .and_then(|mut client| name_of(&mut client))
                .is_ok()
        });
    }
}

#[test]
fn slow_readers_cost_a_room_each_and_no_more() {
    const CLIENTS: u64 = 150;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, backend) = (free_port(), listener.local_addr().unwrap());
    let other = Other::serving(port, backend, 2_048);
    let before = other.own_kib();
    let (mut clients, mut servers) = (Vec::new(), Vec::new());
    for _ in 0..CLIENTS {
        let client = connect(port);
        let (server, _) = listener.accept().unwrap();
        // Small buffers are full soon.
        rustix::net::sockopt::set_socket_recv_buffer_size(&client, 16 << 10).unwrap();
        rustix::net::sockopt::set_socket_send_buffer_size(&server, 16 << 10).unwrap();
        clients.push(client);
        server.set_nonblocking(true).unwrap();
        servers.push(server);
    }
    let block = vec![7; 1 << 16];
    let mut full = 0;
    until("nobody takes more", || {
        let taken = servers
            .iter_mut()
            .filter_map(|server| server.write(&block).ok())
            .count();
        full = if taken == 0 { full + 1 } else { 0 };
        full > 20
    });
    other.rest();
    let grown = other.own_kib().saturating_sub(before);
    // A room of 16 KiB, and what stands in tables.
    assert!(grown < CLIENTS * 18 + 2_048, "{grown} KiB");
    assert!(size_of::<crate::proxy::tcp::connection::Connection>() < 512);
}
