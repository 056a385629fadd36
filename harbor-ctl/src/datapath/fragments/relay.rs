//! Carries the datagrams that the programs leave to the stack because their fragments came out of order.
//!
//! The stack puts them together, `harbor_lookup` hands those that belong to a flow to a socket of this
//! thread, and from here they leave with the flow's own tuple, requests and replies alike. The program
//! is held by no pin: it goes with the agent.

use std::{
    fs::File,
    io::{self, PipeReader, PipeWriter},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
};

use aya::{Ebpf, maps::SockMap, programs::SkLookup};
use rustix::event::{PollFd, PollFlags, poll};

use super::raw_sockets::{LARGEST, Post};
use crate::{
    datapath::{
        error::{DatapathError, Tried as _},
        flows::FlowTables,
        program::{
            Load, Options, explain_refusal, load_programs,
            object::{Handover, LOOKUP_PROGRAM},
            pins::Pins,
        },
    },
    model::Carried,
};

/// The map of this thread's sockets, by family.
const SOCKETS: &str = "sockets";
/// Datagrams of one family before the other has its turn.
const TURN: usize = 64;

/// The running carrier.
pub(crate) struct Carrier {
    counts: Arc<Counts>,
    /// Holds the program. Gone first, so that what is steered here is still carried.
    lookup: Option<Ebpf>,
    /// Whose end is the thread's end.
    life: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Counts {
    requests: AtomicU64,
    replies: AtomicU64,
}

/// What the thread owns.
struct Round {
    posts: Vec<Post>,
    flows: FlowTables,
    counts: Arc<Counts>,
    life: PipeReader,
}

impl Carrier {
    /// Takes up what the programs over these pins leave.
    pub(crate) fn start(pins: &Pins, options: &Options) -> Result<Self, DatapathError> {
        let quiet = Options {
            log: log::LevelFilter::Off,
            ..options.clone()
        };
        let mut ebpf = load_programs(pins, &quiet, &[], Load::Ethernet(Handover::None))?;
        let posts = give_sockets(&mut ebpf, &options.source_ports)?;
        attach(&mut ebpf)?;
        close_maps(&mut ebpf);
        let (life, end) = io::pipe().tried(|| "cannot make a pipe".into())?;
        let counts = Arc::<Counts>::default();
        let round = Round {
            posts,
            flows: FlowTables::open(pins)?,
            counts: Arc::clone(&counts),
            life,
        };
        let thread = thread::Builder::new().name("carrier".into());
        let thread = thread.spawn(move || round.run());
        Ok(Self {
            counts,
            lookup: Some(ebpf),
            life: Some(end),
            thread: Some(thread.tried(|| "cannot start a thread".into())?),
        })
    }

    /// What it has carried since it started.
    pub(crate) fn carried(&self) -> Carried {
        Carried {
            requests: self.counts.requests.load(Relaxed),
            replies: self.counts.replies.load(Relaxed),
        }
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        drop(self.lookup.take());
        drop(self.life.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the carrier's thread has died");
        }
    }
}

/// Opens the sockets and enters them where the program finds them. They lie in the translation range,
/// where no number of a port is, and which the host's own connections keep out of.
fn give_sockets(ebpf: &mut Ebpf, ports: &RangeInclusive<u16>) -> Result<Vec<Post>, DatapathError> {
    let map = ebpf.map_mut(SOCKETS);
    let map = map.ok_or_else(|| DatapathError::new(format!("the eBPF object has no {SOCKETS}")))?;
    let mut sockets = SockMap::try_from(map).tried(|| SOCKETS.into())?;
    let families: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let mut posts = Vec::new();
    for (index, loopback) in (0..).zip(families) {
        let post = match Post::open(loopback, ports.clone()) {
            Ok(post) => post,
            Err(error) if loopback.is_ipv6() && is_without_ipv6(&error) => continue,
            Err(error) => return Err(error).tried(|| "cannot open the carrier's sockets".into()),
        };
        let set = sockets.set(index, post.inlet(), 0);
        set.tried(|| format!("cannot write {SOCKETS}"))?;
        posts.push(post);
    }
    Ok(posts)
}

fn is_without_ipv6(error: &io::Error) -> bool {
    let codes = [libc::EAFNOSUPPORT, libc::EADDRNOTAVAIL];
    error
        .raw_os_error()
        .is_some_and(|code| codes.contains(&code))
}

fn attach(ebpf: &mut Ebpf) -> Result<(), DatapathError> {
    let program = ebpf.program_mut(LOOKUP_PROGRAM);
    let program = program
        .ok_or_else(|| DatapathError::new(format!("the eBPF object has no {LOOKUP_PROGRAM}")))?;
    let program: &mut SkLookup = program.try_into().tried(|| LOOKUP_PROGRAM.into())?;
    let loaded = program.load();
    loaded.map_err(|error| explain_refusal(LOOKUP_PROGRAM, &error))?;
    let tried = || format!("cannot attach {LOOKUP_PROGRAM}");
    let namespace = File::open("/proc/thread-self/ns/net").tried(tried)?;
    program.attach(namespace).tried(tried)?;
    Ok(())
}

/// Closes the maps, which the program holds: descriptors may be few.
fn close_maps(ebpf: &mut Ebpf) {
    let names: Vec<String> = ebpf.maps().map(|(name, _)| name.to_owned()).collect();
    for name in names {
        drop(ebpf.take_map(&name));
    }
}

impl Round {
    fn run(self) {
        let mut buffer = vec![0; LARGEST];
        loop {
            let mut waits = vec![PollFd::new(&self.life, PollFlags::IN)];
            let inlets = self.posts.iter().map(Post::inlet);
            waits.extend(inlets.map(|inlet| PollFd::new(inlet, PollFlags::IN)));
            // It fails by a signal alone, and is then asked again.
            let _ = poll(&mut waits, None);
            if !waits[0].revents().is_empty() {
                return;
            }
            for post in &self.posts {
                for _ in 0..TURN {
                    if !self.carry(post, &mut buffer) {
                        break;
                    }
                }
            }
        }
    }

    /// Carries a datagram; whether there was one.
    fn carry(&self, post: &Post, buffer: &mut [u8]) -> bool {
        let Some(taken) = post.take(buffer) else {
            return false;
        };
        // A flow that has ended meanwhile takes its datagrams along; a full way is a full way.
        if let Some(new) = self.flows.translate(taken.from, taken.to)
            && post.send(&buffer[..taken.length], new.from, new.to).is_ok()
        {
            let count = match new.is_reply {
                false => &self.counts.requests,
                true => &self.counts.replies,
            };
            count.fetch_add(1, Relaxed);
        }
        true
    }
}
