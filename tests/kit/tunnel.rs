//! A tunnel whose ends are tun devices: interfaces without an Ethernet header.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::fd::AsRawFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use crate::Netns;

/// Both devices are there as long as this is.
#[derive(Debug)]
pub struct Tunnel {
    is_over: Arc<AtomicBool>,
    carrier: Option<thread::JoinHandle<()>>,
}

impl Tunnel {
    /// A device of this name in each of the hosts; what enters one leaves the other.
    pub fn between(hosts: [&Netns; 2], name: &str) -> Self {
        let mut ends = hosts.map(|host| host.enter(|| open(name)));
        let is_over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&is_over);
        let carrier = thread::spawn(move || {
            let mut packet = vec![0; 1 << 16];
            while !told.load(Ordering::Relaxed) {
                carry(&mut ends, &mut packet);
            }
        });
        Self {
            is_over,
            carrier: Some(carrier),
        }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(carrier) = self.carrier.take() {
            let _ = carrier.join();
        }
    }
}

/// Carries what is there, or waits for it a little.
fn carry(ends: &mut [File; 2], packet: &mut [u8]) {
    let ready = {
        let mut polled = [&ends[0], &ends[1]].map(|end| {
            use std::os::fd::AsFd as _;
            PollFd::new(end.as_fd(), PollFlags::POLLIN)
        });
        let patience = PollTimeout::try_from(Duration::from_millis(100)).unwrap();
        match poll(&mut polled, patience) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => panic!("{error}"),
        }
        polled.map(|end| end.any().unwrap_or(false))
    };
    for from in (0..2).filter(|end| ready[*end]) {
        if let Ok(length) = ends[from].read(packet) {
            // A device that is not up takes nothing.
            let _ = ends[1 - from].write(&packet[..length]);
        }
    }
}

fn open(name: &str) -> File {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .unwrap();
    // SAFETY: all zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = std::ffi::c_char::from_ne_bytes([byte]);
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as i16;
    // SAFETY: the request is valid for the call.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    file
}
