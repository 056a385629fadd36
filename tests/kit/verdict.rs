//! Frames run through the programs that are attached in a lab's node (`BPF_PROG_TEST_RUN`), from
//! inside the node's namespace, and the counters that moved.
//!
//! Where there is a program at XDP, it comes first, as in the kernel: what it passes, it must have left as
//! it was, and goes on to the one at TC.

use std::{
    collections::BTreeMap,
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use aya::{
    maps::MapData,
    programs::{
        ProgramInfo, SchedClassifier, TestRun, TestRunOptions, Xdp, links::FdLink,
        links::PinnedLink, loaded_programs,
    },
};
use aya_obj::programs::XdpAttachType;
use harbor_common::{
    maps,
    verdict::{FIRST_DROP, VERDICT_NUMBERS, Verdict},
};

use crate::{Lab, Netns, counters::Counters, frame::ethertype};

/// Size of `struct __sk_buff`, and where it says which interface a frame came in by: `ingress_ifindex`
/// and, which also chooses the device, `ifindex`.
const SKB_BYTES: usize = 192;
const SKB_INTERFACES: [usize; 2] = [36, 40];
/// Size of `struct xdp_md`, and where it says how long the frame is and which interface it came in by.
const XDP_BYTES: usize = 24;
const XDP_DATA_END: usize = 4;
const XDP_INTERFACE: usize = 12;
/// Longer than any frame that test_run takes.
const LONGEST: usize = 4096;

/// Whether test_run takes this frame: it refuses one whose network header is cut off (`EINVAL`), or
/// that has no byte behind its Ethernet header.
pub fn is_runnable(frame: &[u8]) -> bool {
    let kind = frame
        .get(12..14)
        .map(|kind| u16::from_be_bytes([kind[0], kind[1]]));
    let header = match kind {
        None => return false,
        Some(ethertype::IPV4) => 20,
        Some(ethertype::IPV6) => 40,
        Some(_) => 1,
    };
    frame.len() >= 14 + header
}

/// What the program told the kernel to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `TC_ACT_OK` or `TCX_NEXT`: on to the stack.
    Pass,
    /// `TC_ACT_SHOT`.
    Drop,
    /// `TC_ACT_REDIRECT`: out of an interface.
    Redirect,
    /// Dropped, and turned into an answer that goes back where the frame came from.
    Answer,
    /// Anything else.
    Other(i32),
}

impl Action {
    fn from_code(code: u32) -> Self {
        match code.cast_signed() {
            -1 | 0 => Self::Pass,
            2 => Self::Drop,
            7 => Self::Redirect,
            other => Self::Other(other),
        }
    }
}

/// What became of a frame.
#[derive(Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What the kernel was told.
    pub action: Action,
    /// The name of the one verdict that was counted.
    pub verdict: String,
    /// The frame after the program.
    pub frame: Vec<u8>,
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} as {:?}: {:02x?}",
            self.action, self.verdict, self.frame
        )
    }
}

/// The program attached to one interface of a node, and its counters.
pub struct Prober {
    node: Netns,
    program: SchedClassifier,
    xdp: Option<Xdp>,
    /// Frames that never reached TC.
    taken: AtomicU64,
    ifindex: u32,
    verdicts: Counters,
}

impl Prober {
    /// The program on this interface of the lab's node.
    #[track_caller]
    pub fn attached(lab: &Lab, interface: &str) -> Self {
        let program =
            SchedClassifier::from_program_info(program_of(&lab.link(interface)), "attached".into());
        let pin = lab.xdp_link(interface);
        let xdp = pin.exists().then(|| {
            let info = program_of(&pin);
            Xdp::from_program_info(info, "attached".into(), XdpAttachType::Interface).unwrap()
        });
        let pin = lab.maps().join(maps::VERDICTS);
        let map = MapData::from_pin(&pin).unwrap_or_else(|e| panic!("{}: {e}", pin.display()));
        Self {
            node: lab.node.clone(),
            program: program.unwrap(),
            xdp,
            taken: AtomicU64::new(0),
            ifindex: lab.node.ifindex(interface),
            verdicts: Counters::new(map, VERDICT_NUMBERS),
        }
    }

    /// Runs one frame; exactly one verdict must have been counted.
    #[track_caller]
    pub fn run(&self, frame: &[u8]) -> Outcome {
        self.run_all(std::slice::from_ref(&frame)).remove(0)
    }

    /// Runs frames one after the other.
    #[track_caller]
    pub fn run_all<F: AsRef<[u8]> + Sync>(&self, frames: &[F]) -> Vec<Outcome> {
        self.node.enter(|| {
            frames
                .iter()
                .map(|frame| self.run_here(frame.as_ref()))
                .collect()
        })
    }

