//! Frames run through the program that is attached in a lab's node (`BPF_PROG_TEST_RUN`), from
//! inside the node's namespace, and the counters that moved.

use std::{collections::BTreeMap, fmt};

use aya::{
    maps::MapData,
    programs::{
        ProgramInfo, SchedClassifier, TestRun, TestRunOptions, links::FdLink, links::PinnedLink,
        loaded_programs,
    },
};
use harbor_common::{
    maps,
    verdict::{FIRST_DROP, VERDICT_NUMBERS, Verdict},
};

use crate::{Lab, Netns, counters::Counters, frame::ethertype};

/// Size of `struct __sk_buff`, and where it says which interface a frame came in by: `ingress_ifindex`
/// and, which also chooses the device, `ifindex`.
const SKB_BYTES: usize = 192;
const SKB_INTERFACES: [usize; 2] = [36, 40];
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
    ifindex: u32,
    verdicts: Counters,
}

impl Prober {
    /// The program on this interface of the lab's node.
    #[track_caller]
    pub fn attached(lab: &Lab, interface: &str) -> Self {
        let program = program_of(&lab.link(interface));
        let pin = lab.maps().join(maps::VERDICTS);
        let map = MapData::from_pin(&pin).unwrap_or_else(|e| panic!("{}: {e}", pin.display()));
        Self {
            node: lab.node.clone(),
            program,
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
        let context = self.context();
        let mut out = vec![0u8; LONGEST];
        let before = self.verdicts.read();
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
        let moved: Vec<usize> = (0..now.len()).filter(|n| now[*n] != before[*n]).collect();
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

/// A verdict's name; a number that has none is shown as one.
fn name(number: usize) -> String {
    let described = Verdict::describe(u32::try_from(number).unwrap());
    described.map_or_else(|| format!("#{number}"), |(name, _)| name.into())
}

/// Whether the verdict of this name is a reason to drop.
pub fn is_drop(name: &str) -> bool {
    (FIRST_DROP..)
        .take(VERDICT_NUMBERS)
        .any(|n| Verdict::describe(n).is_some_and(|d| d.0 == name))
}

/// The program behind a pin of [`Lab::link`].
#[track_caller]
fn program_of(pin: &std::path::Path) -> SchedClassifier {
    let (_, id) = link_ids(pin);
    // Programs of parallel tests come and go while they are listed.
    let info = loaded_programs().flatten().find(|info| info.id() == id);
    let info = info.unwrap_or_else(|| panic!("no program {id}"));
    SchedClassifier::from_program_info(info, "attached".into()).unwrap()
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
