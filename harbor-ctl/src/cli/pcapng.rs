//! Writes pcap-ng, the format that Wireshark and tcpdump read: a section, its interfaces, and packets
//! with a comment each. Blocks and options as draft-ietf-opsawg-pcapng has them.

use std::io::{self, Write};

use crate::model::TracedPacket;

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
/// By which readers find the order of bytes.
const ORDER: u32 = 0x1a2b_3c4d;
const VERSION: [u16; 2] = [1, 0];
/// The section's length is not known.
const UNKNOWN: u64 = u64::MAX;
const ETHERNET: u16 = 1;
const COMMENT: u16 = 1;
const NAME: u16 = 2;

/// A section that is being written.
pub(super) struct Pcapng<W> {
    out: W,
    /// Interfaces by their numbers.
    interfaces: Vec<String>,
}

impl<W: Write> Pcapng<W> {
    pub(super) fn begin(out: W) -> io::Result<Self> {
        let mut body = ORDER.to_ne_bytes().to_vec();
        VERSION
            .iter()
            .for_each(|part| body.extend(part.to_ne_bytes()));
        body.extend(UNKNOWN.to_ne_bytes());
        let mut file = Self {
            out,
            interfaces: Vec::new(),
        };
        file.block(SECTION, body)?;
        Ok(file)
    }

    /// The first bytes of a packet, with a comment.
    pub(super) fn packet(
        &mut self,
        packet: &TracedPacket,
        bytes: &[u8],
        comment: &str,
    ) -> io::Result<()> {
        let interface = self.interface(&packet.interface)?;
        let at = packet.at_us.to_be_bytes();
        let [high, low] = [&at[..4], &at[4..]].map(|half| {
            half.iter()
                .fold(0_u32, |word, octet| word << 8 | u32::from(*octet))
        });
        let kept = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let mut body = Vec::new();
        for word in [interface, high, low, kept, packet.length] {
            body.extend(word.to_ne_bytes());
        }
        body.extend(bytes);
        pad(&mut body);
        option(&mut body, COMMENT, comment);
        self.block(PACKET, body)
    }

    /// The number of an interface; one that is new is told first.
    fn interface(&mut self, name: &str) -> io::Result<u32> {
        let known = self.interfaces.iter().position(|own| own == name);
        let number = known.unwrap_or(self.interfaces.len());
        if known.is_none() {
            self.interfaces.push(name.to_owned());
            let mut body = ETHERNET.to_ne_bytes().to_vec();
            // Reserved, and no limit to the bytes of a packet.
            body.extend([0; 6]);
            option(&mut body, NAME, name);
            self.block(INTERFACE, body)?;
        }
        Ok(u32::try_from(number).unwrap_or_default())
    }

    fn block(&mut self, kind: u32, body: Vec<u8>) -> io::Result<()> {
        let length = u32::try_from(12 + body.len()).unwrap_or(u32::MAX);
        let parts: [&[u8]; 4] = [
            &kind.to_ne_bytes(),
            &length.to_ne_bytes(),
            &body,
            &length.to_ne_bytes(),
        ];
        self.out.write_all(&parts.concat())?;
        self.out.flush()
    }
}

/// The only option of a block, and the end of options.
fn option(body: &mut Vec<u8>, kind: u16, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or_default();
    body.extend(kind.to_ne_bytes());
    body.extend(length.to_ne_bytes());
    body.extend(&text.as_bytes()[..usize::from(length)]);
    pad(body);
    body.extend([0; 4]);
}

fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}
