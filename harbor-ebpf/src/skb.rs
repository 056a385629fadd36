//! [`Packet`] over a socket buffer, for TC programs.
//!
//! The kernel prototypes relied on: `bpf_skb_pull_data(skb, len)`, and
//! `bpf_l4_csum_replace(skb, offset, from, to, flags)`, which with a size of 0 in `flags` takes a
//! ready difference in `to`; `bpf_csum_update(skb, csum)`, which adds to the sum of a whole frame; `bpf_skb_change_tail(skb, len, 0)`, which ends segmentation;
//! `bpf_skb_adjust_room(skb, len, BPF_ADJ_ROOM_MAC, 0)`, which grows behind the Ethernet header;
//! `bpf_skb_change_head(skb, len, 0)`, which grows in front of everything and counts that as the
//! link's header; `bpf_csum_level(skb, BPF_CSUM_LEVEL_QUERY)`, which succeeds where a device has found the
//! transport checksum right.

use core::{arch::asm, ffi::c_void, mem::offset_of, ptr};

use aya_ebpf::{
    bindings::{
        __sk_buff, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, bpf_adj_room_mode::BPF_ADJ_ROOM_MAC,
    },
    helpers::{
        bpf_csum_update, bpf_l4_csum_replace, bpf_skb_adjust_room, bpf_skb_change_head,
        bpf_skb_change_tail, bpf_skb_pull_data,
        generated::{bpf_csum_diff, bpf_csum_level, bpf_loop, bpf_skb_load_bytes},
    },
};

use harbor_common::checksum;

use crate::{
    bound::masked,
    linear,
    maps::{CHUNK, Chunk},
    packet::{
        ChecksumChange, Ethernet, Header, L3, Packet, Refused, SocketBuffer, TransportSum,
        change_checksum,
    },
};

/// A packet at a TC hook.
pub struct SkbPacket {
    skb: *mut __sk_buff,
}

/// Of linux/bpf.h.
const BPF_CSUM_LEVEL_QUERY: u64 = 0;
/// `PACKET_HOST` of linux/if_packet.h.
const FOR_THIS_HOST: u32 = 0;

impl SkbPacket {
    /// Wraps the context that the kernel handed to the program.
    ///
    /// # Safety
    ///
    /// `skb` is the context pointer of the running TC program.
    #[inline(always)]
    pub const unsafe fn new(skb: *mut __sk_buff) -> Self {
        Self { skb }
    }

    /// The context that it was made of.
    #[inline(always)]
    pub const fn context(&self) -> *mut __sk_buff {
        self.skb
    }

    /// Puts an Ethernet header in front of a packet that has none, so that all stages find what they
    /// know. Where the packet is passed on, or leaves by an interface without such headers, the kernel
    /// takes it off again.
    #[inline(always)]
    pub fn add_link_header(&mut self) {
        const TYPE: usize = offset_of!(Ethernet, ether_type);
        // SAFETY: `skb` is the program's context.
        let added = unsafe { bpf_skb_change_head(self.skb, L3 as u32, 0) };
        // SAFETY: a context field; the verifier checks the access.
        let ether_type = unsafe { (*self.skb).protocol } as u16;
        if added == 0
            && let Some(field) = self.view_mut::<[u8; 2]>(TYPE)
        {
            *field = ether_type.to_ne_bytes();
        }
    }

    /// Start and end of what is directly readable.
    ///
    /// Both are read by instructions that LLVM can neither repeat nor combine: left to itself it
    /// reloads them and the verifier answers "pointer arithmetic on pkt_end prohibited".
    #[inline(always)]
    fn bounds(&self) -> (usize, usize) {
        let (start, end): (usize, usize);
        // SAFETY: `skb` is the program's context; 76 and 80 are the offsets asserted below.
        unsafe {
            asm!(
                "{start} = *(u32 *)({skb} + 76)",
                "{end} = *(u32 *)({skb} + 80)",
                start = out(reg) start,
                end = lateout(reg) end,
                skb = in(reg) self.skb,
                options(nostack, preserves_flags),
            );
        }
        (start, end)
    }

