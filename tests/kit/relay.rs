//! A way between two hosts that takes long: a relay hands on what it gets so much later.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use crate::Netns;

/// What a relay reads at once.
const PART: usize = 1 << 16;

/// Relays connections that come to `at` on this host to `to`: what the one who connects says arrives so much later,
/// the answers at once. It goes on until the test's process ends.
#[track_caller]
pub fn relay(host: &Netns, at: SocketAddr, to: SocketAddr, late: Duration) {
    let listener = host.enter(|| TcpListener::bind(at)).unwrap();
    let host = host.clone();
    thread::spawn(move || {
        host.enter(|| {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || carry(&stream, to, late));
            }
        });
    });
}

fn carry(from: &TcpStream, to: SocketAddr, late: Duration) -> io::Result<()> {
    let far = TcpStream::connect(to)?;
    let (mut near, mut answers) = (from.try_clone()?, far.try_clone()?);
    thread::spawn(move || {
        let carried = io::copy(&mut answers, &mut near);
        let closed = near.shutdown(Shutdown::Both);
        carried.and(closed.map(|()| 0))
    });
    let (parts, queue) = mpsc::channel::<(Instant, Vec<u8>)>();
    let mut writer = far.try_clone()?;
    let late_one = thread::spawn(move || {
        for (due, part) in queue {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            writer.write_all(&part)?;
        }
        writer.shutdown(Shutdown::Both)
    });
    let (mut reader, mut buffer) = (from, vec![0; PART]);
    while let Ok(length @ 1..) = reader.read(&mut buffer) {
        if parts
            .send((Instant::now() + late, buffer[..length].to_vec()))
            .is_err()
        {
            break;
        }
    }
    drop(parts);
    late_one.join().unwrap_or(Ok(()))
}
