//! What the value of a key looks like: for people who ask, and as a pattern for editors. The checks
//! themselves are made where the configuration is validated; a test compares the two.

/// What a value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Whatever the kind of the key says.
    Free,
    Period,
    /// A part of something.
    Share,
    /// Numbers of ports.
    Range,
    /// Where to listen, or nowhere.
    Listen,
    /// An absolute path.
    Path,
    /// An absolute path, or none.
    File,
    Name,
    /// A name of a host, or none.
    Host,
    /// An IP address, or none.
    Address,
    /// IP addresses, or `auto`.
    Addresses,
    Interfaces,
    Networks,
    Group,
    RegistryUrl,
    HealthCheck,
}

impl Form {
    /// In words, with the unit where there is one.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Free => "",
            Self::Period => "a period with its unit: 500ms, 30s, 5m, 2h4m, 1d",
            Self::Share => "a share in hundredths, from 1% to 100%",
            Self::Range => "FIRST-LAST, numbers from 1 to 65535",
            Self::Listen => "ADDRESS:PORT, or empty",
            Self::Path => "an absolute path",
            Self::File => "an absolute path of a file, or empty",
            Self::Name => "1 to 64 letters, digits, '_', '.' or '-'",
            Self::Host => "a host name, or empty",
            Self::Address => "an IP address, or empty",
            Self::Addresses => "IP addresses, or auto",
            Self::Interfaces => "names of interfaces, or auto",
            Self::Networks => "networks, as 10.0.0.0/8",
            Self::Group => "a group's name or number, or empty",
            Self::RegistryUrl => {
                "embedded, redis://HOST, rediss://HOST or redis+sentinel://HOST:PORT/MASTER"
            }
            Self::HealthCheck => "off, tcp, http:/PATH or udp:SEND/EXPECT",
        }
    }

    /// What every such value matches; others may match it too.
    pub(crate) fn pattern(self) -> Option<&'static str> {
        match self {
            Self::Period => Some("^ *([0-9]+(ms|s|m|h|d))+ *$"),
            Self::Share => Some("^ *[0-9]{1,3} *% *$"),
            Self::Range => Some("^ *[0-9]{1,5} *- *[0-9]{1,5} *$"),
            Self::Listen => Some("^(.+:[0-9]{1,5})?$"),
            Self::Path => Some("^/"),
            Self::File => Some("^(/.*)?$"),
            Self::Name => Some("^[A-Za-z0-9_.-]{1,64}$"),
            Self::Host => Some("^[A-Za-z0-9.-]*$"),
            Self::Address => Some("^[0-9A-Fa-f:.]*$"),
            Self::Group => Some("^[A-Za-z0-9_.-]{0,32}$"),
            Self::RegistryUrl => Some("^(embedded|rediss?://.+|redis\\+sentinel://.+)$"),
            Self::HealthCheck => Some("^(off|tcp|http:/.*|udp:.+)$"),
            Self::Free | Self::Addresses | Self::Interfaces | Self::Networks => None,
        }
    }
}
