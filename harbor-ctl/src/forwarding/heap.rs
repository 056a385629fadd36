//! Returns unused memory from the C library's allocator to the kernel.
//!
//! A look at all ports needs much memory for a moment. Left alone, the allocator keeps that for ever,
//! and in as many pools as there are threads.

/// Pools that all threads share: they meet seldom, and each pool keeps what is free in it.
#[cfg(target_env = "gnu")]
const POOLS: libc::c_int = 2;

/// What is larger stands outside of the pools, and goes back to the kernel as soon as it is free. Left
/// alone, the allocator raises this to the size of the largest that was ever free.
#[cfg(target_env = "gnu")]
const POOLED: libc::c_int = 1 << 20;

/// Limits the pools; before there are threads.
pub(crate) fn limit_pools() {
    // SAFETY: mallopt sets a number of the allocator's own, and no other thread runs yet.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, POOLS);
        libc::mallopt(libc::M_MMAP_THRESHOLD, POOLED);
    }
}

/// Gives back to the kernel what is free.
pub(crate) fn give_back() {
    // SAFETY: malloc_trim takes the allocator's own locks.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}
