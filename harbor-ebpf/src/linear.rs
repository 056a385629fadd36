//! Checked pointers into the directly readable part of a frame, for whatever hook it is at.

use core::arch::asm;

use crate::packet::Header;

/// Start and end of what is directly readable.
pub type Bounds = (usize, usize);

#[inline(always)]
fn locate((start, end): Bounds, offset: usize, size: usize) -> Option<usize> {
    let at = start + offset;
    (at + size <= end).then_some(at)
}

/// The header at `offset`, or `None` where the readable part ends before it does.
///
/// # Safety
///
/// The bounds are those of the running program's frame, and nothing moves the frame while the
/// result is used.
#[inline(always)]
pub unsafe fn view<'a, T: Header>(bounds: Bounds, offset: usize) -> Option<&'a T> {
    let at = locate(bounds, offset, size_of::<T>())?;
    // SAFETY: `locate` checked the bounds; `Header` allows any alignment and value.
    Some(unsafe { &*(at as *const T) })
}

/// The header at `offset`, to be changed.
///
/// # Safety
///
/// As for [`view`], and nobody else uses that part of the frame meanwhile.
#[inline(always)]
pub unsafe fn view_mut<'a, T: Header>(bounds: Bounds, offset: usize) -> Option<&'a mut T> {
    let at = locate(bounds, offset, size_of::<T>())?;
    // SAFETY: as in `view`; the borrow is unique by the caller.
    Some(unsafe { &mut *(at as *mut T) })
}

/// Words at `offset` as they stand in the frame, each read by one load.
///
/// # Safety
///
/// The bounds are those of the running program's frame.
#[inline(always)]
pub unsafe fn words<const N: usize>(bounds: Bounds, offset: usize) -> Option<[u32; N]> {
    let at = locate(bounds, offset, 4 * N)?;
    let mut words = [0; N];
    let mut index = 0;
    while index < N {
        // SAFETY: `locate` checked the bounds. Left to itself LLVM reads a word of a frame octet
        // by octet, because an IP header lies at an odd multiple of two.
        unsafe {
            asm!(
                "{word} = *(u32 *)({at} + 0)",
                word = out(reg) words[index],
                at = in(reg) at + 4 * index,
                options(nostack, readonly, preserves_flags),
            );
        }
        index += 1;
    }
    Some(words)
}

/// Writes words at `offset`, each by one store.
///
/// # Safety
///
/// As for [`view_mut`].
#[inline(always)]
pub unsafe fn set_words<const N: usize>(
    bounds: Bounds,
    offset: usize,
    words: [u32; N],
) -> Option<()> {
    let at = locate(bounds, offset, 4 * N)?;
    let mut index = 0;
    while index < N {
        // SAFETY: as in `words`.
        unsafe {
            asm!(
                "*(u32 *)({at} + 0) = {word}",
                word = in(reg) words[index],
                at = in(reg) at + 4 * index,
                options(nostack, preserves_flags),
            );
        }
        index += 1;
    }
    Some(())
}
