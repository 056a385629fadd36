//! Two sockets for datagrams with any ends: one that the stack hands them to, whatever they were sent to,
//! and one that sends from any address and port of this host.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6},
    ops::RangeInclusive,
    os::fd::{AsRawFd as _, OwnedFd},
};

use etherparse::UdpHeader;
use nix::{
    cmsg_space,
    sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrStorage,
        recvmsg, sendmsg, setsockopt, sockopt,
    },
};
use rustix::{
    io::Errno,
    net::{
        AddressFamily, SocketFlags, SocketType, bind, connect, ipproto, socket_with,
        sockopt::{
            Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
        },
    },
};

/// No datagram is larger.
pub(super) const LARGEST: usize = 65_536;
/// What may wait in either socket. The kernel counts a datagram of 60,000 bytes as about twice that.
const QUEUE: usize = 16 << 20;

/// The sockets of one family.
pub(super) struct Post {
    inlet: OwnedFd,
    outlet: OwnedFd,
}

/// A datagram that was taken.
pub(super) struct Taken {
    pub(super) length: usize,
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
}

impl Post {
    /// Opens the sockets of the family that this loopback address is of, on one of these ports.
    pub(super) fn open(loopback: IpAddr, ports: RangeInclusive<u16>) -> io::Result<Self> {
        let is_v6 = loopback.is_ipv6();
        let family = match is_v6 {
            false => AddressFamily::INET,
            true => AddressFamily::INET6,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let inlet = socket_with(family, SocketType::DGRAM, flags, None)?;
        setsockopt(&inlet, sockopt::RcvBufForce, &QUEUE)?;
        match is_v6 {
            false => setsockopt(&inlet, sockopt::Ipv4OrigDstAddr, &true)?,
            true => setsockopt(&inlet, sockopt::Ipv6OrigDstAddr, &true)?,
        }
        // On the loopback address nobody reaches it but by the program.
        bind_one(&inlet, loopback, ports)?;

        let outlet = socket_with(family, SocketType::RAW, flags, Some(ipproto::UDP))?;
        setsockopt(&outlet, sockopt::SndBufForce, &QUEUE)?;
        match is_v6 {
            false => set_ip_mtu_discover(&outlet, Ipv4PathMtuDiscovery::DONT)?,
            true => set_ipv6_mtu_discover(&outlet, Ipv6PathMtuDiscovery::DONT)?,
        }
        // Otherwise it would be given a copy of every datagram that reaches this host.
        connect(&outlet, &SocketAddr::new(loopback, 0))?;
        Ok(Self { inlet, outlet })
    }

    pub(super) fn inlet(&self) -> &OwnedFd {
        &self.inlet
    }

    /// Takes the next datagram, if there is one.
    pub(super) fn take(&self, buffer: &mut [u8]) -> Option<Taken> {
        let mut control = cmsg_space!(libc::sockaddr_in6);
        let mut room = [IoSliceMut::new(buffer)];
        let message = recvmsg::<SockaddrStorage>(
            self.inlet.as_raw_fd(),
            &mut room,
            Some(&mut control),
            MsgFlags::empty(),
        );
        let message = message.ok()?;
        let from = socket_address(message.address.as_ref()?)?;
        let to = message.cmsgs().ok()?.find_map(|control| match control {
            ControlMessageOwned::Ipv4OrigDstAddr(to) => {
                Some(SocketAddrV4::from(SockaddrIn::from(to)).into())
            }
            ControlMessageOwned::Ipv6OrigDstAddr(to) => {
                Some(SocketAddrV6::from(SockaddrIn6::from(to)).into())
            }
            _ => None,
        })?;
        Some(Taken {
            length: message.bytes,
            from,
            to,
        })
    }

    /// Sends a datagram, in fragments where it is larger than the way.
    pub(super) fn send(&self, payload: &[u8], from: SocketAddr, to: SocketAddr) -> io::Result<()> {
        let header = header(payload, from, to)?;
        let parts = [IoSlice::new(&header), IoSlice::new(payload)];
        let (outlet, flags) = (self.outlet.as_raw_fd(), MsgFlags::empty());
        match (from.ip(), to) {
            (IpAddr::V4(source), SocketAddr::V4(to)) => {
                let source = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr {
                        s_addr: u32::from_ne_bytes(source.octets()),
                    },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                let control = [ControlMessage::Ipv4PacketInfo(&source)];
                let to = SockaddrIn::from(to);
                sendmsg(outlet, &parts, &control, flags, Some(&to))?;
            }
            (IpAddr::V6(source), SocketAddr::V6(to)) => {
                let source = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr {
                        s6_addr: source.octets(),
                    },
                    ipi6_ifindex: to.scope_id(),
                };
                let control = [ControlMessage::Ipv6PacketInfo(&source)];
                // The port of a raw socket's peer is its protocol, or 0.
                let to = SockaddrIn6::from(SocketAddrV6::new(*to.ip(), 0, 0, to.scope_id()));
                sendmsg(outlet, &parts, &control, flags, Some(&to))?;
            }
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        }
        Ok(())
    }
}

/// Binds a socket to the first of these ports that is free.
fn bind_one(socket: &OwnedFd, address: IpAddr, ports: RangeInclusive<u16>) -> io::Result<()> {
    let mut tried = ports.map(|port| bind(socket, &SocketAddr::new(address, port)));
    let outcome = tried.find(|outcome| *outcome != Err(Errno::ADDRINUSE));
    Ok(outcome.unwrap_or(Err(Errno::ADDRINUSE))?)
}

/// The UDP header; the kernel makes what stands before it.
fn header(payload: &[u8], from: SocketAddr, to: SocketAddr) -> io::Result<[u8; UdpHeader::LEN]> {
    let header = UdpHeader::without_ipv4_checksum(from.port(), to.port(), payload.len());
    let mut header = header.map_err(io::Error::other)?;
    let checksum = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            header.calc_checksum_ipv4_raw(from.octets(), to.octets(), payload)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            header.calc_checksum_ipv6_raw(from.octets(), to.octets(), payload)
        }
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    };
    header.checksum = checksum.map_err(io::Error::other)?;
    Ok(header.to_bytes())
}

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in();
    let v6 = address.as_sockaddr_in6();
    let v4 = v4.map(|v4| SocketAddrV4::from(*v4).into());
    v4.or_else(|| v6.map(|v6| SocketAddrV6::from(*v6).into()))
}
