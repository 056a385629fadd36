//! Questions by generic netlink, for families that no library speaks.

use std::io;

use netlink_packet_generic::{
    GenlFamily, GenlHeader, GenlMessage,
    ctrl::{GenlCtrl, GenlCtrlCmd, nlas::GenlCtrlAttrs},
};
use rtnetlink::{
    packet_core::{
        DecodeError, DefaultNla, Emitable, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage,
        NetlinkPayload, Nla as _, NlasIterator, Parseable as _, ParseableParametrized,
    },
    sys::{Socket, SocketAddr, protocols::NETLINK_GENERIC},
};

/// As much as the kernel says at once.
const ROOM: usize = 65_536;

/// A command of a family, or an answer to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) number: u8,
    pub(super) attributes: Vec<DefaultNla>,
}

impl GenlFamily for Command {
    fn family_name() -> &'static str {
        // Numbers are asked for by name: `Family::open`.
        ""
    }

    fn command(&self) -> u8 {
        self.number
    }

    fn version(&self) -> u8 {
        1
    }
}

impl Emitable for Command {
    fn buffer_len(&self) -> usize {
        self.attributes.as_slice().buffer_len()
    }

    fn emit(&self, buffer: &mut [u8]) {
        self.attributes.as_slice().emit(buffer);
    }
}

impl ParseableParametrized<[u8], GenlHeader> for Command {
    fn parse_with_param(octets: &[u8], header: GenlHeader) -> Result<Self, DecodeError> {
        Ok(Self {
            number: header.cmd,
            attributes: attributes(octets)?,
        })
    }
}

/// The attributes that stand in these octets.
pub(super) fn attributes(octets: &[u8]) -> Result<Vec<DefaultNla>, DecodeError> {
    NlasIterator::new(octets)
        .map(|attribute| DefaultNla::parse(&attribute?))
        .collect()
}

/// The octets of the first attribute of this kind.
pub(super) fn value(attributes: &[DefaultNla], kind: u16) -> Option<Vec<u8>> {
    let found = attributes
        .iter()
        .find(|attribute| attribute.kind() == kind)?;
    let mut octets = vec![0; found.value_len()];
    found.emit_value(&mut octets);
    Some(octets)
}

/// A connection to the kernel, for one family.
pub(super) struct Family {
    socket: Socket,
    number: u16,
}

impl Family {
    /// Connects, in the network namespace of the calling thread; an error if the kernel has no such family.
    pub(super) fn open(name: &str) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_GENERIC)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        let question = GenlMessage::from_payload(GenlCtrl {
            cmd: GenlCtrlCmd::GetFamily,
            nlas: vec![GenlCtrlAttrs::FamilyName(name.to_owned())],
        });
        let answers: Vec<GenlCtrl> = talk(&socket, question, NLM_F_REQUEST)?;
        let mut attributes = answers.into_iter().flat_map(|answer| answer.nlas);
        let number = attributes.find_map(|attribute| match attribute {
            GenlCtrlAttrs::FamilyId(number) => Some(number),
            _ => None,
        });
        match number {
            Some(number) => Ok(Self { socket, number }),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// What one thing answers.
    pub(super) fn ask(&self, command: Command) -> io::Result<Vec<Command>> {
        self.send(command, NLM_F_REQUEST)
    }

    /// What all things answer.
    pub(super) fn ask_all(&self, command: Command) -> io::Result<Vec<Command>> {
        self.send(command, NLM_F_REQUEST | NLM_F_DUMP)
    }

    fn send(&self, command: Command, flags: u16) -> io::Result<Vec<Command>> {
        let mut question = GenlMessage::from_payload(command);
        question.set_resolved_family_id(self.number);
        talk(&self.socket, question, flags)
    }
}

fn talk<F>(socket: &Socket, mut question: GenlMessage<F>, flags: u16) -> io::Result<Vec<F>>
where
    F: GenlFamily + Emitable + ParseableParametrized<[u8], GenlHeader> + std::fmt::Debug,
{
    question.finalize();
    let mut message = NetlinkMessage::from(question);
    message.header.flags = flags;
    message.finalize();
    let mut octets = vec![0; message.buffer_len()];
    message.serialize(&mut octets);
    socket.send(&octets, 0)?;
    let mut answers = Vec::new();
    loop {
        let mut room = Vec::with_capacity(ROOM);
        socket.recv(&mut room, 0)?;
        let mut rest = room.as_slice();
        while !rest.is_empty() {
            let answer = <NetlinkMessage<GenlMessage<F>>>::deserialize(rest)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let length = (answer.header.length as usize).next_multiple_of(4);
            match answer.payload {
                NetlinkPayload::InnerMessage(inner) => answers.push(inner.payload),
                NetlinkPayload::Error(error) if error.code.is_some() => {
                    return Err(error.to_io());
                }
                NetlinkPayload::Done(_) | NetlinkPayload::Error(_) => return Ok(answers),
                _ => {}
            }
            rest = rest.get(length.max(1)..).unwrap_or_default();
        }
        if flags & NLM_F_DUMP != NLM_F_DUMP && !answers.is_empty() {
            return Ok(answers);
        }
    }
}

/// An attribute of octets.
pub(super) fn attribute(kind: u16, octets: &[u8]) -> DefaultNla {
    DefaultNla::new(kind, octets.to_vec())
}

/// An attribute of attributes.
pub(super) fn nested(kind: u16, inner: &[DefaultNla]) -> DefaultNla {
    /// Of linux/netlink.h.
    const NESTED: u16 = 0x8000;
    let mut octets = vec![0; inner.buffer_len()];
    inner.emit(&mut octets);
    DefaultNla::new(kind | NESTED, octets)
}
