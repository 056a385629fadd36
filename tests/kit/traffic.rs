//! Apps and their clients: server processes on the app hosts, and clients that count and compare.
//!
//! A client never retries: what it counts is what Harbor did. Every wait has a deadline, so a lost
//! packet is a reported error and not a test that hangs.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    hash::{DefaultHasher, Hasher},
    io::{self, BufRead, BufReader, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpStream, UdpSocket},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{Family, Netns, Process, binary, eventually, patient};

/// How long a client waits for one answer. TCP's first retransmissions fit into it.
const PATIENCE: Duration = Duration::from_secs(8);
/// What a live connection rests between two messages: it shall be alive, not busy.
const REST: Duration = Duration::from_millis(20);

/// Starts an app that greets on TCP, answers on UDP, and echoes, at each of these endpoints.
#[track_caller]
pub fn serve(host: &Netns, folder: &Path, name: &str, endpoints: &[SocketAddr]) -> Process {
    let mut command = host.command(binary("harbor-traffic"));
    command.args(["serve", "--name", name]);
    for endpoint in endpoints.iter().map(SocketAddr::to_string) {
        command.args(["--tcp", &endpoint, "--udp", &endpoint]);
    }
    ready(Process::start(&mut command, folder, name))
}

/// Starts a process that holds TCP ports of a host.
#[track_caller]
pub fn hold(host: &Netns, folder: &Path, ports: &[u16]) -> Process {
    let mut command = host.command(binary("harbor-traffic"));
    command.arg("hold").args(ports.iter().map(u16::to_string));
    ready(Process::start(&mut command, folder, "hold"))
}

/// Starts a process that holds UDP ports of a host.
#[track_caller]
pub fn hold_udp(host: &Netns, folder: &Path, ports: &[u16]) -> Process {
    let mut command = host.command(binary("harbor-traffic"));
    command
        .args(["hold", "--udp"])
        .args(ports.iter().map(u16::to_string));
    ready(Process::start(&mut command, folder, "hold-udp"))
}

#[track_caller]
fn ready(mut process: Process) -> Process {
    eventually(Duration::from_secs(10), || {
        assert!(process.is_running(), "{}", process.printed());
        process.printed().lines().any(|line| line == "ready")
    });
    process
}

/// Who answered, how often, and what went wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Answers by the name of the app that gave them.
    pub names: BTreeMap<String, usize>,
    /// What each failed attempt met.
    pub errors: Vec<String>,
}

impl Tally {
    /// How often the app of this name answered.
    pub fn of(&self, name: &str) -> usize {
        self.names.get(name).copied().unwrap_or_default()
    }

    /// Enough has gone wrong; each further attempt would only wait for its deadline.
    fn is_hopeless(&self) -> bool {
        self.errors.len() >= 3
    }

    fn count(&mut self, answer: io::Result<String>) {
        match answer {
            Ok(name) => *self.names.entry(name).or_default() += 1,
            Err(error) => self.errors.push(error.to_string()),
        }
    }
}

/// Opens and closes connections one after the other.
pub fn connect(from: &Netns, to: SocketAddr, count: usize) -> Tally {
    from.enter(|| {
        let mut tally = Tally::default();
        for _ in 0..count {
            tally.count(greeting(to));
            if tally.is_hopeless() {
                break;
            }
        }
        tally
    })
}

/// The name of the app that takes a new connection, which is closed in good order.
fn greeting(to: SocketAddr) -> io::Result<String> {
    let mut stream = dial(to)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let name = line(&mut reader)?;
    stream.write_all(b"bye")?;
    stream.shutdown(Shutdown::Write)?;
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest)?;
    if rest != b"bye" {
        return Err(io::Error::other(format!("the echo of bye was {rest:?}")));
    }
    Ok(name)
}

fn dial(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, patient(PATIENCE))?;
    stream.set_read_timeout(Some(patient(PATIENCE)))?;
    stream.set_write_timeout(Some(patient(PATIENCE)))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    line.strip_suffix('\n')
        .map(str::to_owned)
        .ok_or(io::ErrorKind::UnexpectedEof.into())
}

