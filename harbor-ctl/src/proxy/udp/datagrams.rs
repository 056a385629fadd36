//! Datagrams in batches: one system call takes or gives up to sixteen.
//!
//! With a datagram for a number comes the address that it was sent to, because the answer has to come
//! from there. The libraries that batch force don't-fragment or allocate for each call, so that the two
//! calls are made here; nothing else of the proxy is unsafe.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    os::fd::{AsFd as _, AsRawFd as _},
    ptr,
};

use nix::sys::socket::{setsockopt, sockopt};
use rustix::io::Errno;

use crate::proxy::{ports::socket::Family, worker::descriptors::Descriptor};

/// Datagrams of one call.
pub(super) const BATCH: usize = 16;
/// No datagram is larger.
const LARGEST: usize = 65_536;
const CONTROL: usize = 96;
const HEADER: usize = size_of::<libc::cmsghdr>();

/// Makes the kernel say where each datagram was sent to. Of IPv4 it says it twice to a socket of both
/// families: only its own way tells a broadcast from a datagram for this host.
pub(crate) fn ask_for_destination(socket: &Descriptor, family: Family) -> Result<(), Errno> {
    let mut asked = setsockopt(&socket.as_fd(), sockopt::Ipv4PacketInfo, &true);
    if family == Family::Dual {
        let also = || setsockopt(&socket.as_fd(), sockopt::Ipv6RecvPacketInfo, &true);
        asked = asked.and_then(|()| also());
    }
    asked.map_err(|error| Errno::from_raw_os_error(error as i32))
}

/// Makes the kernel tell a connected socket of every ICMP error about it: without that it tells of a
/// closed port alone (ip(7), `IP_RECVERR`).
pub(super) fn ask_for_errors(socket: &Descriptor, is_v6: bool) -> Result<(), Errno> {
    let asked = match is_v6 {
        true => setsockopt(&socket.as_fd(), sockopt::Ipv6RecvErr, &true),
        false => setsockopt(&socket.as_fd(), sockopt::Ipv4RecvErr, &true),
    };
    asked.map_err(|error| Errno::from_raw_os_error(error as i32))
}

/// Control data of one message, room for both ways to name an address; aligned as `cmsghdr` is.
#[repr(align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL]);

/// Who sent a datagram, and where to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    pub(super) client: SocketAddr,
    /// The address of this host that was dialled.
    pub(super) dialled: IpAddr,
}

/// Room for a batch, used again and again.
pub(super) struct Batch {
    data: Vec<u8>,
    lengths: [usize; BATCH],
    origins: [Option<Origin>; BATCH],
}

impl Batch {
    /// The room is untouched memory until datagrams fill it.
    pub(super) fn new() -> Self {
        Self {
            data: vec![0; BATCH * LARGEST],
            lengths: [0; BATCH],
            origins: [None; BATCH],
        }
    }

