//! Frames of every kind that a node may meet: conversations that go on, strangers, lies and damage.

use std::{collections::VecDeque, net::IpAddr};

use kit::{
    APP_MACS, CLIENT_MAC, Family, Lab, NODE_BACKEND_MAC, NODE_MAC,
    frame::{Checksum, Frame, Tcp, Transport, Udp, flag, protocol},
};

use super::{
    Side,
    flow::{Flow, Is, Way},
    judge::MTU,
    random::Random,
    world::World,
};

/// Makes frames for a world.
pub(super) struct Generator {
    pub(super) random: Random,
    families: Vec<Family>,
    clients: Vec<IpAddr>,
    /// Frames that are to follow, in order.
    pub(super) queue: VecDeque<(Side, Vec<u8>)>,
    /// Frames that the node has sent lately, and to which side.
    pub(super) sent: VecDeque<(Side, Vec<u8>)>,
}

/// How many of the frames that were sent are remembered.
const REMEMBERED: usize = 64;
/// Flows are closed rather than spoken on when there are more of a kind.
const LIVE: usize = 3_000;

impl Generator {
    pub(super) fn new(seed: u64, lab: &Lab, families: &[Family]) -> Self {
        let mut clients = Vec::new();
        for family in families {
            // Client hosts beside the node on the clients' network; one of them exists.
            clients.push(lab.client_address(*family));
            clients.extend((30..=39).map(|host| lab.client_host(*family, host)));
        }
        Self {
            random: Random(seed),
            families: families.to_vec(),
            clients,
            queue: VecDeque::new(),
            sent: VecDeque::new(),
        }
    }

    /// The node has sent this frame out to this side.
    pub(super) fn remember(&mut self, side: Side, frame: &[u8]) {
        self.sent.push_back((side, frame.to_vec()));
        if self.sent.len() > REMEMBERED {
            self.sent.pop_front();
        }
    }

    /// The next frame, and the side that it comes in by.
    pub(super) fn next(&mut self, world: &World) -> (Side, Vec<u8>) {
        if !self.queue.is_empty() && self.random.once_in(2) {
            return self.queue.pop_front().unwrap();
        }
        let (side, frame) = self.any(world);
        if self.random.once_in(5) {
            return (side, self.damaged(frame));
        }
        (side, frame)
    }

    fn any(&mut self, world: &World) -> (Side, Vec<u8>) {
        match self.random.below(100) {
            0..45 => self.conversation(world),
            45..65 => self.opening(world),
            65..74 => self.stranger(world),
            74..79 => self.calling_backend(world),
            79..87 => self.message(world),
            87..93 => self.parts(world),
            93..96 => self.hostile(world),
            _ => self.odd(world),
        }
    }

    pub(super) fn family(&mut self) -> Family {
        let families = self.families.clone();
        self.random.of(&families)
    }

    pub(super) fn client(&mut self, family: Family) -> IpAddr {
        let of = |address: &&IpAddr| Family::of(**address) == family;
        let clients: Vec<IpAddr> = self.clients.iter().filter(of).copied().collect();
        self.random.of(&clients)
    }

    pub(super) fn client_port(&mut self) -> u16 {
        // Some lie in the translation range, and collide with each other there.
        match self.random.below(3) {
            0 => 20_000 + self.random.below(50) as u16,
            _ => 1_024 + self.random.below(64_000) as u16,
        }
    }

    pub(super) fn payload(&mut self) -> Vec<u8> {
        let length = match self.random.below(20) {
            0..8 => 0,
            8..18 => self.random.below(64),
            18 => self.random.below(1_400),
            _ => 1_440 + self.random.below(60),
        };
        self.random.bytes(length)
    }

    pub(super) fn public(&mut self, world: &World, family: Family) -> IpAddr {
        let of = |address: &&IpAddr| Family::of(**address) == family;
        let own: Vec<IpAddr> = world.public.iter().filter(of).copied().collect();
        if self.random.once_in(8) {
            self.random.of(&own)
        } else {
            own[0]
        }
    }

    /// A connection request or a datagram for a port.
    fn opening(&mut self, world: &World) -> (Side, Vec<u8>) {
        let family = self.family();
        let frame = self.opener(world, family);
        (Side::Client, frame.bytes())
    }

    pub(super) fn opener(&mut self, world: &World, family: Family) -> Frame {
        let mut served: Vec<(u8, u16)> = world.frontends.keys().copied().collect();
        served.sort_unstable();
        let (protocol, port) = self.random.of(&served);
        let (from, source) = (self.client(family), self.client_port());
        let to = self.public(world, family);
        let transport = match protocol {
            protocol::TCP => Transport::Tcp(Tcp {
                source,
                destination: port,
                sequence: self.random.next() as u32,
                acknowledgement: 0,
                flags: flag::SYN,
                options: vec![2, 4, 5, 0xb4],
                payload: Vec::new(),
            }),
            _ => self.datagram(source, port, family, 1_400),
        };
        inbound(from, to, transport)
    }

    pub(super) fn datagram(
        &mut self,
        source: u16,
        destination: u16,
        family: Family,
        most: usize,
    ) -> Transport {
        let mut payload = self.payload();
        payload.truncate(most);
        let is_bare = family == Family::V4 && self.random.once_in(10);
        Transport::Udp(Udp {
            source,
            destination,
            checksum: if is_bare {
                Checksum::None
            } else {
                Checksum::Full
            },
            payload,
        })
    }

