//! Verdicts in one register, for functions of their own.
//!
//! BPF returns one register; anything larger goes through a pointer that LLVM may leave in register
//! 0, and the verifier then answers "cannot return stack pointer to the caller".

use harbor_common::verdict::{DropReason, PassReason, Verdict};

/// A [`Verdict`], or none: the packet goes on.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Code(u64);

const NONE: u64 = 0;
const FORWARD: u64 = 1;
const RESOLVE: u64 = 2;
const PASS: u64 = 3;
const DROP: u64 = 4;
const ANSWER: u64 = 5;

impl Code {
    /// The verdict of what is over.
    #[inline(always)]
    pub const fn of(verdict: Verdict) -> Self {
        let (kind, value) = match verdict {
            Verdict::Forward(ifindex) => (FORWARD, ifindex),
            Verdict::Resolve(ifindex) => (RESOLVE, ifindex),
            Verdict::Pass(reason) => (PASS, reason as u32),
            Verdict::Drop(reason) => (DROP, reason as u32),
            Verdict::Answer(reason) => (ANSWER, reason as u32),
        };
        Self(kind << 32 | value as u64)
    }

    /// The verdict, or none where the packet goes on.
    #[inline(always)]
    pub const fn of_result(result: Result<(), Verdict>) -> Self {
        match result {
            Ok(()) => Self(NONE),
            Err(verdict) => Self::of(verdict),
        }
    }

    /// The verdict of what is over.
    #[inline(always)]
    pub const fn verdict(self) -> Verdict {
        match self.result() {
            Err(verdict) => verdict,
            Ok(()) => unreachable(),
        }
    }

    /// As it is returned.
    #[inline(always)]
    pub const fn register(self) -> u64 {
        self.0
    }

    /// The inverse of [`Code::register`].
    #[inline(always)]
    pub const fn from_register(register: u64) -> Self {
        Self(register)
    }

    /// The inverse of [`Code::of_result`].
    #[inline(always)]
    pub const fn result(self) -> Result<(), Verdict> {
        let value = self.0 as u32;
        Err(match self.0 >> 32 {
            NONE => return Ok(()),
            FORWARD => Verdict::Forward(value),
            RESOLVE => Verdict::Resolve(value),
            // SAFETY: a code is made of a verdict alone, so the number is one of the enum's.
            PASS => Verdict::Pass(unsafe { core::mem::transmute::<u32, PassReason>(value) }),
            // SAFETY: as above.
            DROP => Verdict::Drop(unsafe { core::mem::transmute::<u32, DropReason>(value) }),
            // SAFETY: as above.
            _ => Verdict::Answer(unsafe { core::mem::transmute::<u32, DropReason>(value) }),
        })
    }
}

/// What a code without a verdict would mean where there must be one.
#[inline(always)]
const fn unreachable() -> Verdict {
    Verdict::Drop(DropReason::Rewrite)
}
