//! What tells a socket from another one with the same descriptor: its device and inode.

use std::mem::MaybeUninit;
use std::os::fd::RawFd;

#[derive(Debug, PartialEq)]
pub struct SocketIdentity {
    device: libc::dev_t,
    inode: libc::ino_t,
}

/// What `fd` refers to now; `None` if it is not open.
pub fn socket_identity(fd: RawFd) -> Option<SocketIdentity> {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the pointer is that of a live struct.
    if unsafe { libc::fstat(fd, stat.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: the call has initialized the struct.
    let stat = unsafe { stat.assume_init() };
    Some(SocketIdentity {
        device: stat.st_dev,
        inode: stat.st_ino,
    })
}
