//! Frames that are no conversation: strangers, errors, parts, impossible senders, odd headers, damage.

use std::{collections::VecDeque, net::IpAddr};

use kit::{
    Family,
    frame::{
        Checksum, ETHERNET, Extension, Icmp, Packet, Tcp, Transport, Udp, ethertype, flag,
        fragments, protocol,
    },
};

use super::{
    Side,
    flow::Way,
    generate::{Generator, inbound, outbound},
    judge::MTU,
    world::World,
};

impl Generator {
    /// What is none of Harbor's business.
    pub(super) fn stranger(&mut self, world: &World) -> (Side, Vec<u8>) {
        let family = self.family();
        let (from, to) = (self.client(family), self.public(world, family));
        let port = self.client_port();
        let other = [22, 53, 34_999, 40_001, self.client_port()];
        let there = self.random.of(&other);
        let transport = match self.random.below(5) {
            0 => self.datagram(port, there, family, MTU),
            1 => Transport::Raw(self.random.of(&[2, 47, 50, 89, 132]), self.random.bytes(24)),
            2 => Transport::Icmp(Icmp::echo_request(family, b"are you there")),
            _ => Transport::Tcp(Tcp {
                source: port,
                destination: there,
                sequence: 1,
                acknowledgement: 1,
                flags: self.random.of(&[flag::SYN, flag::ACK, flag::RST]),
                options: Vec::new(),
                payload: self.payload(),
            }),
        };
        let mut frame = inbound(from, to, transport);
        match self.random.below(8) {
            0 => frame.tags = vec![7],
            1 => {
                let kind = self.random.of(&[ethertype::ARP, 0x88cc, 0x0806]);
                frame.packet = Packet::Raw(kind, self.random.bytes(46));
            }
            2 => {
                frame = self.opener(world, family);
                frame.to =
                    self.random
                        .of(&[[0xff; 6], [2, 0, 0, 0, 9, 9], [0x33, 0x33, 0, 0, 0, 1]]);
            }
            3 => frame = self.opener(world, family).destination(self.client(family)),
            _ => {}
        }
        (Side::Client, frame.bytes())
    }

    /// Packets to the translation range that belong to nothing.
    pub(super) fn calling_backend(&mut self, world: &World) -> (Side, Vec<u8>) {
        let family = self.family();
        let backend = self.random.of(&world.backends);
        let is_stranger = self.random.once_in(4);
        let to = world.translation(family);
        let from = match Family::of(backend.address.ip()) == family {
            true => backend.address.ip(),
            false => self.client(family),
        };
        let source = if is_stranger {
            22
        } else {
            backend.address.port()
        };
        let low = usize::from(*world.range.start());
        let destination = (low - 5 + self.random.below(22_540)) as u16;
        let transport = match backend.protocol {
            protocol::TCP => Transport::Tcp(Tcp {
                source,
                destination,
                sequence: self.random.next() as u32,
                acknowledgement: self.random.next() as u32,
                flags: self
                    .random
                    .of(&[flag::SYN, flag::ACK, flag::RST, flag::FIN | flag::ACK]),
                options: Vec::new(),
                payload: self.payload(),
            }),
            _ => self.datagram(source, destination, family, MTU),
        };
        (Side::Backend, outbound(from, to, transport).bytes())
    }

    /// ICMP errors about what the node has sent, and about what it has not.
    pub(super) fn message(&mut self, world: &World) -> (Side, Vec<u8>) {
        if self.sent.is_empty() {
            return self.stranger(world);
        }
        let sent: Vec<(Side, Vec<u8>)> = self.sent.iter().cloned().collect();
        let (side, mut frame) = self.random.of(&sent);
        let family = if frame[ETHERNET] >> 4 == 6 {
            Family::V6
        } else {
            Family::V4
        };
        if self.random.once_in(6) {
            let at = ETHERNET + self.random.below(frame.len() - ETHERNET);
            frame[at] ^= 1 << self.random.below(8);
        }
        let packet = &frame[ETHERNET..];
        let header = if family == Family::V4 { 20 } else { 40 };
        let most = packet.len().min(1_200);
        let octets = match self.random.below(4) {
            0 => header + self.random.below(12),
            1 => header + 8,
            _ => most,
        };
        let quoted = &packet[..octets.min(most)];
        let message = self.complaint(world, family, quoted, header);
        // The error goes to whoever the quoted packet says has sent it.
        let source = match family {
            Family::V4 => IpAddr::from(<[u8; 4]>::try_from(&packet[12..16]).unwrap()),
            Family::V6 => IpAddr::from(<[u8; 16]>::try_from(&packet[8..24]).unwrap()),
        };
        // That a port is closed says the receiver; anything else may any router.
        let receiver = match family {
            Family::V4 => IpAddr::from(<[u8; 4]>::try_from(&packet[16..20]).unwrap()),
            Family::V6 => IpAddr::from(<[u8; 16]>::try_from(&packet[24..40]).unwrap()),
        };
        let router = match self.random.once_in(2) {
            true => self.client(family),
            false => receiver,
        };
        let side = match self.random.once_in(12) {
            true => side.other(),
            false => side,
        };
        let transport = Transport::Icmp(message);
        let frame = match side {
            Side::Client => inbound(router, source, transport),
            Side::Backend => outbound(router, source, transport),
        };
        (side, frame.bytes())
    }