/// A UDP client with one socket: what it sends is one flow a port.
#[derive(Debug)]
pub struct Asker {
    socket: UdpSocket,
}

impl Asker {
    /// A socket on a host.
    pub fn new(from: &Netns, family: Family) -> Self {
        let socket = from.enter(|| UdpSocket::bind((family.any(), 0))).unwrap();
        socket.set_read_timeout(Some(patient(PATIENCE))).unwrap();
        Self { socket }
    }

    /// The same socket; from now on it may send to broadcast addresses, too.
    #[must_use]
    pub fn for_crowds(self) -> Self {
        self.socket.set_broadcast(true).unwrap();
        self
    }

    /// Where it asks from, on a host with this address.
    pub fn address(&self, host: IpAddr) -> SocketAddr {
        SocketAddr::new(host, self.socket.local_addr().unwrap().port())
    }

    /// The name of the app that answers, which must quote the question and come from where it went.
    pub fn ask(&self, to: SocketAddr, question: &[u8]) -> io::Result<String> {
        self.socket.send_to(question, to)?;
        let mut buffer = vec![0; 1 << 16];
        let (length, sender) = self.socket.recv_from(&mut buffer)?;
        if sender != to {
            return Err(io::Error::other(format!(
                "asked {to}, answered by {sender}"
            )));
        }
        let answer = &buffer[..length];
        let space = answer.iter().position(|byte| *byte == b' ');
        match space.map(|at| (&answer[..at], &answer[at + 1..])) {
            Some((name, quoted)) if quoted == question => {
                Ok(String::from_utf8_lossy(name).into_owned())
            }
            _ => Err(io::Error::other(format!(
                "no answer to the question: {answer:?}"
            ))),
        }
    }

    /// The name of the app that answers within this time, if one does.
    pub fn try_ask(&self, to: SocketAddr, question: &[u8], patience: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(patience)).unwrap();
        let answer = self.ask(to, question).ok();
        self.socket
            .set_read_timeout(Some(patient(PATIENCE)))
            .unwrap();
        answer
    }

    /// Asks and expects nothing.
    pub fn send(&self, to: SocketAddr, question: &[u8]) {
        self.socket.send_to(question, to).unwrap();
    }
}

/// Asks `count` questions, each from a socket of its own.
pub fn ask(from: &Netns, to: SocketAddr, count: usize) -> Tally {
    let mut tally = Tally::default();
    for number in 0..count {
        tally.count(
            Asker::new(from, Family::of(to.ip())).ask(to, format!("question {number}").as_bytes()),
        );
        if tally.is_hopeless() {
            break;
        }
    }
    tally
}

/// Sends bytes to an echoing app and compares what comes back.
pub fn transfer(from: &Netns, to: SocketAddr, bytes: usize) -> io::Result<()> {
    from.enter(|| {
        let mut stream = dial(to)?;
        let mut reader = BufReader::new(stream.try_clone()?);
        line(&mut reader)?;
        let receiver = thread::spawn(move || hash_of(reader));
        let mut sent = DefaultHasher::new();
        let mut left = bytes;
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        while left > 0 {
            let mut chunk = random.block();
            chunk.truncate(left);
            stream.write_all(&chunk)?;
            sent.write(&chunk);
            left -= chunk.len();
        }
        stream.shutdown(Shutdown::Write)?;
        let received = receiver
            .join()
            .map_err(|_| io::Error::other("the receiver panicked"))??;
        match received == (bytes, sent.finish()) {
            true => Ok(()),
            false => Err(io::Error::other(format!(
                "{} of {bytes} bytes, or others",
                received.0
            ))),
        }
    })
}

fn hash_of(mut reader: impl Read) -> io::Result<(usize, u64)> {
    let mut buffer = vec![0; BLOCK];
    let (mut total, mut hash, mut filled) = (0, DefaultHasher::new(), 0);
    // Hashed in the sender's blocks, whatever the segments were: a hasher may tell them apart.
    loop {
        let length = reader.read(&mut buffer[filled..])?;
        filled += length;
        total += length;
        if filled == BLOCK || length == 0 {
            if filled > 0 {
                hash.write(&buffer[..filled]);
            }
            filled = 0;
        }
        if length == 0 {
            return Ok((total, hash.finish()));
        }
    }
}

