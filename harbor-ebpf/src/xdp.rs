//! [`Packet`] over a frame that the driver has just received, for XDP programs.
//!
//! If a frame comes in several pieces, only the first one is readable, so the frame seems shorter
//! than its IP header says.

use core::{arch::asm, mem::offset_of};

use aya_ebpf::bindings::xdp_md;
use harbor_common::route::Interface;

use crate::{
    linear::{self, Bounds},
    maps::INTERFACES,
    packet::{Ethernet, Header, Packet},
};

/// A packet at an XDP hook.
pub struct XdpPacket {
    context: *mut xdp_md,
}

const _: () = assert!(offset_of!(xdp_md, data) == 0 && offset_of!(xdp_md, data_end) == 4);

impl XdpPacket {
    /// Wraps the context that the kernel handed to the program.
    ///
    /// # Safety
    ///
    /// `context` is the context pointer of the running XDP program.
    #[inline(always)]
    pub const unsafe fn new(context: *mut xdp_md) -> Self {
        Self { context }
    }

    /// Start and end of what is readable, read by instructions that LLVM can neither repeat nor
    /// combine, as for socket buffers.
    #[inline(always)]
    fn bounds(&self) -> Bounds {
        let (start, end): (usize, usize);
        // SAFETY: `context` is the program's context; 0 and 4 are the offsets asserted above.
        unsafe {
            asm!(
                "{start} = *(u32 *)({context} + 0)",
                "{end} = *(u32 *)({context} + 4)",
                start = out(reg) start,
                end = lateout(reg) end,
                context = in(reg) self.context,
                options(nostack, preserves_flags),
            );
        }
        (start, end)
    }
}

/// What is known of an interface.
#[inline(always)]
fn interface(ifindex: u32) -> Option<&'static Interface> {
    let found = INTERFACES.get(Interface::slot(ifindex))?;
    (found.ifindex == ifindex).then_some(found)
}

/// Whether frames can be sent out of an interface from here.
#[inline(always)]
pub fn takes_frames(ifindex: u32) -> bool {
    match interface(ifindex) {
        Some(egress) => egress.flags & Interface::TAKES_FRAMES != 0,
        None => false,
    }
}

impl Packet for XdpPacket {
    #[inline(always)]
    fn length(&self) -> usize {
        let (start, end) = self.bounds();
        end - start
    }

    #[inline(always)]
    fn is_for_this_host(&self) -> bool {
        match (self.view::<Ethernet>(0), interface(self.ingress_ifindex())) {
            (Some(header), Some(own)) => header.destination == own.hardware,
            _ => false,
        }
    }

    #[inline(always)]
    fn ingress_ifindex(&self) -> u32 {
        // SAFETY: a context field; the verifier checks the access.
        unsafe { (*self.context).ingress_ifindex }
    }

    #[inline(always)]
    fn view<T: Header>(&self, offset: usize) -> Option<&T> {
        // SAFETY: the bounds are the program's, and no helper moves the frame.
        unsafe { linear::view(self.bounds(), offset) }
    }

    #[inline(always)]
    fn view_mut<T: Header>(&mut self, offset: usize) -> Option<&mut T> {
        // SAFETY: as in `view`; the borrow is unique.
        unsafe { linear::view_mut(self.bounds(), offset) }
    }

    #[inline(always)]
    fn words<const N: usize>(&self, offset: usize) -> Option<[u32; N]> {
        // SAFETY: as in `view`.
        unsafe { linear::words(self.bounds(), offset) }
    }

    #[inline(always)]
    fn set_words<const N: usize>(&mut self, offset: usize, words: [u32; N]) -> Option<()> {
        // SAFETY: as in `view_mut`.
        unsafe { linear::set_words(self.bounds(), offset, words) }
    }
}
