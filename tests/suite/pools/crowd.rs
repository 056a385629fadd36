//! Flows that stand while something goes wrong: TCP and UDP, both families, busy ones and silent ones.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use kit::{Family, traffic};

use super::Pair;

/// Of each family.
const BUSY: usize = 50;
const SILENT: usize = 250;
const UDP: usize = 200;
/// Of both families and all kinds.
pub(super) const ALL: usize = 2 * (BUSY + SILENT + UDP);
/// How long an answer may take: TCP's retransmissions fit into it.
const PATIENCE: Duration = Duration::from_secs(8);

/// All flows of a run.
pub(super) struct Crowd {
    busy: [traffic::Live; 2],
    silent: Vec<TcpStream>,
    askers: Vec<(traffic::Asker, SocketAddr, String)>,
}

impl Crowd {
    /// Each has exchanged something.
    #[track_caller]
    pub(super) fn open(pair: &Pair, port: u16) -> Self {
        let client = &pair.lab.client;
        let both = Family::BOTH.map(|family| (family, pair.at(family, port)));
        let silent = both.into_iter().flat_map(|(_, to)| vec![to; SILENT]);
        let silent = silent.map(|to| client.enter(|| connected(to)).unwrap());
        let askers = both.into_iter().flat_map(|each| vec![each; UDP]);
        let asker = |(family, to)| {
            let asker = traffic::Asker::new(client, family);
            let name = asker.ask(to, b"first").unwrap();
            asker.ask(to, b"second").unwrap();
            (asker, to, name)
        };
        Self {
            silent: silent.collect(),
            askers: askers.map(asker).collect(),
            busy: both.map(|(_, to)| traffic::Live::open(client, to, BUSY)),
        }
    }

    /// Those that have ended by themselves, of the busy ones.
    pub(super) fn ended(&self) -> usize {
        self.busy.iter().map(traffic::Live::ended).sum()
    }

    /// How many silent ones no longer get an echo.
    pub(super) fn deaf(&self) -> usize {
        self.silent.iter().filter(|stream| !echoes(stream)).count()
    }

    /// How many UDP flows no longer go where they went; a datagram may come again.
    pub(super) fn astray(&self) -> usize {
        let is_lost = |(asker, to, name): &&(traffic::Asker, SocketAddr, String)| {
            let ask = |_| asker.try_ask(*to, b"third", PATIENCE / 8).as_ref() == Some(name);
            !(0..3).any(ask)
        };
        self.askers.iter().filter(is_lost).count()
    }

    /// Ends the busy ones in good order; how many did not.
    pub(super) fn finish(self) -> usize {
        let errors = self.busy.map(|live| live.finish().errors.len());
        errors.iter().sum()
    }
}

fn connected(to: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let length = (&stream).read(&mut [0; 64])?;
    assert!(length > 0, "no greeting");
    Ok(stream)
}

fn echoes(mut stream: &TcpStream) -> bool {
    let mut echo = [0; 2];
    stream.write_all(b"!\n").is_ok() && stream.read_exact(&mut echo).is_ok() && echo == *b"!\n"
}