    /// An ICMP error about a quoted packet. That a backend cannot be reached is said of rough ports
    /// alone, because it decides who gets the next flow.
    fn complaint(&mut self, world: &World, family: Family, quoted: &[u8], header: usize) -> Icmp {
        let to = quoted
            .get(header + 2..header + 4)
            .map(|port| u16::from_be_bytes([port[0], port[1]]));
        let is_rough = world.frontends.values().any(|frontend| {
            let mut ports = (frontend.backends.iter()).map(|i| world.backends[*i].address.port());
            frontend.is_rough && ports.any(|port| Some(port) == to)
        });
        let unreachable = Icmp::no_port(family, quoted).kind;
        match self.random.below(6) {
            0 | 1 => Icmp::too_big(family, 1_280, quoted),
            2 => Icmp::expired(family, quoted),
            3 => Icmp::wrong_field(family, quoted),
            4 if is_rough => Icmp::no_port(family, quoted),
            _ => {
                let kind = self.random.next() as u8;
                let is_said = is_rough || kind != unreachable;
                Icmp {
                    kind: if is_said { kind } else { 0 },
                    ..Icmp::no_host(family, quoted)
                }
            }
        }
    }

    /// The parts of a packet, mostly in order.
    pub(super) fn parts(&mut self, world: &World) -> (Side, Vec<u8>) {
        let family = self.family();
        let length = 24 + self.random.below(600);
        let bytes = self.random.bytes(length);
        let size = 24 + self.random.below(200);
        let (side, frame) = match self
            .flow(world)
            .filter(|flow| Family::of(flow.client.ip()) == family)
        {
            Some(flow) => {
                let way = self.random.of(&[Way::Forward, Way::Reply]);
                let transport = match flow.protocol {
                    protocol::TCP => Transport::Tcp(Tcp {
                        payload: bytes,
                        flags: flag::ACK,
                        ..self.segment(world, &flow, way)
                    }),
                    _ => {
                        let (source, destination) = self.ports(world, &flow, way);
                        let checksum = Checksum::Full;
                        Transport::Udp(Udp {
                            source,
                            destination,
                            checksum,
                            payload: bytes,
                        })
                    }
                };
                let backend = world.backends[flow.backend].address.ip();
                match way {
                    Way::Forward => {
                        let frame = inbound(flow.client.ip(), flow.public.ip(), transport);
                        (Side::Client, frame)
                    }
                    Way::Reply => {
                        let frame = outbound(backend, flow.source.ip(), transport);
                        (Side::Backend, frame)
                    }
                }
            }
            None => (Side::Client, self.opener(world, family)),
        };
        let id = self.random.next() as u32 & 0xffff;
        let mut parts = fragments(&frame, size, id);
        if self.random.once_in(5) {
            parts.reverse();
        }
        let mut bytes: VecDeque<_> = parts.iter().map(|part| (side, part.bytes())).collect();
        let first = bytes.pop_front().unwrap();
        self.queue.extend(bytes);
        first
    }

    /// Sources that nobody can have.
    pub(super) fn hostile(&mut self, world: &World) -> (Side, Vec<u8>) {
        let family = self.family();
        let own: Vec<IpAddr> = (world.own().copied())
            .filter(|own| Family::of(*own) == family)
            .collect();
        let texts: &[&str] = match family {
            Family::V4 => &[
                "127.0.0.1",
                "0.0.0.0",
                "0.1.2.3",
                "224.0.0.1",
                "255.255.255.255",
            ],
            Family::V6 => &["::1", "::", "ff02::1", "fe80::1", "::ffff:10.77.1.2"],
        };
        let source = match self.random.once_in(2) {
            true => self.random.of(&own),
            false => self.random.of(texts).parse().unwrap(),
        };
        (
            Side::Client,
            self.opener(world, family).source(source).bytes(),
        )
    }

    /// Extension headers and options of all sorts, in front of anything.
    pub(super) fn odd(&mut self, world: &World) -> (Side, Vec<u8>) {
        let family = self.family();
        let mut frame = self.opener(world, family);
        match &mut frame.packet {
            Packet::Ipv4(ip) => {
                let words = 1 + self.random.below(10);
                // No operation, then the end of the list.
                ip.options = [vec![1; 4 * words - 1], vec![0]].concat();
            }
            Packet::Ipv6(ip) => {
                for _ in 0..1 + self.random.below(5) {
                    let body = Extension::PADDING.to_vec();
                    ip.extensions.push(match self.random.below(5) {
                        0 => Extension::Routing(body),
                        1 => Extension::HopByHop(body),
                        _ => Extension::Destination(body),
                    });
                }
            }
            Packet::Raw(..) => {}
        }
        (Side::Client, frame.bytes())
    }

    /// The frame cut, changed in some bits, or with a header octet at its extremes.
    pub(super) fn damaged(&mut self, mut frame: Vec<u8>) -> Vec<u8> {
        let headers = frame.len().min(100);
        match self.random.below(4) {
            0 => frame.truncate(ETHERNET + self.random.below(frame.len() - ETHERNET + 1)),
            1 => {
                for _ in 0..1 + self.random.below(3) {
                    frame[self.random.below(headers)] ^= 1 << self.random.below(8);
                }
            }
            2 => {
                let at = self.random.below(headers);
                frame[at] = self.random.of(&[0, 1, 0x7f, 0x80, 0xff]);
            }
            _ => {
                let padding = 1 + self.random.below(30);
                frame.extend(vec![0xa5; padding]);
            }
        }
        frame
    }
}
