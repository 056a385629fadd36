//! The parts of the packet path that few packets need, as global functions of the program.
//!
//! The verifier checks a global function once, by itself, whatever leads to it, and then takes each
//! call of it for one step. So it looks at the sum of the phases and not at their product. Such a
//! function takes the program's context and numbers, finds what is known of the packet in
//! [`Context`], and returns one register (`code`).
//!
//! [`Context`]: crate::maps::Context

use core::arch::asm;

use aya_ebpf::bindings::__sk_buff;
use harbor_common::{
    addr::{Ipv4, Ipv6},
    verdict::{PassReason, Verdict},
};

use crate::{
    code::Code,
    errors,
    family::Stack,
    maps::Context,
    opening,
    packet::SocketBuffer,
    pipeline,
    skb::SkbPacket,
    stage::{answer, icmp},
};

/// A family that the whole path serves.
pub trait Path: Stack + icmp::Errors + answer::Complain {}
impl<A: Stack + icmp::Errors + answer::Complain> Path for A {}

/// A packet with the phases of one family.
pub trait Phases<A>: SocketBuffer {
    /// Opens a flow for a packet that has none, or says why not.
    fn open(&mut self) -> Code;

    /// Decides about a flow that its backend fails: it stays, or ends so that the packet opens
    /// another.
    fn reconsider(&mut self) -> Code;

    /// Tells the sender that the packet is dropped by this verdict; answers with the final one.
    fn answer(&mut self, verdict: Code) -> Code;

    /// Relays an ICMP error to whoever sent the packet that it is about.
    fn relay_error(&mut self) -> Code;

    /// Sends a later fragment where the first one went.
    fn forward_fragment(&mut self) -> Code;
}

/// What is known of the packet at hand, in its family's place.
#[inline(always)]
fn context<A: Path>() -> Result<&'static mut Context<A>, Verdict> {
    match A::context() {
        // SAFETY: this CPU's own element, which one run of the program at a time holds; the caller
        // of a phase uses nothing of it until the phase returns.
        Some(context) => Ok(unsafe { &mut *context }),
        None => Err(Verdict::Pass(PassReason::NotOurs)),
    }
}

macro_rules! phases {
    ($family:ty: $($phase:ident($($argument:ident),*) = $name:ident by $run:path;)+) => {
        $(
            /// A phase of [`Phases`].
            ///
            /// # Safety
            ///
            /// `skb` is the context of the running program.
            #[unsafe(no_mangle)]
            #[inline(never)]
            pub unsafe extern "C" fn $name(skb: *mut __sk_buff $(, $argument: u64)*) -> u64 {
                // LLVM must see the argument used, or callers would not set its register.
                // SAFETY: no instruction.
                unsafe { asm!("/* {0} */", in(reg) skb, options(nomem, nostack)) };
                // SAFETY: by the caller.
                let mut packet = unsafe { SkbPacket::new(skb) };
                match context::<$family>() {
                    Ok(context) => $run(&mut packet, context $(, Code::from_register($argument))*).register(),
                    Err(verdict) => Code::of(verdict).register(),
                }
            }
        )+

        impl Phases<$family> for SkbPacket {
            $(
                #[inline(always)]
                fn $phase(&mut self $(, $argument: Code)*) -> Code {
                    // SAFETY: the context of this program.
                    Code::from_register(unsafe { $name(self.context() $(, $argument.register())*) })
                }
            )+
        }
    };
}

phases! { Ipv4:
    open() = harbor_open_v4 by opening::open;
    reconsider() = harbor_reconsider_v4 by opening::reconsider;
    answer(verdict) = harbor_answer_v4 by pipeline::answer;
    relay_error() = harbor_relay_error_v4 by errors::relay;
    forward_fragment() = harbor_forward_fragment_v4 by pipeline::forward_fragment;
}
phases! { Ipv6:
    open() = harbor_open_v6 by opening::open;
    reconsider() = harbor_reconsider_v6 by opening::reconsider;
    answer(verdict) = harbor_answer_v6 by pipeline::answer;
    relay_error() = harbor_relay_error_v6 by errors::relay;
    forward_fragment() = harbor_forward_fragment_v6 by pipeline::forward_fragment;
}