    /// A flow goes on.
    fn conversation(&mut self, world: &World) -> (Side, Vec<u8>) {
        let Some(flow) = self.flow(world) else {
            return self.opening(world);
        };
        let way = self.random.of(&[Way::Forward, Way::Reply]);
        let transport = match flow.protocol {
            protocol::TCP => Transport::Tcp(self.segment(world, &flow, way)),
            _ => self.exchange(world, &flow, way),
        };
        let (way, transport) = match transport {
            // What a half-open flow waits for comes from the other side.
            Transport::Tcp(tcp) if tcp.source == 0 => {
                let turned = way.other();
                (turned, Transport::Tcp(self.segment(world, &flow, turned)))
            }
            transport => (way, transport),
        };
        self.framed(world, &flow, way, transport)
    }

    /// One of the flows, mostly of the latest.
    pub(super) fn flow(&mut self, world: &World) -> Option<Flow> {
        if world.begun == 0 {
            return None;
        }
        let reach = if self.random.once_in(4) {
            world.begun
        } else {
            world.begun.min(300)
        };
        let id = world.begun - self.random.below(reach as usize) as u64;
        world.flows.get(&id).cloned()
    }

    fn framed(
        &mut self,
        world: &World,
        flow: &Flow,
        way: Way,
        transport: Transport,
    ) -> (Side, Vec<u8>) {
        let backend = world.backends[flow.backend].address;
        let (side, frame) = match way {
            Way::Forward => {
                let frame = inbound(flow.client.ip(), flow.public.ip(), transport);
                (Side::Client, frame)
            }
            Way::Reply => {
                let frame = outbound(backend.ip(), flow.source.ip(), transport);
                (Side::Backend, frame)
            }
        };
        let frame = match self.random.below(40) {
            0 => frame.optioned(),
            1 => frame.ttl(self.random.below(3) as u8),
            2 => frame.tos(self.random.next() as u8),
            _ => frame,
        };
        (side, frame.bytes())
    }

    pub(super) fn ports(&self, world: &World, flow: &Flow, way: Way) -> (u16, u16) {
        match way {
            Way::Forward => (flow.client.port(), flow.public.port()),
            Way::Reply => {
                let backend = world.backends[flow.backend].address;
                (backend.port(), flow.source.port())
            }
        }
    }

    /// The next segment of a direction; from port 0 if it is the other one's turn.
    pub(super) fn segment(&mut self, world: &World, flow: &Flow, way: Way) -> Tcp {
        let (source, destination) = self.ports(world, flow, way);
        let (here, there) = (way.index(), way.other().index());
        let mut tcp = Tcp {
            source,
            destination,
            sequence: flow.next[here],
            acknowledgement: flow.next[there],
            flags: flag::ACK,
            options: Vec::new(),
            payload: Vec::new(),
        };
        let turn = self.random.below(20);
        match (flow.live, way, flow.offered) {
            (Is::No, Way::Reply, _) => match turn {
                0 if self.may_refuse(world, flow) => tcp.flags = flag::RST | flag::ACK,
                _ => {
                    tcp.flags = flag::SYN | flag::ACK;
                    let again = flow.offered.map(|number| number.wrapping_sub(1));
                    tcp.sequence = again.unwrap_or(self.random.next() as u32);
                }
            },
            (Is::No, Way::Forward, None) if turn > 2 => tcp.source = 0,
            (Is::No, Way::Forward, None) => {
                tcp.flags = flag::SYN;
                tcp.sequence = flow.next[0].wrapping_sub(1);
            }
            (Is::No, Way::Forward, Some(number)) => tcp.acknowledgement = number,
            _ => self.live_segment(world, &mut tcp, turn),
        }
        tcp
    }

    fn live_segment(&mut self, world: &World, tcp: &mut Tcp, turn: usize) {
        let is_crowded = world.flows.len() > LIVE;
        match turn {
            0 | 1 => tcp.flags |= flag::FIN,
            2 if is_crowded => tcp.flags |= flag::FIN,
            3 => tcp.flags = flag::RST,
            4 => {
                tcp.flags = flag::RST | flag::ACK;
                tcp.sequence = self.random.next() as u32;
            }
            5 => tcp.flags = flag::SYN,
            6 => tcp.flags = self.random.next() as u8,
            _ => {
                tcp.flags |= flag::PSH;
                tcp.payload = self.payload();
            }
        }
    }

    /// Whether backends of the flow's port may refuse: where they do, it is no longer known for
    /// certain who gets the next flow.
    fn may_refuse(&self, world: &World, flow: &Flow) -> bool {
        let frontend = &world.frontends[&(flow.protocol, flow.public.port())];
        frontend.is_rough
    }

    fn exchange(&mut self, world: &World, flow: &Flow, way: Way) -> Transport {
        let (source, destination) = self.ports(world, flow, way);
        self.datagram(source, destination, Family::of(flow.client.ip()), MTU)
    }
}

/// A frame from a client's network to an address of the node.
pub(super) fn inbound(from: IpAddr, to: IpAddr, transport: Transport) -> Frame {
    Frame::ip(NODE_MAC, CLIENT_MAC, (from, to), transport)
}

/// A frame from the backends' network to an address of the node.
pub(super) fn outbound(from: IpAddr, to: IpAddr, transport: Transport) -> Frame {
    Frame::ip(NODE_BACKEND_MAC, APP_MACS[0], (from, to), transport)
}
