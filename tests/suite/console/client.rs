//! A client of the console that shows everything: status, head and body, with whatever header a test wants.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddrV4, TcpStream},
    os::fd::AsRawFd as _,
    time::Duration,
};

use kit::{Netns, eventually};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};

use super::LISTEN;

const PATIENCE: Duration = Duration::from_secs(30);

/// One answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Answer {
    /// A line of the head, without its name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (own, value) = line.split_once(": ")?;
            own.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// Somebody at the console, signed in or not.
pub(super) struct Client {
    from: Netns,
    /// The last number of its address on the host's own network.
    last: u8,
    pub(super) cookie: String,
    pub(super) csrf: String,
}

impl Client {
    pub(super) fn new(from: &Netns) -> Self {
        Self::from_host(from, 1)
    }

    /// From another address of the host's own network.
    pub(super) fn from_host(from: &Netns, last: u8) -> Self {
        Self {
            from: from.clone(),
            last,
            cookie: String::new(),
            csrf: String::new(),
        }
    }

    /// Signs in, and reads the token that forms hold.
    #[track_caller]
    pub(super) fn signed_in(from: &Netns, (name, password): (&str, &str)) -> Self {
        let mut client = Self::new(from);
        let answer = client.sign_in(name, password);
        assert_eq!(answer.status, 303, "{}", answer.body);
        let cookie = answer.header("set-cookie").unwrap();
        client.cookie = cookie.split(';').next().unwrap().to_owned();
        let page = client.get("/").body;
        let mark = "name=\"csrf\" value=\"";
        let begin = page.find(mark).unwrap_or_else(|| panic!("{page}")) + mark.len();
        client.csrf = page[begin..].split('"').next().unwrap().to_owned();
        client
    }

    pub(super) fn sign_in(&self, name: &str, password: &str) -> Answer {
        let body = form(&[("name", name), ("password", password)]);
        self.ask("POST /sign-in", "", &body)
    }

    pub(super) fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path}"), "", "")
    }

    /// Posts a form as its page would: with the token, and from its own origin.
    pub(super) fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let token = [("csrf", self.csrf.as_str())];
        let origin = format!("Origin: http://{LISTEN}\r\n");
        self.ask(
            &format!("POST {path}"),
            &origin,
            &form(&[&token, fields].concat()),
        )
    }

    /// Asks with more lines of header; a `Host` among them stands for the right one.
    #[track_caller]
    pub(super) fn ask(&self, line: &str, header: &str, body: &str) -> Answer {
        self.try_ask(line, header, body).unwrap()
    }

    /// Whoever comes while there is a crowd may be turned away.
    pub(super) fn try_get(&self, path: &str) -> Option<Answer> {
        self.try_ask(&format!("GET {path}"), "", "").ok()
    }

    fn try_ask(&self, line: &str, header: &str, body: &str) -> io::Result<Answer> {
        let mut stream = self.connect(self.last)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let host = match header.contains("Host:") {
            true => String::new(),
            false => format!("Host: {LISTEN}\r\n"),
        };
        let cookie = match self.cookie.is_empty() {
            true => String::new(),
            false => format!("Cookie: {}\r\n", self.cookie),
        };
        let length = body.len();
        let text = format!(
            "{line} HTTP/1.1\r\n{host}{header}{cookie}Connection: close\r\nContent-Type: \
             application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(text.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let answer = String::from_utf8(answer).map_err(io::Error::other)?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).unwrap_or("0").parse();
        Ok(Answer {
            status: status.map_err(io::Error::other)?,
            head: head.to_owned(),
            body: body.to_owned(),
        })
    }

    /// Connects from this address of the host's own network.
    fn connect(&self, last: u8) -> io::Result<TcpStream> {
        if last == 1 {
            return self.from.enter(|| TcpStream::connect(LISTEN));
        }
        let (ours, theirs) = (
            SockaddrIn::new(127, 0, 0, last, 0),
            LISTEN.parse::<SocketAddrV4>().unwrap(),
        );
        self.from.enter(|| {
            let flags = SockFlag::SOCK_CLOEXEC;
            let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
            bind(socket.as_raw_fd(), &ours)?;
            connect(socket.as_raw_fd(), &SockaddrIn::from(theirs))?;
            Ok(TcpStream::from(socket))
        })
    }

    /// Opens a stream that nobody reads, from this address of the host's own network.
    pub(super) fn stream_from(&self, last: u8) -> TcpStream {
        let mut stream = self.connect(last).unwrap();
        let text = format!(
            "GET /live HTTP/1.1\r\nHost: {LISTEN}\r\nCookie: {}\r\n\r\n",
            self.cookie
        );
        // One that is turned away at the door may be gone already.
        let _ = stream.write_all(text.as_bytes());
        stream
    }
}

/// Waits until the console listens.
#[track_caller]
pub(super) fn wait_for(from: &Netns) {
    eventually(PATIENCE, || {
        from.enter(|| TcpStream::connect(LISTEN).is_ok())
    });
}

/// A form's fields, as browsers send them.
pub(super) fn form(fields: &[(&str, &str)]) -> String {
    let encoded = |text: &str| -> String {
        let octet = |byte: u8| match byte.is_ascii_alphanumeric() {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        };
        text.bytes().map(octet).collect()
    };
    let pairs = fields
        .iter()
        .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
    pairs.collect::<Vec<_>>().join("&")
}
