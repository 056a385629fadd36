//! One thread of a process, halted where it is while the others go on: what a kernel that takes its time
//! looks like to the rest of the process.

use std::{fs, marker::PhantomData};

use nix::libc;

use crate::{Process, until};

/// A thread that stands still as long as this guard lives. It stays on the thread that made it, which
/// alone may let the other go.
#[derive(Debug)]
pub struct Halted {
    thread: libc::pid_t,
    stays: PhantomData<*const ()>,
}

impl Halted {
    /// Halts the thread of this name.
    #[track_caller]
    pub fn thread(process: &Process, name: &str) -> Self {
        let tasks = format!("/proc/{}/task", process.id());
        let mut tasks = fs::read_dir(tasks).unwrap().flatten();
        let is_it = |task: &fs::DirEntry| {
            let called = fs::read_to_string(task.path().join("comm"));
            called.is_ok_and(|called| called.trim_end() == name)
        };
        let task = tasks.find(is_it).expect("there is no such thread");
        let thread: libc::pid_t = task.file_name().to_str().unwrap().parse().unwrap();
        for request in [libc::PTRACE_SEIZE, libc::PTRACE_INTERRUPT] {
            // SAFETY: neither request reads or writes memory of this process.
            let done = unsafe { libc::ptrace(request, thread, 0, 0) };
            assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
        }
        until(std::time::Duration::from_secs(20), || {
            let mut status = 0;
            let flags = libc::__WALL | libc::WNOHANG;
            // SAFETY: `status` is there for as long as the call takes.
            let found = unsafe { libc::waitpid(thread, &mut status, flags) };
            (found == thread).then_some(())
        });
        Self {
            thread,
            stays: PhantomData,
        }
    }
}

impl Drop for Halted {
    fn drop(&mut self) {
        // SAFETY: the request reads and writes no memory of this process.
        unsafe { libc::ptrace(libc::PTRACE_DETACH, self.thread, 0, 0) };
    }
}
