//! The app: one port that answers, one that takes all it is given.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
};

use kit::Netns;

/// Octets of a question and of its answer.
pub(crate) const QUESTION: usize = 64;
/// Connections that are served at once, each by a thread that is there already.
const THREADS: usize = 4;

/// Answers questions of [`QUESTION`] octets, for as long as this program runs.
pub(crate) fn answer(host: &Netns, at: SocketAddr) -> io::Result<()> {
    serve(host, at, |mut stream| {
        let mut question = [0; QUESTION];
        while stream.read_exact(&mut question).is_ok() {
            stream.write_all(&question)?;
        }
        Ok(())
    })
}

/// Reads to the end, and then closes: whoever sees that knows that all has arrived.
pub(crate) fn take(host: &Netns, at: SocketAddr) -> io::Result<()> {
    serve(host, at, |mut stream| {
        let mut buffer = vec![0; 1 << 18];
        while stream.read(&mut buffer)? > 0 {}
        Ok(())
    })
}

fn serve(
    host: &Netns,
    at: SocketAddr,
    talk: impl Fn(TcpStream) -> io::Result<()> + Copy + Send + 'static,
) -> io::Result<()> {
    let listener = Arc::new(host.enter(|| TcpListener::bind(at))?);
    for _ in 0..THREADS {
        let listener = Arc::clone(&listener);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that goes away ends its own conversation and no other.
                let _ = stream.set_nodelay(true).and_then(|()| talk(stream));
            }
        });
    }
    Ok(())
}
