//! One thread of a process that hangs, as in a call to the kernel that does not return, while the others
//! go on.

use std::{fs, path::PathBuf, ptr};

use crate::Process;

/// The thread goes on when this is dropped, which has to happen on the thread that has made it.
#[derive(Debug)]
pub struct FrozenThread(i32);

impl FrozenThread {
    /// Stops the first thread of this name.
    ///
    /// Fault: proxy.
    #[track_caller]
    pub fn of(process: &Process, name: &str) -> Self {
        let tasks = fs::read_dir(format!("/proc/{}/task", process.id())).unwrap();
        let mut tasks = tasks.map(|task| task.unwrap().path());
        let is_meant = |task: &PathBuf| {
            let own = fs::read_to_string(task.join("comm")).unwrap_or_default();
            own.trim_end() == name
        };
        let task = tasks.find(is_meant).expect("a thread of this name");
        let id = task.file_name().unwrap().to_str().unwrap();
        let thread = Self(id.parse().unwrap());
        thread.trace(libc::PTRACE_SEIZE);
        thread.trace(libc::PTRACE_INTERRUPT);
        // SAFETY: the status is not asked for.
        let stopped = unsafe { libc::waitpid(thread.0, ptr::null_mut(), libc::__WALL) };
        assert_eq!(stopped, thread.0, "{}", std::io::Error::last_os_error());
        thread
    }

    #[track_caller]
    fn trace(&self, request: libc::c_uint) {
        let nothing = ptr::null_mut::<libc::c_void>();
        // SAFETY: none of these requests reads or writes what it is pointed to.
        let done = unsafe { libc::ptrace(request, self.0, nothing, nothing) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    }
}

impl Drop for FrozenThread {
    fn drop(&mut self) {
        let nothing = ptr::null_mut::<libc::c_void>();
        // SAFETY: the request reads nothing. The process may be gone.
        unsafe { libc::ptrace(libc::PTRACE_DETACH, self.0, nothing, nothing) };
    }
}
