//! A file that does not answer, as on a file server that hangs: whoever opens it waits until the guard is
//! dropped, or for the 45 seconds that Linux gives to the holder of a lease (`fs.lease-break-time`).

use std::{fs::File, os::fd::AsRawFd as _, path::Path};

/// `F_SETSIG`, which the library does not know for every C library.
const F_SETSIG: i32 = 10;

/// Nobody opens the file while this is there.
#[derive(Debug)]
pub struct Unanswered(File);

impl Unanswered {
    /// Takes the file, which nobody may have open.
    ///
    /// Fault: configuration, certificates.
    #[track_caller]
    pub fn take(path: &Path) -> Self {
        let file = File::open(path).unwrap();
        // What tells that somebody waits is ignored by default, unlike SIGIO.
        Self::control(&file, F_SETSIG, libc::SIGURG);
        Self::control(&file, libc::F_SETLEASE, libc::F_WRLCK);
        Self(file)
    }

    /// Whether somebody waits for the file.
    #[track_caller]
    pub fn is_waited_for(&self) -> bool {
        Self::control(&self.0, libc::F_GETLEASE, 0) != libc::F_WRLCK
    }

    #[track_caller]
    fn control(file: &File, what: i32, value: i32) -> i32 {
        // SAFETY: none of these commands has a pointer.
        let done = unsafe { libc::fcntl(file.as_raw_fd(), what, value) };
        assert!(done >= 0, "{}", std::io::Error::last_os_error());
        done
    }
}
