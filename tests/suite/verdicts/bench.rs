//! A node with known ports, its two programs, and the frames that clients and backends send it.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicU16, Ordering},
};

use kit::{
    APP_MACS, Agent, CLIENT_MAC, Config, Family, Lab, NODE_BACKEND_MAC, NODE_MAC, V4,
    frame::{Checksum, Frame, Seen, Tcp, Transport, Udp, flag, parse},
    verdict::{Action, Outcome, Prober},
};

/// A TCP port with both apps behind it.
pub(super) const TCP_PORT: u16 = 35_010;
/// A UDP port with both apps behind it.
pub(super) const UDP_PORT: u16 = 35_011;
/// A TCP port with nobody behind it.
pub(super) const EMPTY_PORT: u16 = 35_012;
/// Where the apps would listen; nobody has to.
pub(super) const APP_PORT: u16 = 9001;
/// In the translation range.
pub(super) const RANGE_PORT: u16 = 20_000;

/// Which interface a frame comes in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Backend,
}

pub(super) struct Bench {
    client_side: Prober,
    backend_side: Prober,
    next_port: AtomicU16,
    pub(super) agent: Agent,
    pub(super) lab: Lab,
    pub(super) family: Family,
}

impl Bench {
    #[track_caller]
    pub(super) fn new() -> Self {
        Self::with(&Config::default())
    }

    /// With the default configuration, of this family.
    #[track_caller]
    pub(super) fn plain(family: Family) -> Self {
        Self::of(family, &Config::default())
    }

    #[track_caller]
    pub(super) fn with(config: &Config) -> Self {
        Self::of(V4, config)
    }

    /// Ports, backends and frames are of this family.
    #[track_caller]
    pub(super) fn of(family: Family, config: &Config) -> Self {
        let lab = Lab::routed();
        let agent = Agent::start_with(&lab, config);
        let apps =
            [0, 1].map(|index| SocketAddr::new(lab.app(family, index), APP_PORT).to_string());
        for (name, port) in [("web", TCP_PORT), ("udp-game", UDP_PORT)] {
            let port = port.to_string();
            let backends = ["--backend", &apps[0], "--backend", &apps[1]];
            agent.create(&[&[name, "--port", &port], &backends[..]].concat());
        }
        agent.create(&["empty", "--port", &EMPTY_PORT.to_string()]);
        Self {
            client_side: Prober::attached(&lab, lab.client_side()),
            backend_side: Prober::attached(&lab, lab.backend_side()),
            next_port: AtomicU16::new(40_000),
            agent,
            lab,
            family,
        }
    }

    /// The node's address that clients dial.
    pub(super) fn public(&self) -> IpAddr {
        self.lab.public(self.family)
    }

    /// The node's address that backends see.
    pub(super) fn translation(&self) -> IpAddr {
        self.lab.translation(self.family)
    }

    /// The client's address.
    pub(super) fn client(&self) -> IpAddr {
        self.lab.client_address(self.family)
    }

    /// An app host's address.
    pub(super) fn app(&self, index: u8) -> IpAddr {
        self.lab.app(self.family, index)
    }

    #[track_caller]
    pub(super) fn run(&self, side: Side, frame: &[u8]) -> Outcome {
        self.prober(side).run(frame)
    }

    #[track_caller]
    pub(super) fn run_all(&self, side: Side, frames: &[Vec<u8>]) -> Vec<Outcome> {
        self.prober(side).run_all(frames)
    }

    pub(super) fn prober(&self, side: Side) -> &Prober {
        match side {
            Side::Client => &self.client_side,
            Side::Backend => &self.backend_side,
        }
    }

    /// Runs a frame that must be forwarded, and reads what came out.
    #[track_caller]
    pub(super) fn forward(&self, side: Side, frame: &[u8]) -> Seen {
        let outcome = self.run(side, frame);
        assert_eq!(
            (outcome.action, outcome.verdict.as_str()),
            (Action::Redirect, "forward")
        );
        parse(&outcome.frame).unwrap_or_else(|wrong| panic!("{wrong}: {outcome:?}"))
    }

    /// A client port that no other frame of this bench has, outside the translation range.
    pub(super) fn client_port(&self) -> u16 {
        self.next_port.fetch_add(1, Ordering::Relaxed)
    }

