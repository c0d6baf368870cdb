//! Memory that comes back: tells the allocator to keep large buffers apart, so that each is returned to the system as
//! soon as it is free.
//!
//! glibc raises its threshold for separate mappings whenever a large buffer is freed, up to 32 MiB; from then on the
//! buffers of flows come from the heap, are zeroed by hand, and stay with the process for good: 100 MB after 200
//! connections at once (`mallopt(3)`, `M_MMAP_THRESHOLD`; a value that is set is not raised any more).

/// Buffers of this size and above are mapped one by one: all rings of flows but the smallest.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const SEPARATE_BYTES: nix::libc::c_int = 64 * 1024;

/// Settles it for the whole process; before other threads run.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn return_large_buffers() {
    #[expect(unsafe_code, reason = "the allocator has no safe interface")]
    // SAFETY: `mallopt` takes two integers and touches nothing but the allocator's own settings, under its own lock.
    let taken = unsafe { nix::libc::mallopt(nix::libc::M_MMAP_THRESHOLD, SEPARATE_BYTES) };
    if taken == 0 {
        tracing::debug!("the allocator keeps its own ways");
    }
}

/// Other allocators have ways of their own.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn return_large_buffers() {}
