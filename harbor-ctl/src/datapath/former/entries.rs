//! Reads the flow table of another layout.

use std::os::fd::AsFd as _;

use aya::maps::MapData;
use harbor_common::{
    addr::{Family, Ipv4, Ipv6},
    adoption::Adoption,
    flow::{Flow, FlowKey},
    flow_layout::{Field, FlowLayout, Offsets},
};

use crate::datapath::{
    error::{DatapathError, Tried as _},
    tables::batch::{self, Place},
};

/// The flow table of one family.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) map: MapData,
    pub(super) name: &'static str,
    pub(super) layout: FlowLayout,
    pub(super) offsets: Offsets,
    /// Of a key and of a value.
    pub(super) sizes: (usize, usize),
    pub(super) address_octets: usize,
}

impl Table {
    /// Whether every field lies within its entry.
    pub(super) fn fits(&self) -> bool {
        let wide = self.address_octets;
        let widths = [
            wide, wide, 2, 2, 4, 8, 8, 8, 8, wide, wide, 2, 2, 2, 4, 4, 4, 4,
        ];
        let fields = self.offsets.0.iter().zip(widths).enumerate();
        fields.into_iter().all(|(place, (offset, width))| {
            let end = usize::from(*offset) + width;
            match place < Field::Word as usize {
                true => end <= self.sizes.0,
                false => end <= self.sizes.1,
            }
        })
    }

    /// The keys of the forward entries among the next, with what is read of each.
    pub(super) fn step(
        &self,
        place: &mut Place,
        read: fn(&Entry<'_>) -> u64,
        visit: &mut impl FnMut(&[u8], u64),
    ) -> Result<(), DatapathError> {
        batch::step_octets(self.map.fd().as_fd(), self.sizes, place, |key, value| {
            let entry = Entry {
                table: self,
                key,
                value,
            };
            if entry.is_forward() {
                visit(key, read(&entry));
            }
        })
        .tried(|| self.tried())
    }

    /// The flow of a forward entry as it is now; `None` if it has ended.
    pub(super) fn flow(&self, key: &[u8]) -> Result<Option<Adoption>, DatapathError> {
        let room = self.sizes.1.next_multiple_of(8);
        let (mut value, mut reply) = (vec![0; room], vec![0; room]);
        if !self.look_up(key, &mut value)? {
            return Ok(None);
        }
        let forward = Entry {
            table: self,
            key,
            value: &value,
        };
        let is_whole = forward.is_forward() && self.look_up(&forward.reply_key(), &mut reply)?;
        Ok(is_whole.then(|| forward.adoption(&reply)))
    }

    fn look_up(&self, key: &[u8], value: &mut [u8]) -> Result<bool, DatapathError> {
        batch::look_up(self.map.fd().as_fd(), key, value).tried(|| self.tried())
    }

    fn tried(&self) -> String {
        format!("cannot read {} of the version before", self.name)
    }
}

/// One entry.
pub(super) struct Entry<'a> {
    table: &'a Table,
    key: &'a [u8],
    value: &'a [u8],
}

impl Entry<'_> {
    /// Whether it leads to a backend, and is not being deleted.
    fn is_forward(&self) -> bool {
        let word = self.own_word();
        self.u16(Field::Direction) == Flow::<Ipv4>::FORWARD && word & Flow::<Ipv4>::DEAD == 0
    }

    /// What may change of its flow, as this version has it.
    pub(super) fn own_word(&self) -> u64 {
        self.table.layout.own_word(self.u64(Field::Word))
    }

    /// When its last packet passed.
    pub(super) fn seen_ns(&self) -> u64 {
        self.u64(Field::SeenNs)
    }

    fn octets<const N: usize>(&self, field: Field) -> [u8; N] {
        let from = match (field as usize) < Field::Word as usize {
            true => self.key,
            false => self.value,
        };
        let at = usize::from(self.table.offsets.0[field as usize]);
        // Every field was compared with the entry's size.
        from.get(at..at + N)
            .and_then(|octets| octets.try_into().ok())
            .unwrap_or([0; N])
    }

    fn u16(&self, field: Field) -> u16 {
        u16::from_ne_bytes(self.octets(field))
    }

    fn u32(&self, field: Field) -> u32 {
        u32::from_ne_bytes(self.octets(field))
    }

    fn u64(&self, field: Field) -> u64 {
        u64::from_ne_bytes(self.octets(field))
    }

    fn address(&self, field: Field) -> Ipv6 {
        let mut octets = [0; 16];
        match self.table.address_octets {
            4 => octets[12..].copy_from_slice(&self.octets::<4>(field)),
            _ => octets = self.octets(field),
        }
        Ipv6 { octets }
    }

    /// The key of the reply entry, as this table has it.
    fn reply_key(&self) -> Vec<u8> {
        let mut key = vec![0; self.table.sizes.0];
        let wide = self.table.address_octets;
        let parts = [
            (Field::KeySource, Field::Destination, wide),
            (Field::KeyDestination, Field::Source, wide),
            (Field::KeySourcePort, Field::DestinationPort, 2),
            (Field::KeyDestinationPort, Field::SourcePort, 2),
        ];
        let offset = |field: Field| usize::from(self.table.offsets.0[field as usize]);
        for (to, from, width) in parts {
            let (to, from) = (offset(to), offset(from));
            key[to..to + width].copy_from_slice(&self.value[from..from + width]);
        }
        let protocol = offset(Field::KeyProtocol);
        key[protocol..protocol + 4].copy_from_slice(&self.octets::<4>(Field::KeyProtocol));
        key
    }

    /// The flow, with its reply entry's value; whose backend and frontend are not known here yet.
    fn adoption(&self, reply: &[u8]) -> Adoption {
        let reply = Entry {
            value: reply,
            ..*self
        };
        let both = |field| [self.u64(field), reply.u64(field)];
        let each = |field| [self.u32(field), reply.u32(field)];
        let bits = (1 << Flow::<Ipv4>::STATE_BITS) - 1;
        Adoption {
            word: self.own_word(),
            seen_ns: both(Field::SeenNs),
            packets: both(Field::Packets),
            bytes: both(Field::Bytes),
            key: FlowKey {
                source: self.address(Field::KeySource),
                destination: self.address(Field::KeyDestination),
                source_port: self.u16(Field::KeySourcePort),
                destination_port: self.u16(Field::KeyDestinationPort),
                protocol: self.u32(Field::KeyProtocol),
            },
            backend_address: self.address(Field::Destination),
            source: self.address(Field::Source),
            backend_port: self.u16(Field::DestinationPort),
            source_port: self.u16(Field::SourcePort),
            family: match self.table.address_octets {
                4 => Ipv4::INDEX,
                _ => Ipv6::INDEX,
            },
            acknowledged: each(Field::Acknowledged),
            next_sequence: each(Field::NextSequence),
            opened: self.u32(Field::Opened),
            ifindex: each(Field::Ifindex),
            reply_bits: reply.own_word() & bits,
            ..Adoption::default()
        }
    }
}
