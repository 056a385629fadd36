//! Indexes that the verifier can see are inside.
//!
//! LLVM drops a mask that its own range analysis finds superfluous, for example behind a modulo; the
//! verifier has no such analysis and refuses the access. So the instruction is written by hand.

/// `index & MASK`.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub fn masked<const MASK: usize>(mut index: usize) -> usize {
    // SAFETY: changes one register.
    unsafe {
        core::arch::asm!(
            "{index} &= {mask}",
            index = inout(reg) index,
            mask = const MASK,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    index
}

/// `index & MASK`.
#[cfg(not(target_arch = "bpf"))]
pub fn masked<const MASK: usize>(index: usize) -> usize {
    index & MASK
}