    /// Runs one frame; whoever calls this is inside the node's namespace already.
    #[track_caller]
    pub fn run_here(&self, frame: &[u8]) -> Outcome {
        let mut before = self.verdicts.read();
        // What XDP passes it has not counted. The kernel sends packets of its own now and then, which are
        // counted at TC: then the frame is passed once more.
        for tries in 0.. {
            if let Some((action, frame)) = self.run_xdp(frame) {
                self.taken.fetch_add(1, Ordering::Relaxed);
                return Outcome {
                    action,
                    verdict: self.counted_since(&before, &frame),
                    frame,
                };
            }
            let now = self.verdicts.read();
            if now == before {
                break;
            }
            assert!(tries < 3, "XDP counts what it passes: {before:?} {now:?}");
            before = now;
        }
        let context = self.context();
        let mut out = vec![0u8; LONGEST];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ctx_in: Some(&context),
            ..TestRunOptions::new()
        };
        let result = self.program.test_run(options);
        let result = result.unwrap_or_else(|error| panic!("{error:?}\n{frame:02x?}"));
        out.truncate(result.data_size_out as usize);
        let verdict = self.counted_since(&before, frame);
        let action = match Action::from_code(result.return_value) {
            Action::Redirect if is_drop(&verdict) => Action::Answer,
            action => action,
        };
        Outcome {
            action,
            verdict,
            frame: out,
        }
    }

    /// Runs one frame through the program at XDP, if there is one: what it did, unless it passed the frame.
    fn run_xdp(&self, frame: &[u8]) -> Option<(Action, Vec<u8>)> {
        let program = self.xdp.as_ref()?;
        let mut context = [0; XDP_BYTES];
        let length = u32::try_from(frame.len()).unwrap();
        let words = [(XDP_DATA_END, length), (XDP_INTERFACE, self.ifindex)];
        for (at, word) in words {
            context[at..at + 4].copy_from_slice(&word.to_ne_bytes());
        }
        let mut out = vec![0u8; LONGEST];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ctx_in: Some(&context),
            ..TestRunOptions::new()
        };
        let result = program.test_run(options);
        let result = result.unwrap_or_else(|error| panic!("{error:?}\n{frame:02x?}"));
        out.truncate(result.data_size_out as usize);
        match result.return_value {
            1 => Some((Action::Drop, out)),
            2 => {
                assert_eq!(out, frame, "XDP passes what it has changed");
                None
            }
            4 => Some((Action::Redirect, out)),
            other => panic!("XDP answers {other}: {frame:02x?}"),
        }
    }

    /// How many frames never reached TC.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Runs frames as fast as can be, without looking at what becomes of each; the caller is inside
    /// the node's namespace.
    pub fn fire(&self, frames: impl Iterator<Item = Vec<u8>>) {
        for frame in frames {
            self.act(&frame);
        }
    }

    /// Runs one frame, without looking at what is counted: others may run frames meanwhile. The caller
    /// is inside the node's namespace.
    pub fn act(&self, frame: &[u8]) -> Action {
        let options = TestRunOptions {
            data_in: Some(frame),
            ctx_in: Some(&self.context()),
            ..TestRunOptions::new()
        };
        Action::from_code(self.program.test_run(options).unwrap().return_value)
    }

    fn context(&self) -> [u8; SKB_BYTES] {
        let mut context = [0u8; SKB_BYTES];
        for at in SKB_INTERFACES {
            context[at..at + 4].copy_from_slice(&self.ifindex.to_ne_bytes());
        }
        context
    }

    /// The verdict whose counter moved; there must be one, and it must have moved by one.
    fn counted_since(&self, before: &[u64], frame: &[u8]) -> String {
        let now = self.verdicts.read();
        let mut moved: Vec<usize> = (0..now.len()).filter(|n| now[*n] != before[*n]).collect();
        // The kernel asks for neighbours and reports groups when it wants to (ARP, ICMPv6), and the program
        // counts that too.
        for noise in OF_THE_KERNEL {
            if moved.len() > 1 && is_ip(frame) {
                moved.retain(|n| name(*n) != noise);
            }
        }
        match moved[..] {
            [number] if now[number] == before[number] + 1 => name(number),
            _ => {
                let names: Vec<String> = moved.into_iter().map(name).collect();
                panic!("counted {names:?} for one frame: {frame:02x?}")
            }
        }
    }

    /// Every verdict counted so far, by name; those at zero are left out.
    pub fn totals(&self) -> BTreeMap<String, u64> {
        let counted = self
            .verdicts
            .read()
            .into_iter()
            .enumerate()
            .filter(|(_, count)| *count > 0);
        counted
            .map(|(number, count)| (name(number), count))
            .collect()
    }
}

/// Verdicts on what the kernel sends by itself, the likeliest first.
const OF_THE_KERNEL: [&str; 3] = ["not-ip", "icmp", "not-ours"];

/// A verdict's name; a number that has none is shown as one.
fn name(number: usize) -> String {
    let described = Verdict::describe(u32::try_from(number).unwrap());
    described.map_or_else(|| format!("#{number}"), |(name, _)| name.into())
}

fn is_ip(frame: &[u8]) -> bool {
    matches!(frame.get(12..14), Some([0x08, 0x00] | [0x86, 0xdd]))
}

/// Whether the verdict of this name is a reason to drop.
pub fn is_drop(name: &str) -> bool {
    (FIRST_DROP..)
        .take(VERDICT_NUMBERS)
        .any(|n| Verdict::describe(n).is_some_and(|d| d.0 == name))
}

/// The program behind a pin of [`Lab::link`] or [`Lab::xdp_link`].
#[track_caller]
fn program_of(pin: &std::path::Path) -> ProgramInfo {
    let (_, id) = link_ids(pin);
    // Programs of parallel tests come and go while they are listed.
    let info = loaded_programs().flatten().find(|info| info.id() == id);
    info.unwrap_or_else(|| panic!("no program {id}"))
}

/// The kernel's ids of a pinned link and of its program; a filter has no link, and 0 for its id.
#[track_caller]
pub fn link_ids(pin: &std::path::Path) -> (u32, u32) {
    let name = pin.file_name().unwrap().to_string_lossy();
    if name.starts_with("clsact-") {
        return (0, ProgramInfo::from_pin(pin).unwrap().id());
    }
    let link = PinnedLink::from_pin(pin).unwrap_or_else(|e| panic!("{}: {e}", pin.display()));
    let info = FdLink::from(link).info().unwrap();
    (info.id(), info.program_id())
}