    /// From the client to an address of the node.
    pub(super) fn to_node(&self, transport: Transport) -> Frame {
        let addresses = (self.client(), self.public());
        Frame::ip(NODE_MAC, CLIENT_MAC, addresses, transport)
    }

    /// From the first app host to the address that backends see.
    pub(super) fn app_frame(&self, transport: Transport) -> Frame {
        self.host_frame(self.app(0), transport)
    }

    /// From any host of the backends' network to the address that backends see.
    pub(super) fn host_frame(&self, host: IpAddr, transport: Transport) -> Frame {
        Frame::ip(
            NODE_BACKEND_MAC,
            APP_MACS[0],
            (host, self.translation()),
            transport,
        )
    }

    /// Opens a TCP flow by handshake.
    #[track_caller]
    pub(super) fn established(&self) -> Conversation {
        let asked = self.to_node(syn(self.client_port(), TCP_PORT)).bytes();
        let outcome = self.run(Side::Client, &asked);
        assert_eq!(outcome.verdict, "forward");
        self.complete(&asked, &outcome.frame)
    }

    /// Completes the handshake that these two forms of a SYN began.
    #[track_caller]
    pub(super) fn complete(&self, asked: &[u8], forwarded: &[u8]) -> Conversation {
        let (asked, forwarded) = (parse(asked).unwrap(), parse(forwarded).unwrap());
        let talk = Conversation {
            client_port: asked.transport.source,
            source_port: forwarded.transport.source,
            backend: forwarded.destination,
        };
        let accepted = Tcp {
            flags: flag::SYN | flag::ACK,
            sequence: 7000,
            ..talk.reply()
        };
        self.forward(
            Side::Backend,
            &self.reply(&talk, Transport::Tcp(accepted)).bytes(),
        );
        self.forward(
            Side::Client,
            &self.to_node(Transport::Tcp(talk.request())).bytes(),
        );
        talk
    }

    /// Every verdict counted so far, by name.
    pub(super) fn totals(&self) -> BTreeMap<String, u64> {
        self.client_side.totals()
    }

    /// From a conversation's backend.
    pub(super) fn reply(&self, talk: &Conversation, transport: Transport) -> Frame {
        self.host_frame(talk.backend, transport)
    }
}

/// A flow as its two ends see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conversation {
    pub(super) client_port: u16,
    pub(super) source_port: u16,
    pub(super) backend: IpAddr,
}

impl Conversation {
    /// The client's next segment, without data.
    pub(super) fn request(&self) -> Tcp {
        Tcp {
            source: self.client_port,
            destination: TCP_PORT,
            sequence: 1001,
            acknowledgement: 7001,
            flags: flag::ACK,
            options: Vec::new(),
            payload: Vec::new(),
        }
    }

    /// The backend's next segment, without data.
    pub(super) fn reply(&self) -> Tcp {
        Tcp {
            source: APP_PORT,
            destination: self.source_port,
            sequence: 7001,
            acknowledgement: 1001,
            flags: flag::ACK,
            options: Vec::new(),
            payload: Vec::new(),
        }
    }
}

/// A connection request with the usual options.
pub(super) fn syn(source: u16, destination: u16) -> Transport {
    Transport::Tcp(Tcp {
        source,
        destination,
        sequence: 1000,
        acknowledgement: 0,
        flags: flag::SYN,
        // Maximum segment size 1460, window scale 7 (RFC 9293, RFC 7323).
        options: vec![2, 4, 5, 0xb4, 1, 3, 3, 7],
        payload: Vec::new(),
    })
}

/// A TCP segment that opens nothing.
pub(super) fn segment(source: u16, destination: u16, flags: u8) -> Transport {
    Transport::Tcp(Tcp {
        source,
        destination,
        sequence: 1000,
        acknowledgement: 1,
        flags,
        options: Vec::new(),
        payload: b"data".to_vec(),
    })
}

/// A datagram.
pub(super) fn datagram(source: u16, destination: u16, payload: &[u8]) -> Transport {
    let payload = payload.to_vec();
    Transport::Udp(Udp {
        source,
        destination,
        checksum: Checksum::Full,
        payload,
    })
}