    /// The kernel's own way to change a checksum, which knows whether a device is to finish it.
    #[inline(never)]
    fn replace_checksum(&mut self, change: &ChecksumChange) -> Result<(), Refused> {
        let udp = if change.is_udp {
            u64::from(BPF_F_MARK_MANGLED_0)
        } else {
            0
        };
        let pseudo = udp | u64::from(BPF_F_PSEUDO_HDR);
        let offset = change.offset as u32;
        // SAFETY: `skb` is the program's context; the helper checks the offset.
        let addresses = unsafe {
            bpf_l4_csum_replace(self.skb, offset, 0, u64::from(change.pseudo_header), pseudo)
        };
        // SAFETY: as above.
        let ports =
            unsafe { bpf_l4_csum_replace(self.skb, offset, 0, u64::from(change.header), udp) };
        if addresses == 0 && ports == 0 {
            Ok(())
        } else {
            Err(Refused)
        }
    }

    /// Sums the transport header and what it carries up, and its checksum with it.
    #[inline(never)]
    fn sums_up(&self, sum: &TransportSum) -> bool {
        let mut summing = Summing {
            skb: self.skb,
            offset: sum.offset as u32,
            left: sum.length as u32,
            sum: u32::from(sum.pseudo_header),
        };
        let steps = (summing.left as usize).div_ceil(size_of::<Chunk>()) as u32;
        let step = add_chunk as unsafe extern "C" fn(u64, *mut c_void) -> i64;
        // SAFETY: the callback takes what it is given here, which outlives the call.
        unsafe { bpf_loop(steps, step as *mut c_void, (&raw mut summing).cast(), 0) };
        summing.left != 0 || checksum::fold(summing.sum) == 0xffff
    }
}

/// A sum over a part of a packet, chunk by chunk.
struct Summing {
    skb: *mut __sk_buff,
    offset: u32,
    left: u32,
    sum: u32,
}

/// One step of the sum.
///
/// # Safety
///
/// Called by `bpf_loop` with a [`Summing`].
unsafe extern "C" fn add_chunk(_index: u64, summing: *mut c_void) -> i64 {
    const SIZE: u32 = size_of::<Chunk>() as u32;
    // SAFETY: by the caller.
    let summing = unsafe { &mut *summing.cast::<Summing>() };
    let Some(chunk) = CHUNK.get_ptr_mut(0) else {
        return 1;
    };
    let length = if summing.left > SIZE {
        SIZE
    } else {
        summing.left
    };
    // In a form that bounds it for the verifier.
    let last = masked::<{ SIZE as usize - 1 }>(length.wrapping_sub(1) as usize);
    // Of the last word some octets may be none of the packet's.
    // SAFETY: `last / 4` is below the number of words.
    unsafe { (*chunk)[last / 4] = 0 };
    // SAFETY: `skb` is the program's context; the chunk holds as much.
    let read = unsafe {
        bpf_skb_load_bytes(
            summing.skb.cast(),
            summing.offset,
            chunk.cast(),
            last as u32 + 1,
        )
    };
    if read != 0 {
        return 1;
    }
    let words = (last as u32 / 4 + 1) * 4;
    // SAFETY: as above.
    let sum = unsafe { bpf_csum_diff(ptr::null_mut(), 0, chunk.cast(), words, summing.sum) };
    summing.sum = u32::from(checksum::fold(sum as u32));
    summing.offset += length;
    summing.left -= length;
    0
}

const _: () = assert!(offset_of!(__sk_buff, data) == 76 && offset_of!(__sk_buff, data_end) == 80);

impl Packet for SkbPacket {
    #[inline(always)]
    fn length(&self) -> usize {
        // SAFETY: a context field; the verifier checks the access.
        unsafe { (*self.skb).len as usize }
    }

    #[inline(always)]
    fn is_segmented(&self) -> bool {
        // SAFETY: a context field; the verifier checks the access.
        unsafe { (*self.skb).gso_segs > 1 }
    }

    #[inline(always)]
    fn segment_size(&self) -> u32 {
        // SAFETY: a context field; the verifier checks the access.
        unsafe { (*self.skb).gso_size }
    }

