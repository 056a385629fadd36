//! The smallest HTTP client: one connection to a control socket, one answer for each request, and
//! no help with what is wrong.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

/// A connection to a control socket, made anew when the other end has closed it.
#[derive(Debug)]
pub struct Http {
    socket: PathBuf,
    stream: Option<UnixStream>,
}

impl Http {
    /// A client of this socket.
    pub fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
            stream: None,
        }
    }

    /// Posts a body: the status and what came back.
    pub fn post(&mut self, path: &str, body: &[u8]) -> io::Result<(u16, Vec<u8>)> {
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: harbor\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n"
        );
        self.send(&[head.as_bytes(), body].concat())
    }

    /// Sends octets as they are: the status, 0 for no answer, and what came back.
    pub fn send(&mut self, octets: &[u8]) -> io::Result<(u16, Vec<u8>)> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => UnixStream::connect(&self.socket)?,
        };
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        // Who refuses what it has read so far may close before the rest is written.
        let written = stream.write_all(octets);
        let (status, body, goes_on) = read(&mut stream)?;
        if goes_on && written.is_ok() {
            self.stream = Some(stream);
        }
        Ok((status, body))
    }
}

fn read(stream: &mut UnixStream) -> io::Result<(u16, Vec<u8>, bool)> {
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
