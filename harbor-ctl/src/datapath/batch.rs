//! Reads a hash or an array many entries at a time (`BPF_MAP_LOOKUP_BATCH`, Linux 5.6), which aya
//! has no call for: 60,000 entries of a hash take 10-16 ms instead of 49 ms one by one.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use aya::Pod;

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
    let mut keys: Vec<K> = Vec::with_capacity(CHUNK);
    let mut values: Vec<V> = Vec::with_capacity(CHUNK * shares);
    // The kernel's place is a bucket number in a hash and an index in an array: four bytes each.
    let (mut place, mut next) = (0u32, 0u32);
    let mut first = true;
    loop {
        let mut attr = BatchAttr {
            in_batch: if first { 0 } else { &raw mut place as u64 },
            out_batch: &raw mut next as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: CHUNK.min(most) as u32,
            map_fd: map.as_raw_fd() as u32,
            ..BatchAttr::default()
        };
        // SAFETY: every pointer leads to memory of the size that the kernel is told: CHUNK keys and
        // values of the map's own sizes, which were compared when the map was opened, one for each
        // processor where it has as many.
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
        let count = (attr.count as usize).min(CHUNK);
        // SAFETY: the kernel has written `count` keys and values, and any bytes are valid (Pod).
        unsafe {
            keys.set_len(count);
            values.set_len(count * shares);
        }
        keys.iter()
            .zip(values.chunks(shares))
            .for_each(|(key, values)| visit(key, values));
        keys.clear();
        values.clear();
        most -= count;
        if at_end || most == 0 {
            return Ok(());
        }
        place = next;
        first = false;
    }
}
