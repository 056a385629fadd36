//! Entry points: run the pipeline, count the exit, turn the verdict into an action.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod program {
    use core::ptr;

    use aya_ebpf::{
        bindings::{
            __sk_buff, BPF_F_INGRESS, TC_ACT_OK, TC_ACT_SHOT, TC_ACT_UNSPEC, sk_action::SK_PASS,
            xdp_action,
        },
        helpers::{bpf_redirect, bpf_redirect_neigh},
        macros::{classifier, sk_lookup, xdp},
        programs::{SkLookupContext, TcContext, XdpContext},
    };
    use aya_log_ebpf::debug;
    use harbor_common::{
        addr::{Ip, Ipv4, Ipv6},
        verdict::Verdict,
    };
    use harbor_ebpf::{
        account, adopt, clock, code::Code, config, established, family::Stack, maps::FORMER,
        packet::Packet, parsed::Version, pipeline, skb::SkbPacket, stage::emit, steer, sweep,
        table::RACE, timer, trace, xdp::XdpPacket,
    };

    /// The packet path at TC ingress.
    #[classifier]
    fn harbor_tc(ctx: TcContext) -> i32 {
        serve(&ctx, |_| {})
    }

    /// The same in a time of change: what has no flow here goes to the program that served before.
    #[classifier]
    fn harbor_handover(ctx: TcContext) -> i32 {
        serve(&ctx, |verdict| {
            // A flow that is half here is wholly there.
            if matches!(verdict, Verdict::Pass(_)) || verdict == RACE {
                // SAFETY: nothing waits to be dropped; where there is no such program, this one goes on.
                unsafe { FORMER.tail_call(&ctx, 0) };
            }
        })
    }

    /// Serves a packet; `hand_over` sees the verdict before it counts.
    #[inline(always)]
    fn serve(ctx: &TcContext, hand_over: impl FnOnce(Verdict)) -> i32 {
        let skb = ctx.skb.skb;
        // SAFETY: the context of this program.
        let mut packet = unsafe { SkbPacket::new(skb) };
        if config::is_bare() {
            packet.add_link_header();
        }
        trace::arriving(skb);
        let version = pipeline::version(&mut packet);
        let verdict = match version {
            Ok(Version::V4) => path_v4(skb).verdict(),
            Ok(Version::V6) => path_v6(skb).verdict(),
            Err(verdict) => verdict,
        };
        if verdict == RACE && looks_again(skb) {
            // SAFETY: as below.
            return unsafe { bpf_redirect((*skb).ifindex, u64::from(BPF_F_INGRESS)) as i32 };
        }
        hand_over(verdict);
        account::exit(verdict);
        trace::leaving(skb, verdict);
        match verdict {
            // SAFETY: the helper only notes the interface.
            Verdict::Forward(ifindex) => unsafe { bpf_redirect(ifindex, 0) as i32 },
            // The kernel resolves the neighbour, and queues the packet while it does.
            Verdict::Resolve(ifindex) => match version {
                Ok(Version::V4) => resolve::<Ipv4>(ifindex, AF_INET),
                _ => resolve::<Ipv6>(ifindex, AF_INET6),
            },
            // SAFETY: a context field; the verifier checks the access.
            Verdict::Answer(_) => unsafe { bpf_redirect((*skb).ingress_ifindex, 0) as i32 },
            // The next program of the hook decides, and after the last one the stack.
            Verdict::Pass(_) => TC_ACT_UNSPEC,
            Verdict::Drop(reason) => {
                // SAFETY: a context field; the verifier checks the access.
                let ifindex = unsafe { (*skb).ifindex };
                let (name, length) = (reason.name(), ctx.len());
                debug!(ctx, target: "datapath", "drop {}: {} bytes from interface {}", name, length, ifindex);
                TC_ACT_SHOT
            }
        }
    }

    /// Whether the packet is to come in once more, because another CPU has just changed its flow:
    /// the second time it finds the result. Marks the packet, so that this happens only once. Never
    /// where an Ethernet header was put in front of it.
    #[inline(always)]
    fn looks_again(skb: *mut __sk_buff) -> bool {
        // SAFETY: a context field; the verifier checks the access.
        let mark = unsafe { &raw mut (*skb).tc_index };
        // SAFETY: as above. Left to itself LLVM would read it twice.
        let is_first = unsafe { mark.read_volatile() } != AGAIN;
        if is_first && !config::is_bare() {
            // SAFETY: as above.
            unsafe { mark.write_volatile(AGAIN) };
        }
        is_first && !config::is_bare()
    }

    /// In `tc_index`: the packet was here before. Only queueing disciplines that set the field read
    /// it.
    const AGAIN: u32 = 0x4842;

    const AF_INET: u32 = 2;
    const AF_INET6: u32 = 10;

    /// Has the kernel send the packet to the neighbour that the tables name, or that it finds
    /// itself.
    #[inline(always)]
    fn resolve<A: Stack>(ifindex: u32, nh_family: u32) -> i32 {
        let mut via = Ip::default();
        if !emit::neighbour::<A>(clock::now_ns(), &mut via) {
            // SAFETY: no parameters are given, so none are read.
            return unsafe { bpf_redirect_neigh(ifindex, ptr::null_mut(), 0, 0) as i32 };
        }
        let octets = via.octets;
        let mut next = Neighbour {
            nh_family,
            address: if nh_family == AF_INET {
                let [.., a, b, c, d] = octets;
                [u32::from_ne_bytes([a, b, c, d]), 0, 0, 0]
            } else {
                let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = octets;
                [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]].map(u32::from_ne_bytes)
            },
        };
        let size = size_of::<Neighbour>() as i32;
        // SAFETY: the helper copies as much as the size says.
        unsafe { bpf_redirect_neigh(ifindex, (&raw mut next).cast(), size, 0) as i32 }
    }

    /// `struct bpf_redir_neigh` of linux/bpf.h.
    #[repr(C)]
    struct Neighbour {
        nh_family: u32,
        address: [u32; 4],
    }

    /// A function of its own: both families' paths together would need more stack than there is.
    #[inline(never)]
    fn path_v4(skb: *mut __sk_buff) -> Code {
        // SAFETY: the context of this program.
        let mut packet = unsafe { SkbPacket::new(skb) };
        Code::of(pipeline::run::<Ipv4, _>(&mut packet))
    }

    #[inline(never)]
    fn path_v6(skb: *mut __sk_buff) -> Code {
        // SAFETY: the context of this program.
        let mut packet = unsafe { SkbPacket::new(skb) };
        Code::of(pipeline::run::<Ipv6, _>(&mut packet))
    }

    /// The packet path at XDP: established flows only; everything else goes up to TC.
    #[xdp(frags)]
    fn harbor_xdp(ctx: XdpContext) -> u32 {
        // Whoever traces is told at TC.
        if config::traced_one_in() != 0 {
            return xdp_action::XDP_PASS;
        }
        // SAFETY: the context of this program.
        let mut packet = unsafe { XdpPacket::new(ctx.ctx) };
        let verdict = match pipeline::version(&mut packet) {
            Ok(Version::V4) => established::run::<Ipv4, _>(&mut packet),
            Ok(Version::V6) => established::run::<Ipv6, _>(&mut packet),
            Err(verdict) => verdict,
        };
        match verdict {
            Verdict::Forward(ifindex) => {
                account::exit(verdict);
                // SAFETY: the helper only notes the interface.
                unsafe { bpf_redirect(ifindex, 0) as u32 }
            }
            Verdict::Drop(reason) => {
                account::exit(verdict);
                let (name, length) = (reason.name(), packet.length());
                debug!(&ctx, target: "datapath", "drop {}: {} bytes at XDP", name, length);
                xdp_action::XDP_DROP
            }
            Verdict::Resolve(_) | Verdict::Pass(_) | Verdict::Answer(_) => xdp_action::XDP_PASS,
        }
    }

    /// Runs where the stack looks for the socket of a datagram for this host. Passes all of them
    /// on.
    #[sk_lookup]
    fn harbor_lookup(ctx: SkLookupContext) -> u32 {
        steer::steer(&ctx);
        SK_PASS
    }

    /// Arms the kernel's own timer. Never attached: the agent runs it once after each load.
    #[classifier]
    fn harbor_arm(_ctx: TcContext) -> i32 {
        if timer::arm() { 1 } else { 0 }
    }

    /// Ends expired flows. Never attached: the agent runs it on a "packet" that is a list of
    /// [`Expired`] behind an Ethernet header, and reads the number of flows ended from the result.
    #[classifier]
    fn harbor_sweep(ctx: TcContext) -> i32 {
        TC_ACT_OK + sweep::expire_all(ctx.skb.skb) as i32
    }

    /// Takes flows over. Never attached: the agent runs it on a "packet" that is a list of [`Adoption`]
    /// behind an Ethernet header, and reads from the result how many are here now.
    ///
    /// [`Adoption`]: harbor_common::adoption::Adoption
    #[classifier]
    fn harbor_adopt(ctx: TcContext) -> i32 {
        TC_ACT_OK + adopt::adopt_all(ctx.skb.skb) as i32
    }

    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

    #[panic_handler]
    fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
        // SAFETY: never reached; the verifier refuses a program in which it could be.
        unsafe { core::hint::unreachable_unchecked() }
    }
}

/// On the host there is nothing to run; the crate is built for its tests and for the linter.
#[cfg(not(target_arch = "bpf"))]
fn main() {}
