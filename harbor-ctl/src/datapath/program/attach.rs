//! Puts the packet program onto interfaces, and takes it off.
//!
//! tcx links are pinned by the interface's index, which a rename does not change, and updated in place,
//! so a new agent changes the program without a packet lost. Kernels before 6.6 have clsact filters
//! instead, which stay by themselves; a pin of the program marks which interface has one,

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use aya::programs::{
    LinkOrder, ProgramError, SchedClassifier, TcAttachType,
    links::{FdLink, LinkError, PinnedLink},
    tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle, qdisc_add_clsact},
};

use super::pins;
use super::{Datapath, pins::Pins};
use crate::datapath::{
    error::{DatapathError, Tried as _},
    interfaces::Interface,
    routes::host::Host,
};

/// How the program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    /// A tcx link (Linux 6.6 and later).
    Tcx,
    /// A filter of the clsact queueing discipline.
    Clsact,
    /// A native XDP link, beside one of the others.
    Xdp,
}

/// Marks the pins of clsact interfaces.
const CLSACT_PREFIX: &str = "clsact-";
/// Marks the pins of XDP links.
const XDP_PREFIX: &str = "xdp-";
/// Before filters that others add without a priority of their own (49152 and up).
const CLSACT_PRIORITY: u16 = 4_200;
const CLSACT_HANDLE: TcHandle = TcHandle::new(0, 0x4842);

impl Hook {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
            Self::Xdp => "xdp",
        }
    }
}

/// What is attached, by the pins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attached {
    pub(crate) ifindex: u32,
    pub(crate) hook: Hook,
    pub(crate) pin: PathBuf,
}

impl Pins {
    pub(super) fn link(&self, ifindex: u32, hook: Hook) -> PathBuf {
        match hook {
            Hook::Tcx => self.links().join(ifindex.to_string()),
            Hook::Clsact => self.links().join(format!("{CLSACT_PREFIX}{ifindex}")),
            Hook::Xdp => self.links().join(format!("{XDP_PREFIX}{ifindex}")),
        }
    }

    /// Every attachment that has a pin.
    pub(crate) fn attached(&self) -> Result<Vec<Attached>, DatapathError> {
        let mut attached: Vec<Attached> = self
            .link_pins()?
            .into_iter()
            .filter_map(|(pin, hook, name)| {
                Some(Attached {
                    ifindex: name.parse().ok()?,
                    hook,
                    pin,
                })
            })
            .collect();
        attached.sort_by_key(|attached| attached.ifindex);
        Ok(attached)
    }

    /// Each pin, with its hook and the rest of its name.
    fn link_pins(&self) -> Result<Vec<(PathBuf, Hook, String)>, DatapathError> {
        let directory = self.links();
        let tried = || format!("cannot read {}", directory.display());
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.tried(tried)?,
        };
        let mut pins = Vec::new();
        for entry in entries {
            let pin = entry.tried(tried)?.path();
            let name = pin.file_name().and_then(|name| name.to_str());
            let name = name.unwrap_or_default().to_owned();
            let hooks = [(CLSACT_PREFIX, Hook::Clsact), (XDP_PREFIX, Hook::Xdp)];
            let mut marked = hooks.into_iter();
            let marked = marked.find_map(|(prefix, hook)| {
                let rest = name.strip_prefix(prefix)?.to_owned();
                Some((pin.clone(), hook, rest))
            });
            pins.push(marked.unwrap_or((pin, Hook::Tcx, name)));
        }
        Ok(pins)
    }

    /// Gives pins that an earlier version named after interfaces the name of the index; the pins of
    /// interfaces that are gone go.
    pub(crate) fn adopt_named_links(&self) -> Result<(), DatapathError> {
        for (pin, hook, name) in self.link_pins()? {
            if name.parse::<u32>().is_ok() {
                continue;
            }
            let adopted = match nix::net::if_::if_nametoindex(name.as_str()) {
                Ok(ifindex) => fs::rename(&pin, self.link(ifindex, hook)),
                Err(_) => pins::remove(&pin).map(drop),
            };
            adopted.tried(|| format!("cannot rename {}", pin.display()))?;
        }
        Ok(())
    }
}

