//! The sockets that the host holds, as /proc/net shows them, and who owns them.
//!
//! A holder's name needs the right to read other users' descriptors (CAP_SYS_PTRACE); without it
//! the number still counts as held, only its holder stays unnamed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt, fs,
    io::{self, BufRead},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use crate::model::{Protocol, escaped};

/// One local socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Socket {
    pub(crate) address: SocketAddr,
    pub(crate) is_listening: bool,
    pub(crate) uid: u32,
    /// 0 when nobody owns it any more (a closing connection).
    pub(crate) inode: u64,
}

/// Which sockets to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// TCP listeners and UDP sockets without a peer: those that clients can reach.
    Listeners,
    /// All that keep a number from being bound.
    All,
}

/// The host's sockets by protocol and local port; a listener hides other sockets of its number.
pub(crate) type SocketTable = BTreeMap<(Protocol, u16), Socket>;

/// Reads the host's tables; one that does not exist (no IPv6) is empty.
pub(crate) fn read_sockets(scope: Scope) -> io::Result<SocketTable> {
    let mut table = SocketTable::new();
    for (file, protocol) in [
        ("tcp", Protocol::Tcp),
        ("tcp6", Protocol::Tcp),
        ("udp", Protocol::Udp),
        ("udp6", Protocol::Udp),
    ] {
        match fs::File::open(format!("/proc/net/{file}")) {
            Ok(file) => read_table(io::BufReader::new(file), protocol, scope, &mut table)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(table)
}

fn read_table(
    reader: impl BufRead,
    protocol: Protocol,
    scope: Scope,
    table: &mut SocketTable,
) -> io::Result<()> {
    for line in reader.lines().skip(1) {
        let Some(socket) = parse_line(&line?, protocol) else {
            continue;
        };
        if scope == Scope::Listeners && !socket.is_listening {
            continue;
        }
        let key = (protocol, socket.address.port());
        let better = table
            .get(&key)
            .is_none_or(|old| socket.is_listening && !old.is_listening);
        if better {
            table.insert(key, socket);
        }
    }
    Ok(())
}

/// `sl local_address rem_address st tx:rx tr:tm retrnsmt uid timeout inode ...`
fn parse_line(line: &str, protocol: Protocol) -> Option<Socket> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let address = parse_address(fields.next()?)?;
    let peer = parse_address(fields.next()?)?;
    let state = fields.next()?;
    // A connection that waits to be forgotten keeps nobody from listening (the bind test decides).
    if protocol == Protocol::Tcp && state == "06" {
        return None;
    }
    let mut fields = fields.skip(3);
    let uid = fields.next()?.parse().ok()?;
    let inode = fields.nth(1)?.parse().ok()?;
    let is_listening = match protocol {
        Protocol::Tcp => state == "0A",
        Protocol::Udp => peer.port() == 0,
    };
    Some(Socket {
        address,
        is_listening,
        uid,
        inode,
    })
}

/// `0100007F:1F90`: 32-bit words as this machine stores them, the port as a plain number.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::with_capacity(16);
    for word in address.as_bytes().chunks(8) {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let ip: IpAddr = match bytes.len() {
        4 => Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into(),
        16 => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Who keeps a number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) pid: Option<u32>,
    pub(crate) command: String,
    /// `None`: bound, but in none of the kernel's tables.
    pub(crate) socket: Option<Socket>,
    /// It is no process: this rule of nftables forwards the number.
    pub(crate) rule: Option<String>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(rule) = &self.rule {
            return write!(f, "the rule {}, which forwards it", escaped(rule));
        }
        let Some(socket) = &self.socket else {
            return f.write_str("a socket that is bound but not listening");
        };
        match self.pid {
            Some(pid) => write!(f, "pid {pid} {}", escaped(&self.command))?,
            None if socket.inode == 0 => f.write_str("a connection that is closing")?,
            None => write!(
                f,
                "a process of uid {} that the agent may not name",
                socket.uid
            )?,
        }
        let verb = if socket.is_listening {
            "listening on"
        } else {
            "connected from"
        };
        write!(f, ", {verb} {}", socket.address)
    }
}

/// Names the owners of these sockets in one pass over /proc.
pub(crate) fn name_holders(sockets: &[Socket]) -> Vec<Holder> {
    let wanted: BTreeSet<u64> = sockets
        .iter()
        .map(|s| s.inode)
        .filter(|&i| i != 0)
        .collect();
    let owners = if wanted.is_empty() {
        HashMap::new()
    } else {
        find_owners(&wanted)
    };
    let holder = |socket: &Socket| {
        let pid = owners.get(&socket.inode).copied();
        let command = pid.map(read_command).unwrap_or_default();
        Holder {
            pid,
            command,
            socket: Some(socket.clone()),
            rule: None,
        }
    };
    sockets.iter().map(holder).collect()
}

/// Inode to process id, for the inodes that can be found.
fn find_owners(wanted: &BTreeSet<u64>) -> HashMap<u64, u32> {
    let mut owners = HashMap::new();
    let Ok(processes) = fs::read_dir("/proc") else {
        return owners;
    };
    for process in processes.flatten() {
        let Some(pid) = process
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        for descriptor in descriptors.flatten() {
            let Ok(target) = fs::read_link(descriptor.path()) else {
                continue;
            };
            let inode = target.to_str().and_then(|text| {
                text.strip_prefix("socket:[")?
                    .strip_suffix(']')?
                    .parse()
                    .ok()
            });
            if let Some(inode) = inode.filter(|inode| wanted.contains(inode)) {
                owners.entry(inode).or_insert(pid);
            }
        }
        if owners.len() == wanted.len() {
            break;
        }
    }
    owners
}

fn read_command(pid: u32) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    text.trim_end_matches('\n').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_lines_are_read() {
        let line = "   0: 00000000:8AAC 00000000:0000 0A 00000000:00000000 00:00000000 00000000  \
                    1000        0 12345 1 0000000000000000 100 0 0 10 0";
        let socket = parse_line(line, Protocol::Tcp).unwrap();
        assert_eq!(socket.address, "0.0.0.0:35500".parse().unwrap());
        assert!(socket.is_listening);
        assert_eq!((socket.uid, socket.inode), (1000, 12345));
        let v6 = "1: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 \
                  07 0:0 0:0 0 0 0 7 2";
        let socket = parse_line(v6, Protocol::Udp).unwrap();
        assert_eq!(socket.address, "[::1]:80".parse().unwrap());
        let waiting = line.replace(" 0A ", " 06 ");
        assert!(parse_line(&waiting, Protocol::Tcp).is_none());
        assert!(parse_line("nonsense", Protocol::Tcp).is_none());
        assert!(parse_line("", Protocol::Tcp).is_none());
    }

    #[test]
    fn this_process_is_named_as_the_holder_of_its_own_sockets() {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = std::net::UdpSocket::bind("[::1]:0").ok();
        let table = read_sockets(Scope::Listeners).unwrap();
        let socket = table[&(Protocol::Tcp, tcp.local_addr().unwrap().port())].clone();
        let holders = name_holders(&[socket]);
        assert_eq!(holders[0].pid, Some(std::process::id()));
        let text = holders[0].to_string();
        assert!(text.contains("listening on 127.0.0.1:"), "{text}");
        if let Some(udp) = udp {
            assert!(table.contains_key(&(Protocol::Udp, udp.local_addr().unwrap().port())));
        }
    }
}
