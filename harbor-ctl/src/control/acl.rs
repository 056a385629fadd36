//! One more group for a file, by its access control list (acl(5)), which the mode's bits have no
//! place for.

use std::{fs, io, os::unix::fs::PermissionsExt as _, path::Path};

use nix::unistd::Gid;
use rustix::fs::{XattrFlags, setxattr};

/// Where Linux keeps it, and the version of what is written there (linux/posix_acl_xattr.h).
const ATTRIBUTE: &str = "system.posix_acl_access";
const VERSION: u32 = 2;
/// Tags of entries (linux/posix_acl.h), and the id of those that need none.
const OWNER: u16 = 0x01;
const OWN_GROUP: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHERS: u16 = 0x20;
const NOBODY: u32 = u32::MAX;

/// Lets a group have these rights (1 enter, 2 write, 4 read) besides what the mode says.
pub(super) fn add_group(path: &Path, group: Gid, rights: u16) -> io::Result<()> {
    let mode = fs::metadata(path)?.permissions().mode();
    let of = |shift: u32| u16::try_from(mode >> shift & 0o7).unwrap_or_default();
    let entries = [
        (OWNER, of(6), NOBODY),
        (OWN_GROUP, of(3), NOBODY),
        (GROUP, rights, group.as_raw()),
        (MASK, of(3) | rights, NOBODY),
        (OTHERS, of(0), NOBODY),
    ];
    let mut octets = VERSION.to_le_bytes().to_vec();
    for (tag, rights, id) in entries {
        octets.extend(tag.to_le_bytes());
        octets.extend(rights.to_le_bytes());
        octets.extend(id.to_le_bytes());
    }
    Ok(setxattr(path, ATTRIBUTE, &octets, XattrFlags::empty())?)
}