impl Datapath {
    /// Attaches to an interface, or replaces the program that is attached there.
    pub(crate) fn attach(
        &mut self,
        interface: &Interface,
        hook: Option<Hook>,
    ) -> Result<Hook, DatapathError> {
        let Interface { index, name, .. } = interface;
        let clsact = self.pins.link(*index, Hook::Clsact);
        let tcx = self.pins.link(*index, Hook::Tcx);
        if hook != Some(Hook::Clsact) {
            match attach_tcx(self.packet_program(interface)?, name, &tcx) {
                Ok(()) => {
                    // After a kernel upgrade the older kind may still have its mark.
                    detach_clsact(*index, &clsact)?;
                    return Ok(Hook::Tcx);
                }
                Err(error) if hook.is_none() && error.is_unsupported() => {
                    tracing::info!("{name}: no tcx here ({error}); using clsact");
                }
                Err(error) => return Err(error).tried(|| format!("cannot attach to {name}")),
            }
        }
        attach_clsact(self.packet_program(interface)?, name, &clsact)?;
        let _ = pins::remove(&tcx);
        Ok(Hook::Clsact)
    }

    /// Whether the kernel still has the program on the interface: others may have taken a clsact
    /// discipline away, and an interface that was made anew may have the index of the former one.
    pub(crate) fn is_attached(&mut self, interface: &Interface, hook: Hook, host: &Host) -> bool {
        match hook {
            Hook::Tcx => {
                let own = self
                    .packet_program(interface)
                    .ok()
                    .and_then(|own| own.info().ok());
                let found = SchedClassifier::query_tcx(&interface.name, TcAttachType::Ingress);
                match (own, found) {
                    (Some(own), Ok((_, found))) => found.iter().any(|p| p.id() == own.id()),
                    _ => false,
                }
            }
            Hook::Clsact => host.has_filter(interface.index, CLSACT_PRIORITY),
            Hook::Xdp => interface.xdp.is_some() && interface.xdp == self.xdp_id(),
        }
    }
}

/// Has a program take the place of the one behind a pinned link; whether there was such a link. One whose
/// interface was deleted, or that somebody has detached, is none, and its pin goes.
pub(super) fn replace(
    pin: &Path,
    attach: impl FnOnce(FdLink) -> Result<(), Refusal>,
) -> Result<bool, Refusal> {
    let held = match PinnedLink::from_pin(pin) {
        Ok(pinned) => FdLink::from(pinned),
        Err(LinkError::SyscallError(error)) if error.io_error.kind() == ErrorKind::NotFound => {
            return Ok(false);
        }
        Err(error) => return Err(error.into()),
    };
    match attach(held) {
        Ok(()) => Ok(true),
        Err(refusal) if refusal.errno == Some(libc::ENOLINK) => {
            pins::remove(pin)?;
            Ok(false)
        }
        Err(refusal) => Err(refusal),
    }
}

fn attach_tcx(program: &mut SchedClassifier, interface: &str, pin: &Path) -> Result<(), Refusal> {
    let is_replaced = replace(pin, |held| {
        let id = program.attach_to_link(SchedClassifierLink::try_from(held)?)?;
        // The pin keeps the link; dropping our descriptor is harmless.
        program.take_link(id)?;
        Ok(())
    })?;
    if is_replaced {
        return Ok(());
    }
    let order = TcAttachOptions::TcxOrder(LinkOrder::default());
    let id = program.attach_with_options(interface, TcAttachType::Ingress, order)?;
    let link: FdLink = program.take_link(id)?.try_into()?;
    link.pin(pin).map_err(std::io::Error::other)?;
    Ok(())
}

