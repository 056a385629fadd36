//! The smallest HTTP client: one connection to an agent, one answer for each request, and no help
//! with what is wrong.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::Netns;

const PATIENCE: Duration = Duration::from_secs(20);

/// Where an agent listens.
#[derive(Clone, Debug)]
enum Door {
    Socket(PathBuf),
    Tcp(Netns, SocketAddr),
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// A connection to an agent, made anew when the other end has closed it.
pub struct Http {
    door: Door,
    stream: Option<Box<dyn Stream>>,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.door)
    }
}

impl Http {
    /// A client of this socket.
    pub fn new(socket: &Path) -> Self {
        Self {
            door: Door::Socket(socket.to_owned()),
            stream: None,
        }
    }

    /// A client of this address, as it is reached from a host of the lab.
    pub fn tcp(from: &Netns, to: SocketAddr) -> Self {
        Self {
            door: Door::Tcp(from.clone(), to),
            stream: None,
        }
    }

    /// Posts a body: the status and what came back.
    pub fn post(&mut self, path: &str, body: &[u8]) -> io::Result<(u16, Vec<u8>)> {
        let line = format!("POST {path}");
        self.ask(&line, "Content-Type: application/json\r\n", body)
    }

    /// Asks by method and path, with lines of more header: the status and what came back.
    pub fn ask(&mut self, line: &str, header: &str, body: &[u8]) -> io::Result<(u16, Vec<u8>)> {
        let length = body.len();
        let head = format!(
            "{line} HTTP/1.1\r\nHost: localhost\r\n{header}Content-Length: {length}\r\n\r\n"
        );
        self.send(&[head.as_bytes(), body].concat())
    }

    /// Sends octets as they are: the status, 0 for no answer, and what came back.
    pub fn send(&mut self, octets: &[u8]) -> io::Result<(u16, Vec<u8>)> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(&self.door)?,
        };
        // Who refuses what it has read so far may close before the rest is written.
        let written = stream.write_all(octets);
        let (status, body, goes_on) = read(&mut *stream)?;
        if goes_on && written.is_ok() {
            self.stream = Some(stream);
        }
        Ok((status, body))
    }
}

fn connect(door: &Door) -> io::Result<Box<dyn Stream>> {
    match door {
        Door::Socket(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            Ok(Box::new(stream))
        }
        Door::Tcp(from, to) => {
            let stream = from.enter(|| TcpStream::connect(to))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream))
        }
    }
}

fn read(stream: &mut dyn Stream) -> io::Result<(u16, Vec<u8>, bool)> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4_096];
    loop {
        let head = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = head {
            let text = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
            let length = field("content-length:").and_then(|n| n.trim().parse().ok());
            let whole = end + 4 + length.unwrap_or(0);
            if bytes.len() >= whole {
                let status = text.split(' ').nth(1).and_then(|code| code.parse().ok());
                let goes_on = field("connection:").is_none_or(|word| word.trim() != "close");
                let body = bytes[end + 4..whole].to_vec();
                return Ok((status.unwrap_or(0), body, goes_on));
            }
        }
        match stream.read(&mut chunk) {
            Ok(0) => return Ok((0, bytes, false)),
            Ok(length) => bytes.extend(&chunk[..length]),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                return Ok((0, bytes, false));
            }
            Err(error) => return Err(error),
        }
    }
}