    #[inline(always)]
    fn is_for_this_host(&self) -> bool {
        // SAFETY: a context field; the verifier checks the access.
        unsafe { (*self.skb).pkt_type == FOR_THIS_HOST }
    }

    #[inline(always)]
    fn has_vlan(&self) -> bool {
        // SAFETY: a context field; the verifier checks the access.
        unsafe { (*self.skb).vlan_present != 0 }
    }

    #[inline(always)]
    fn ingress_ifindex(&self) -> u32 {
        // SAFETY: a context field; the verifier checks the access.
        unsafe { (*self.skb).ingress_ifindex }
    }

    #[inline(always)]
    fn pull(&mut self, wanted: usize) {
        let (start, end) = self.bounds();
        if start + wanted > end {
            let wanted = self.length().min(wanted) as u32;
            // A refusal shows itself: the views of the headers then answer None.
            // SAFETY: `skb` is the program's context.
            let _ = unsafe { bpf_skb_pull_data(self.skb, wanted) };
        }
    }

    #[inline(always)]
    fn view<T: Header>(&self, offset: usize) -> Option<&T> {
        // SAFETY: the bounds are the program's; helpers that move the frame take `&mut self` and so end
        // this borrow.
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

    #[inline(always)]
    fn fix_transport_checksum(&mut self, change: ChecksumChange) -> Result<(), Refused> {
        let field = *self.view::<[u8; 2]>(change.offset).ok_or(Refused)?;
        let old = u16::from_ne_bytes(field);
        if self.segment_size() != 0 || old == change.pending {
            return self.replace_checksum(&change);
        }
        // No device is to finish it: then one addition does, without a helper.
        let has_changed = change_checksum(self, &change)?;
        if has_changed && change.is_v4 {
            // Where the device has summed up the whole frame, the addresses in the pseudo header are
            // all that this sum does not see changing. Elsewhere the helper does nothing.
            // SAFETY: `skb` is the program's context.
            unsafe { bpf_csum_update(self.skb, u32::from(!change.pseudo_header)) };
        }
        Ok(())
    }
}

impl SocketBuffer for SkbPacket {
    #[inline(always)]
    fn is_checksum_pending(&mut self, offset: usize) -> bool {
        let before = self.view::<[u8; 2]>(offset).map(|check| *check);
        // Without BPF_F_PSEUDO_HDR the helper leaves a checksum that a device is to finish alone.
        // SAFETY: `skb` is the program's context; the helper checks the offset.
        let _ = unsafe { bpf_l4_csum_replace(self.skb, offset as u32, 0, 1, 0) };
        self.view::<[u8; 2]>(offset).map(|check| *check) == before
    }

    #[inline(always)]
    fn is_checksum_sound(&mut self, sum: &TransportSum) -> bool {
        // SAFETY: `skb` is the program's context.
        if unsafe { bpf_csum_level(self.skb, BPF_CSUM_LEVEL_QUERY) } >= 0
            || self.segment_size() != 0
        {
            return true;
        }
        match self.view::<[u8; 2]>(sum.check) {
            Some(field) => match u16::from_ne_bytes(*field) {
                0 if sum.is_udp => true,
                check if check == sum.pseudo_header => true,
                _ => self.sums_up(sum),
            },
            None => true,
        }
    }

    #[inline(always)]
    fn cut(&mut self, length: usize) -> Result<(), Refused> {
        // SAFETY: `skb` is the program's context.
        let result = unsafe { bpf_skb_change_tail(self.skb, length as u32, 0) };
        // SAFETY: as above.
        let pulled = unsafe { bpf_skb_pull_data(self.skb, length as u32) };
        if result == 0 && pulled == 0 {
            Ok(())
        } else {
            Err(Refused)
        }
    }

    #[inline(always)]
    fn insert(&mut self, octets: usize) -> Result<(), Refused> {
        // SAFETY: `skb` is the program's context.
        match unsafe { bpf_skb_adjust_room(self.skb, octets as i32, BPF_ADJ_ROOM_MAC, 0) } {
            0 => Ok(()),
            _ => Err(Refused),
        }
    }
}
