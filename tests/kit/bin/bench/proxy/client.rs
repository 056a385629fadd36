//! One measurement of one way: connections, latency, bulk.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    process, thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use kit::Lab;

use super::{app::QUESTION, ground::Way, processor};
use crate::spread::Spread;

/// Clients that connect at once.
const THREADS: usize = 2;
/// What is written at once in bulk.
const PIECE: usize = 1 << 17;
/// Nothing takes longer, or it is an error.
const PATIENCE: Duration = Duration::from_secs(5);

/// What one round found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Connections a second.
    pub(crate) rate: f64,
    /// Microseconds of the proxy's processor time a connection.
    pub(crate) connection: f64,
    /// Microseconds from question to answer, and the 99th percentile.
    pub(crate) median: f64,
    pub(crate) late: f64,
    /// Nanoseconds of the proxy's processor time a KB.
    pub(crate) kilobyte: f64,
    pub(crate) gigabits: f64,
}

pub(crate) fn measure(lab: &Lab, way: &Way, time: Duration) -> Result<Sample> {
    // The caches are this way's before it counts.
    lab.client.enter(|| connections(way.asked, time / 5))?;

    let spent = processor::spent(&way.processes)?;
    let begun = Instant::now();
    let count = lab.client.enter(|| connections(way.asked, time))?;
    let rate = count / begun.elapsed().as_secs_f64();
    let connection = processor::spent(&way.processes)?.saturating_sub(spent);

    let everybody: Vec<u32> = way
        .processes
        .iter()
        .copied()
        .chain([process::id()])
        .collect();
    processor::pin(&everybody, &[0])?;
    let times = lab.client.enter(|| questions(way.asked, time));
    let both: Vec<usize> = (0..thread::available_parallelism()?.get().max(2)).collect();
    processor::pin(&everybody, &both)?;
    let times = times?;

    let spent = processor::spent(&way.processes)?;
    let begun = Instant::now();
    let bytes = lab.client.enter(|| bulk(way.filled, time))?;
    let seconds = begun.elapsed().as_secs_f64();
    let bulk = processor::spent(&way.processes)?.saturating_sub(spent);
    Ok(Sample {
        rate,
        connection: connection.as_secs_f64() * 1e6 / count,
        median: times.median(),
        late: times.at(0.99),
        kilobyte: bulk.as_nanos() as f64 / (bytes / 1_000.0),
        gigabits: bytes * 8.0 / 1e9 / seconds,
    })
}

/// Connects, asks and closes for so long, in each thread; how often in all.
fn connections(to: SocketAddr, time: Duration) -> io::Result<f64> {
    let client = || {
        let (begun, mut count) = (Instant::now(), 0u32);
        while begun.elapsed() < time {
            ask(&mut connect(to)?)?;
            count += 1;
        }
        Ok::<u32, io::Error>(count)
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..THREADS).map(|_| scope.spawn(client)).collect();
        let mut all = 0;
        for client in clients {
            let count = client.join();
            all += count.map_err(|_| io::Error::other("a client has panicked"))??;
        }
        Ok(f64::from(all))
    })
}

/// Asks on one connection for so long: microseconds until the answer.
fn questions(to: SocketAddr, time: Duration) -> io::Result<Spread> {
    let (mut stream, begun, mut times) = (connect(to)?, Instant::now(), Vec::new());
    while begun.elapsed() < time {
        let asked = Instant::now();
        ask(&mut stream)?;
        times.push(asked.elapsed().as_secs_f64() * 1e6);
    }
    Ok(Spread::of(times.into_iter()))
}

/// Sends for so long, and waits until all has arrived: how many octets.
fn bulk(to: SocketAddr, time: Duration) -> io::Result<f64> {
    let (mut stream, begun) = (connect(to)?, Instant::now());
    let (piece, mut bytes) = (vec![0; PIECE], 0.0);
    while begun.elapsed() < time {
        stream.write_all(&piece)?;
        bytes += PIECE as f64;
    }
    stream.shutdown(Shutdown::Write)?;
    match stream.read(&mut [0])? {
        0 => Ok(bytes),
        _ => Err(io::Error::other("the app does not answer what it takes")),
    }
}

fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn ask(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(&[7; QUESTION])?;
    stream.read_exact(&mut [0; QUESTION])
}