fn attach_clsact(
    program: &mut SchedClassifier,
    interface: &str,
    pin: &Path,
) -> Result<(), DatapathError> {
    // It fails where the discipline is there already, which is as good.
    let _ = qdisc_add_clsact(interface);
    let tried = || format!("cannot attach to {interface} by clsact");
    let held = match pin.exists() {
        true => program
            .attach_to_link(clsact_link(interface).tried(tried)?)
            .ok(),
        false => None,
    };
    let replaced = match held {
        Some(id) => Ok(id),
        // New here, or others have taken the filter away.
        None => {
            let options = NlOptions {
                priority: CLSACT_PRIORITY,
                handle: CLSACT_HANDLE,
                ..NlOptions::default()
            };
            let options = TcAttachOptions::Netlink(options);
            program.attach_with_options(interface, TcAttachType::Ingress, options)
        }
    };
    let id = replaced.tried(tried)?;
    // Dropping a clsact link would remove the filter.
    std::mem::forget(program.take_link(id).tried(tried)?);
    pins::remove(pin).tried(tried)?;
    program.pin(pin).tried(tried)
}

fn clsact_link(interface: &str) -> std::io::Result<SchedClassifierLink> {
    SchedClassifierLink::attached(
        interface,
        TcAttachType::Ingress,
        CLSACT_PRIORITY,
        CLSACT_HANDLE,
        None,
    )
}

impl Attached {
    /// The interface's name now; `None` if it is gone.
    pub(crate) fn interface(&self) -> Option<String> {
        interface_name(self.ifindex)
    }

    /// Whether the interface still has the program that is pinned: others may have taken it off, and an
    /// interface that was made anew may have the index of the former one.
    pub(crate) fn is_in_force(&self, interface: &Interface, host: &Host) -> bool {
        if self.hook == Hook::Clsact {
            return host.has_filter(interface.index, CLSACT_PRIORITY);
        }
        let pinned = PinnedLink::from_pin(&self.pin).and_then(|link| FdLink::from(link).info());
        let found = SchedClassifier::query_tcx(&interface.name, TcAttachType::Ingress);
        match (pinned, found) {
            (Ok(pinned), Ok((_, found))) => found.iter().any(|p| p.id() == pinned.program_id()),
            _ => false,
        }
    }

    /// What to call an interface that is gone.
    pub(crate) fn words(&self) -> String {
        format!("interface number {}", self.ifindex)
    }

    /// Takes the program off the interface and removes the pin.
    pub(crate) fn detach(&self) -> Result<(), DatapathError> {
        match self.hook {
            Hook::Tcx | Hook::Xdp => pins::remove(&self.pin)
                .map(drop)
                .tried(|| format!("cannot remove {}", self.pin.display())),
            Hook::Clsact => detach_clsact(self.ifindex, &self.pin),
        }
    }
}

fn interface_name(ifindex: u32) -> Option<String> {
    let name = nix::net::if_::if_indextoname(ifindex).ok()?;
    name.into_string().ok()
}

fn detach_clsact(ifindex: u32, pin: &Path) -> Result<(), DatapathError> {
    if !pin.exists() {
        return Ok(());
    }
    // An interface that is gone has taken its filters with it.
    if let Some(link) = interface_name(ifindex).and_then(|name| clsact_link(&name).ok()) {
        drop(link);
        // The caller may sit in an asynchronous runtime, and `Host` waits in one of its own.
        let clean = move || Host::connect()?.remove_idle_clsact(ifindex);
        if let Ok(cleaned) = std::thread::spawn(clean).join() {
            cleaned?;
        }
    }
    pins::remove(pin)
        .map(drop)
        .tried(|| format!("cannot remove {}", pin.display()))
}

/// Why the kernel did not attach, with its error number where there is one.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub(super) struct Refusal {
    pub(super) errno: Option<i32>,
    #[source]
    cause: Box<dyn std::error::Error + Send + Sync>,
}

impl Refusal {
    /// What kernels without tcx answer to the creation of such a link.
    fn is_unsupported(&self) -> bool {
        matches!(self.errno, Some(libc::EINVAL | libc::EOPNOTSUPP))
    }
}

impl From<ProgramError> for Refusal {
    fn from(error: ProgramError) -> Self {
        let errno = match &error {
            ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
            _ => None,
        };
        Self {
            errno,
            cause: error.into(),
        }
    }
}

impl From<LinkError> for Refusal {
    fn from(error: LinkError) -> Self {
        Self {
            errno: None,
            cause: error.into(),
        }
    }
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        Self {
            errno: error.raw_os_error(),
            cause: error.into(),
        }
    }
}
