//! Reads a hash or an array many entries at a time (`BPF_MAP_LOOKUP_BATCH`, Linux 5.6), which aya
//! has no call for: 60,000 entries of a hash take 10-16 ms instead of 49 ms one by one.
//!
//! Whoever reads a large map reads it in steps ([`step`]), so that neither memory nor the time of a step
//! depends on what is in it.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use aya::Pod;

const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
/// Entries a call. A hash bucket must fit whole.
const CHUNK: usize = 4_096;

/// The `batch` member of `union bpf_attr` in linux/bpf.h.
#[repr(C)]
#[derive(Default)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// The member of the same union for one element.
#[repr(C)]
struct ElementAttr {
    map_fd: u32,
    _pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// How far a map was read.
///
/// A hash is read bucket by bucket, and no entry ever changes its bucket: one that is there all the
/// time is met exactly once, however many come and go between two steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Place {
    #[default]
    Start,
    /// In the kernel's words: a bucket's number in a hash, an index in an array.
    At(u32),
    End,
}

/// Calls `visit` with the next entries, some thousand at most, and moves the place behind them.
pub(crate) fn step<K: Pod, V: Pod>(
    map: BorrowedFd<'_>,
    place: &mut Place,
    mut visit: impl FnMut(&K, &V),
) -> io::Result<()> {
    let mut entries = Entries::of(1);
    entries.read(map, place, CHUNK)?;
    entries.visit(|key, values: &[V]| visit(key, &values[0]));
    Ok(())
}

/// Calls `visit` with every entry. Entries that come or go meanwhile may be missed.
pub(super) fn for_each<K: Pod, V: Pod>(
    map: BorrowedFd<'_>,
    mut visit: impl FnMut(&K, &V),
) -> io::Result<()> {
    let most = usize::MAX;
    for_each_of(map, (1, most), |key, values: &[V]| visit(key, &values[0]))
}

/// The same for a map with a value for each of so many processors, whose size is a multiple of eight;
/// and for so many entries at most, in an array the first ones.
pub(super) fn for_each_of<K: Pod, V: Pod>(
    map: BorrowedFd<'_>,
    (shares, mut most): (usize, usize),
    mut visit: impl FnMut(&K, &[V]),
) -> io::Result<()> {
    let mut entries = Entries::of(shares);
    let mut place = Place::Start;
    while place != Place::End && most > 0 {
        entries.read(map, &mut place, most)?;
        entries.visit(&mut visit);
        most -= entries.keys.len();
    }
    Ok(())
}

/// The entries of one call.
struct Entries<K, V> {
    keys: Vec<K>,
    values: Vec<V>,
    /// Values of one key.
    shares: usize,
}

impl<K: Pod, V: Pod> Entries<K, V> {
    fn of(shares: usize) -> Self {
        Self {
            keys: Vec::with_capacity(CHUNK),
            values: Vec::with_capacity(CHUNK * shares),
            shares,
        }
    }

    fn visit(&self, mut visit: impl FnMut(&K, &[V])) {
        let each = self.keys.iter().zip(self.values.chunks(self.shares));
        each.for_each(|(key, values)| visit(key, values));
    }

    /// Reads the next entries, `most` at most, in place of those that are held.
    fn read(&mut self, map: BorrowedFd<'_>, place: &mut Place, most: usize) -> io::Result<()> {
        self.keys.clear();
        self.values.clear();
        // SAFETY: both have room for CHUNK elements, of the map's own sizes, which were compared when
        // the map was opened; one for each processor where it has as many.
        let count = unsafe {
            read_at(
                map,
                place,
                most,
                self.keys.as_mut_ptr().cast(),
                self.values.as_mut_ptr().cast(),
            )
        }?;
        // SAFETY: the kernel has written `count` keys and values, and any bytes are valid (Pod).
        unsafe {
            self.keys.set_len(count);
            self.values.set_len(count * self.shares);
        }
        Ok(())
    }
}

/// Calls `visit` with the next entries of a map whose sizes are not known before it is opened.
pub(crate) fn step_octets(
    map: BorrowedFd<'_>,
    (key_bytes, value_bytes): (usize, usize),
    place: &mut Place,
    mut visit: impl FnMut(&[u8], &[u8]),
) -> io::Result<()> {
    // The kernel writes a value at a multiple of eight.
    let mut keys = vec![0u8; CHUNK * key_bytes];
    let mut values = vec![0u8; CHUNK * value_bytes.next_multiple_of(8)];
    // SAFETY: room for CHUNK elements of the map's own sizes.
    let count = unsafe { read_at(map, place, CHUNK, keys.as_mut_ptr(), values.as_mut_ptr()) }?;
    let each = keys.chunks(key_bytes).zip(values.chunks(value_bytes));
    each.take(count).for_each(|(key, value)| visit(key, value));
    Ok(())
}

/// Reads the value of a key; whether it is there.
pub(crate) fn look_up(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
    let attr = ElementAttr {
        map_fd: map.as_raw_fd() as u32,
        _pad: 0,
        key: key.as_ptr() as u64,
        value: value.as_mut_ptr() as u64,
        flags: 0,
    };
    // SAFETY: the caller's slices have the map's own sizes.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_MAP_LOOKUP_ELEM,
            &raw const attr,
            size_of::<ElementAttr>(),
        )
    };
    match (result != 0).then(io::Error::last_os_error) {
        None => Ok(true),
        Some(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Some(error) => Err(error),
    }
}

/// Reads the next entries, `most` and CHUNK at most; how many there were.
///
/// # Safety
///
/// `keys` and `values` have room for CHUNK elements of the map.
unsafe fn read_at(
    map: BorrowedFd<'_>,
    place: &mut Place,
    most: usize,
    keys: *mut u8,
    values: *mut u8,
) -> io::Result<usize> {
    // The kernel's place is a bucket number in a hash and an index in an array: four bytes each.
    let mut next = 0u32;
    let in_batch = match place {
        Place::Start => 0,
        Place::At(from) => &raw mut *from as u64,
        Place::End => return Ok(0),
    };
    let mut attr = BatchAttr {
        in_batch,
        out_batch: &raw mut next as u64,
        keys: keys as u64,
        values: values as u64,
        count: CHUNK.min(most) as u32,
        map_fd: map.as_raw_fd() as u32,
        ..BatchAttr::default()
    };
    // SAFETY: every pointer leads to memory of the size that the kernel is told, by the caller.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_MAP_LOOKUP_BATCH,
            &raw mut attr,
            size_of::<BatchAttr>(),
        )
    };
    let at_end = match (result != 0).then(io::Error::last_os_error) {
        None => false,
        Some(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
        Some(error) => return Err(error),
    };
    *place = match at_end {
        true => Place::End,
        false => Place::At(next),
    };
    Ok((attr.count as usize).min(CHUNK))
}
