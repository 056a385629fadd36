//! One half of a connection that goes on long after the other was closed.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use crate::Netns;

/// Between two lines that are sent.
const REST: Duration = Duration::from_millis(100);
/// How long either side waits for the next.
const PATIENCE: Duration = Duration::from_secs(8);

/// Which side closes its half at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closes {
    /// The one that has connected.
    Client,
    /// The one that has accepted.
    Server,
}

/// Listens on a host for one connection and makes it from another, through a port: one side closes
/// its half at once, the other sends for so long and then closes too. The bytes sent and received.
pub fn half_closed(
    (client, to): (&Netns, SocketAddr),
    (server, at): (&Netns, SocketAddr),
    closes: Closes,
    lasts: Duration,
) -> io::Result<(usize, usize)> {
    let listener = server.enter(|| TcpListener::bind(at))?;
    let accepted = thread::spawn(move || {
        let (stream, _) = listener.accept()?;
        side(stream, closes == Closes::Server, lasts)
    });
    let connected = client.enter(|| {
        let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        side(stream, closes == Closes::Client, lasts)
    })?;
    let accepted = accepted
        .join()
        .map_err(|_| io::Error::other("the server panicked"))??;
    Ok(match closes {
        Closes::Client => (accepted, connected),
        Closes::Server => (connected, accepted),
    })
}

/// What one side has sent, or received if it closes its own half.
fn side(mut stream: TcpStream, closes: bool, lasts: Duration) -> io::Result<usize> {
    stream.set_read_timeout(Some(PATIENCE))?;
    if closes {
        stream.shutdown(Shutdown::Write)?;
        return stream.read_to_end(&mut Vec::new());
    }
    // The other side's end is seen before anything is sent.
    stream.read_to_end(&mut Vec::new())?;
    let begun = Instant::now();
    let mut sent = 0;
    while begun.elapsed() < lasts {
        stream.write_all(b"still here\n")?;
        sent += b"still here\n".len();
        thread::sleep(REST);
    }
    stream.shutdown(Shutdown::Write)?;
    Ok(sent)
}
