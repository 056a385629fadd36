//! Debian packages for the suite, installed without starting their services.
//!
//! The suite starts the servers itself, in namespaces of its own. A machine must not begin to serve SSH,
//! MQTT or SQL because somebody tested Harbor on it, so the services are masked while their packages
//! are installed, and disabled afterwards.

use std::{ffi::OsStr, fs, path::Path};

use anyhow::{Context, Result};

use crate::shell;

/// Packages that bring a service, and its unit.
const SERVICES: [(&str, &str); 6] = [
    ("haproxy", "haproxy.service"),
    ("mosquitto", "mosquitto.service"),
    ("nginx", "nginx.service"),
    ("openssh-server", "ssh.service"),
    ("postgresql", "postgresql.service"),
    ("prometheus", "prometheus.service"),
];

/// As long as this file exists, Debian's PostgreSQL makes no cluster of its own.
const NO_CLUSTER: &str = "/etc/postgresql-common/createcluster.d/harbor.conf";

/// Installs packages that are missing.
pub(crate) fn install(packages: &[String]) -> Result<()> {
    let units: Vec<&str> = SERVICES
        .iter()
        .filter(|(package, _)| packages.iter().any(|wanted| wanted == package))
        .map(|(_, unit)| *unit)
        .collect();
    let quiet: &[(&str, &OsStr)] = &[("DEBIAN_FRONTEND", "noninteractive".as_ref())];
    let apt = || shell::privileged("apt-get", quiet);
    shell::succeed(apt().args(["-q", "update"]))?;
    let is_clustered = Path::new("/etc/postgresql-common").exists();
    if !is_clustered {
        forbid_cluster()?;
    }
    systemctl(&["mask"], &units)?;
    let installed = shell::succeed(
        apt()
            .args(["-q", "-y", "install", "--no-install-recommends"])
            .args(packages),
    );
    systemctl(&["unmask"], &units)?;
    systemctl(&["disable"], &units)?;
    if !is_clustered {
        shell::succeed(shell::privileged("rm", &[]).args(["-f", NO_CLUSTER]))?;
    }
    installed
}

/// Also works on a machine without a running systemd, where it only changes links.
fn systemctl(verb: &[&str], units: &[&str]) -> Result<()> {
    if units.is_empty() || shell::which("systemctl").is_none() {
        return Ok(());
    }
    let mut command = shell::privileged("systemctl", &[]);
    shell::succeed(command.arg("--quiet").args(verb).args(units))
}

fn forbid_cluster() -> Result<()> {
    let temporary = std::env::temp_dir().join(format!("harbor-cluster-{}", std::process::id()));
    fs::write(&temporary, "create_main_cluster = false\n")
        .with_context(|| temporary.display().to_string())?;
    let mut command = shell::privileged("install", &[]);
    let done = shell::succeed(
        command
            .args(["-D", "-m", "644"])
            .arg(&temporary)
            .arg(NO_CLUSTER),
    );
    fs::remove_file(&temporary).with_context(|| temporary.display().to_string())?;
    done
}