    /// Takes what has come, at most a batch; how many datagrams that were.
    pub(super) fn receive(&mut self, socket: &Descriptor) -> Result<usize, Errno> {
        // SAFETY: all of these are plain C structures, for which zeroes are a value.
        let mut names: [libc::sockaddr_storage; BATCH] = unsafe { std::mem::zeroed() };
        let mut controls = [Control([0; CONTROL]); BATCH];
        // SAFETY: as above.
        let mut vectors: [libc::iovec; BATCH] = unsafe { std::mem::zeroed() };
        // SAFETY: as above; null pointers with lengths of 0.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
        for (index, room) in self.data.chunks_exact_mut(LARGEST).enumerate() {
            vectors[index].iov_base = room.as_mut_ptr().cast();
            vectors[index].iov_len = LARGEST;
            let header = &mut headers[index].msg_hdr;
            header.msg_name = (&raw mut names[index]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_storage>() as u32;
            header.msg_iov = &raw mut vectors[index];
            header.msg_iovlen = 1;
            header.msg_control = controls[index].0.as_mut_ptr().cast();
            header.msg_controllen = size_of::<Control>() as _;
        }
        // SAFETY: each header names a room, a name and a control block of its own with their sizes,
        // and all of them outlive the call.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_fd().as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).map_err(|_| last_error())?;
        for index in 0..count.min(BATCH) {
            self.lengths[index] = headers[index].msg_len as usize;
            let client = read_name(&names[index]);
            let dialled = read_control(&controls[index]);
            self.origins[index] = client
                .zip(dialled)
                .map(|(client, dialled)| Origin { client, dialled });
        }
        Ok(count)
    }

    /// The payload of a datagram of the last batch.
    pub(super) fn payload(&self, index: usize) -> &[u8] {
        &self.data[index * LARGEST..][..self.lengths[index]]
    }

    /// Where a datagram of the last batch comes from and goes to, if the socket was asked for that.
    pub(super) fn origin(&self, index: usize) -> Option<Origin> {
        self.origins[index]
    }
}

/// Where an answer goes to, and from which address.
pub(super) struct Target {
    name: libc::sockaddr_storage,
    name_length: u32,
    control: Control,
    control_length: usize,
}

impl Target {
    /// An answer to the sender of a datagram, from where the sender has sent it to.
    pub(super) fn answer(origin: Origin, family: Family) -> Self {
        // SAFETY: a plain C structure, for which zeroes are a value.
        let name = unsafe { std::mem::zeroed() };
        let mut target = Self {
            name,
            name_length: 0,
            control: Control([0; CONTROL]),
            control_length: 0,
        };
        match (family, origin.client, origin.dialled) {
            (Family::V4, SocketAddr::V4(to), IpAddr::V4(from)) => target.write_v4(to, from),
            (_, to, from) => target.write_v6(mapped(to), from),
        }
        target
    }