const BLOCK: usize = 1 << 16;

/// xorshift64: enough to make every block differ.
struct Random(u64);

impl Random {
    fn block(&mut self) -> Vec<u8> {
        let mut block = Vec::with_capacity(BLOCK);
        while block.len() < BLOCK {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            block.extend(self.0.to_le_bytes());
        }
        block
    }
}

/// Connections that keep talking until they are told to end.
#[derive(Debug)]
pub struct Live {
    ends: Arc<AtomicBool>,
    exchanged: Vec<Arc<AtomicU64>>,
    threads: Vec<JoinHandle<Result<String, String>>>,
}

impl Live {
    /// Opens connections, and returns when every one has exchanged a message.
    #[track_caller]
    pub fn open(from: &Netns, to: SocketAddr, count: usize) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let exchanged: Vec<Arc<AtomicU64>> = (0..count).map(|_| Arc::default()).collect();
        let threads = from.enter(|| {
            let start = |counter: &Arc<AtomicU64>| {
                let (ends, counter) = (Arc::clone(&ends), Arc::clone(counter));
                thread::spawn(move || converse(to, &ends, &counter).map_err(|e| e.to_string()))
            };
            exchanged.iter().map(start).collect()
        });
        let live = Self {
            ends,
            exchanged,
            threads,
        };
        live.progress();
        live
    }

    /// Returns when every connection has exchanged more than now.
    #[track_caller]
    pub fn progress(&self) {
        let read = || {
            self.exchanged
                .iter()
                .map(|counter| counter.load(Ordering::Relaxed))
        };
        let before: Vec<u64> = read().collect();
        eventually(Duration::from_secs(20), || {
            let ended = self
                .threads
                .iter()
                .filter(|thread| thread.is_finished())
                .count();
            assert!(
                ended == 0,
                "{ended} of {} connections were lost",
                self.threads.len()
            );
            read().zip(&before).all(|(now, before)| now > *before)
        });
    }

    /// How many connections have ended by themselves.
    pub fn ended(&self) -> usize {
        let ended = self.threads.iter().filter(|thread| thread.is_finished());
        ended.count()
    }

    /// Messages exchanged by all connections.
    pub fn exchanged(&self) -> u64 {
        self.exchanged
            .iter()
            .map(|counter| counter.load(Ordering::Relaxed))
            .sum()
    }

    /// Ends all connections in good order: who served them, and what went wrong.
    pub fn finish(mut self) -> Tally {
        self.ends.store(true, Ordering::Relaxed);
        let mut tally = Tally::default();
        for thread in self.threads.drain(..) {
            let outcome = thread.join().unwrap_or_else(|_| Err("panicked".into()));
            tally.count(outcome.map_err(io::Error::other));
        }
        tally
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
    }
}

fn converse(to: SocketAddr, ends: &AtomicBool, exchanged: &AtomicU64) -> io::Result<String> {
    let mut stream = dial(to)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let name = line(&mut reader)?;
    let mut message = String::new();
    while !ends.load(Ordering::Relaxed) {
        let number = exchanged.load(Ordering::Relaxed);
        message.clear();
        let _ = writeln!(message, "message {number} of {:?}", stream.local_addr());
        stream.write_all(message.as_bytes())?;
        let echo = line(&mut reader)?;
        if echo != message.trim_end() {
            return Err(io::Error::other(format!(
                "sent {message:?}, received {echo:?}"
            )));
        }
        exchanged.fetch_add(1, Ordering::Relaxed);
        thread::sleep(REST);
    }
    stream.shutdown(Shutdown::Write)?;
    match reader.read(&mut [0])? {
        0 => Ok(name),
        _ => Err(io::Error::other("more came back than was sent")),
    }
}
