//! Web servers whose answers a test chooses, and a client that reads who answered.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use kit::{Lab, Netns};

/// Where they listen.
pub(super) const WEB_PORT: u16 = 8_080;

/// One server on one app host; ends with its guard.
pub(super) struct Web {
    status: Arc<AtomicU16>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Web {
    /// A server that answers 200 and its name.
    #[track_caller]
    pub(super) fn start(host: &Netns, at: SocketAddr, name: &'static str) -> Self {
        let listener = host.enter(|| TcpListener::bind(at)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (status, ends) = (
            Arc::new(AtomicU16::new(200)),
            Arc::new(AtomicBool::new(false)),
        );
        let (says, is_over) = (Arc::clone(&status), Arc::clone(&ends));
        let thread = thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => drop(answer(stream, says.load(Ordering::Relaxed), name)),
                    Err(_) => thread::sleep(Duration::from_millis(5)),
                }
            }
        });
        Self {
            status,
            ends,
            thread: Some(thread),
        }
    }

    /// Answers with this status from now on.
    pub(super) fn says(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(mut stream: TcpStream, status: u16, name: &str) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut request = [0; 4_096];
    let length = stream.read(&mut request)?;
    if !request[..length].starts_with(b"GET /up ") {
        return Err(ErrorKind::InvalidData.into());
    }
    let length = name.len();
    write!(
        stream,
        "HTTP/1.1 {status} Said\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{name}"
    )
}

/// Who answers at a port, whatever the status.
pub(super) fn fetch(lab: &Lab, to: SocketAddr) -> io::Result<String> {
    let patience = Duration::from_secs(3);
    let mut stream = lab
        .client
        .enter(|| TcpStream::connect_timeout(&to, patience))?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(b"GET /up HTTP/1.1\r\nHost: x\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    match text.split_once("\r\n\r\n") {
        Some((_, name)) => Ok(name.to_owned()),
        None => Err(io::Error::other(format!("no answer: {text:?}"))),
    }
}