    fn write_v4(&mut self, to: std::net::SocketAddrV4, from: Ipv4Addr) {
        let name = libc::sockaddr_in {
            sin_family: libc::AF_INET as u16,
            sin_port: to.port().to_be(),
            sin_addr: libc::in_addr {
                s_addr: u32::from_ne_bytes(to.ip().octets()),
            },
            sin_zero: [0; 8],
        };
        // SAFETY: a sockaddr_storage has room and alignment for every kind of address.
        unsafe { (&raw mut self.name).cast::<libc::sockaddr_in>().write(name) };
        self.name_length = size_of_val(&name) as u32;
        // in_pktinfo: the interface, the source address, and one that only the kernel fills in.
        let mut info = [0; 12];
        info[4..8].copy_from_slice(&from.octets());
        self.write_control(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
    }

    fn write_v6(&mut self, to: SocketAddrV6, from: IpAddr) {
        let name = libc::sockaddr_in6 {
            sin6_family: libc::AF_INET6 as u16,
            sin6_port: to.port().to_be(),
            sin6_flowinfo: 0,
            sin6_addr: libc::in6_addr {
                s6_addr: to.ip().octets(),
            },
            sin6_scope_id: to.scope_id(),
        };
        // SAFETY: as in `write_v4`.
        unsafe {
            (&raw mut self.name)
                .cast::<libc::sockaddr_in6>()
                .write(name)
        };
        self.name_length = size_of_val(&name) as u32;
        // in6_pktinfo: the source address and the interface, which only link-local addresses need.
        let mut info = [0; 20];
        info[..16].copy_from_slice(&widened(from).octets());
        info[16..].copy_from_slice(&to.scope_id().to_ne_bytes());
        self.write_control(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
    }

    fn write_control(&mut self, level: i32, kind: i32, info: &[u8]) {
        let length = HEADER + info.len();
        let bytes = &mut self.control.0;
        bytes[..size_of::<usize>()].copy_from_slice(&length.to_ne_bytes());
        bytes[HEADER - 8..HEADER - 4].copy_from_slice(&level.to_ne_bytes());
        bytes[HEADER - 4..HEADER].copy_from_slice(&kind.to_ne_bytes());
        bytes[HEADER..length].copy_from_slice(info);
        self.control_length = length.next_multiple_of(size_of::<usize>());
    }
}

/// Sends datagrams, at most a batch, each behind the same prefix; without a target, to the peer that
/// the socket is connected to. How many went, and why not all, if not all did.
pub(super) fn send(
    socket: &Descriptor,
    target: Option<&Target>,
    prefix: &[u8],
    payloads: &[&[u8]],
) -> (usize, Option<Errno>) {
    let count = payloads.len().min(BATCH);
    // SAFETY: plain C structures, for which zeroes are a value.
    let mut vectors: [[libc::iovec; 2]; BATCH] = unsafe { std::mem::zeroed() };
    // SAFETY: as above; null pointers with lengths of 0.
    let mut headers: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
    for (index, payload) in payloads.iter().take(count).enumerate() {
        for (vector, bytes) in vectors[index].iter_mut().zip([prefix, payload]) {
            vector.iov_base = bytes.as_ptr().cast_mut().cast();
            vector.iov_len = bytes.len();
        }
        let header = &mut headers[index].msg_hdr;
        header.msg_iov = vectors[index].as_mut_ptr();
        header.msg_iovlen = 2;
        if let Some(target) = target {
            header.msg_name = (&raw const target.name).cast_mut().cast();
            header.msg_namelen = target.name_length;
            header.msg_control = target.control.0.as_ptr().cast_mut().cast();
            header.msg_controllen = target.control_length as _;
        }
    }
    // SAFETY: the headers name memory with its size that outlives the call, and sendmmsg only reads
    // what they name.
    let sent = unsafe {
        libc::sendmmsg(
            socket.as_fd().as_raw_fd(),
            headers.as_mut_ptr(),
            count as u32,
            libc::MSG_DONTWAIT as _,
        )
    };
    match usize::try_from(sent) {
        Ok(sent) => (sent, None),
        Err(_) => (0, Some(last_error())),
    }
}

fn last_error() -> Errno {
    let error = std::io::Error::last_os_error();
    Errno::from_raw_os_error(error.raw_os_error().unwrap_or(libc::EIO))
}

fn read_name(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the kernel wrote an address of the family that it names.
            let v4 = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
            Some((ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            Some(plain(SocketAddrV6::new(ip, port, 0, v6.sin6_scope_id)))
        }
        _ => None,
    }
}

/// Where a datagram was sent to; `None` where that is no address of one host: those are not ours.
fn read_control(control: &Control) -> Option<IpAddr> {
    let mut rest = &control.0[..];
    let mut found = None;
    while let Some((length, level, kind)) = read_header(rest) {
        let data = rest.get(HEADER..length)?;
        match (level, kind) {
            // in_pktinfo: the interface, the address that an answer would come from, and where the
            // packet's header says that it goes to. They differ for broadcasts (ip(7)).
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                let address = |at: usize| <[u8; 4]>::try_from(data.get(at..at + 4)?).ok();
                let (local, header) = (address(4)?, address(8)?);
                let is_one_host = local == header;
                return is_one_host.then(|| Ipv4Addr::from(header).into());
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                let octets: [u8; 16] = data.get(..16)?.try_into().ok()?;
                found = Some(IpAddr::from(octets).to_canonical());
            }
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(size_of::<usize>())..)?;
    }
    found.filter(|address| !address.is_multicast())
}

/// Length, level and kind of the control message that stands first; what the kernel has not written
/// is zero.
fn read_header(bytes: &[u8]) -> Option<(usize, i32, i32)> {
    let length = usize::from_ne_bytes(bytes.get(..size_of::<usize>())?.try_into().ok()?);
    let word = |at: usize| Some(i32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let header = (length, word(HEADER - 8)?, word(HEADER - 4)?);
    (length >= HEADER).then_some(header)
}

/// An address as people write it: IPv4 in disguise is IPv4.
pub(crate) fn plain(address: SocketAddrV6) -> SocketAddr {
    match address.ip().to_ipv4_mapped() {
        Some(v4) => (v4, address.port()).into(),
        None => address.into(),
    }
}

fn mapped(address: SocketAddr) -> SocketAddrV6 {
    match address {
        SocketAddr::V6(v6) => v6,
        SocketAddr::V4(v4) => SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0),
    }
}

fn widened(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}
