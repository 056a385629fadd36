//! Logs: four files, one per component, and the journal, or else standard error.
//!
//! A line goes to the file of the part that its target names: `registry` to harbor_redis.log, port
//! conflicts (`proxy`) to harbor_proxy_connector.log, `gateway` to harbor_gateway.log, everything
//! else to harbor_node.log. No line can hold a control character.

mod bridge;
mod capped;
mod escape;
mod journal;
mod log_file;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tracing::{Metadata, level_filters::LevelFilter};
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::{
    Layer, filter::DynFilterFn, fmt::MakeWriter, layer::SubscriberExt,
    registry::Registry as Subscribers, util::SubscriberInitExt,
};

use crate::config::LogConfig;
use capped::Capped;
use escape::Escaping;
use log_file::LogFile;

/// Targets of lines that do not follow from the module they are written in.
pub(crate) const TARGET_PROXY: &str = "proxy";
pub(crate) const TARGET_GATEWAY: &str = "gateway";

/// The files, and the folder that they are in.
static FILES: OnceLock<(PathBuf, Vec<Arc<LogFile>>)> = OnceLock::new();
/// How often files are looked at that cannot be written.
const LOOK: Duration = Duration::from_secs(1);

/// The level in force, as the number of a `log::LevelFilter`; changed while running.
static LEVEL: AtomicUsize = AtomicUsize::new(3);

/// A component with a log file of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Gateway,
    Node,
    ProxyConnector,
    Redis,
}

impl Part {
    const ALL: [Self; 4] = [Self::Gateway, Self::Node, Self::ProxyConnector, Self::Redis];

    fn file(self) -> &'static str {
        match self {
            Self::Gateway => "harbor_gateway",
            Self::Node => "harbor_node",
            Self::ProxyConnector => "harbor_proxy_connector",
            Self::Redis => "harbor_redis",
        }
    }

    fn of(target: &str) -> Self {
        let own = target.strip_prefix("harbor_ctl::").unwrap_or(target);
        match own.split("::").next().unwrap_or_default() {
            "gateway" => Self::Gateway,
            "proxy" => Self::ProxyConnector,
            "registry" => Self::Redis,
            _ => Self::Node,
        }
    }
}

/// Opens the four files and starts to log; called once, by the agent. A file that cannot be opened or
/// written is told, stops nobody, and is tried again.
pub(crate) fn start(directory: &Path, config: &LogConfig) -> io::Result<()> {
    set_level(config.level);
    let mut layers: Vec<Box<dyn Layer<Subscribers> + Send + Sync>> = Vec::new();
    let mut files = Vec::new();
    for part in Part::ALL {
        let (folder, config) = (directory.to_owned(), config.clone());
        let opener = move || open(&folder, part, &config);
        let path = directory.join(format!("{}.log", part.file()));
        let file = Arc::new(LogFile::open(path, Box::new(opener)));
        files.push(Arc::clone(&file));
        let layer = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(Escaping(Shared(file)));
        let wanted =
            DynFilterFn::new(move |meta, _| is_on(meta) && Part::of(meta.target()) == part);
        layers.push(layer.with_filter(wanted).boxed());
    }
    layers.push(journal::layer().unwrap_or_else(stderr));
    tracing_subscriber::registry()
        .with(layers)
        .try_init()
        .map_err(io::Error::other)?;
    bridge::start();
    let _ = FILES.set((directory.to_owned(), files));
    std::thread::Builder::new()
        .name("logs".into())
        .spawn(look_after)
        .map(drop)
}

/// Writes late what could not be written at once, and tells when that begins and ends.
fn look_after() {
    let mut was_lacking = false;
    loop {
        let lacking = lacking();
        match &lacking {
            Some(text) if !was_lacking => tracing::error!("{text}"),
            None if was_lacking => tracing::info!("every log is written again"),
            _ => {}
        }
        was_lacking = lacking.is_some();
        std::thread::sleep(LOOK);
        let files = FILES.get().into_iter().flat_map(|(_, files)| files);
        files.for_each(|file| file.look());
    }
}

/// A file that the subscriber and [`look_after`] have.
struct Shared(Arc<LogFile>);

impl<'a> MakeWriter<'a> for Shared {
    type Writer = log_file::Line<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        self.0.make_writer()
    }
}

fn stderr() -> Box<dyn Layer<Subscribers> + Send + Sync> {
    let layer = tracing_subscriber::fmt::layer()
        .compact()
        .with_ansi(false)
        .with_writer(Escaping(io::stderr));
    let wanted = DynFilterFn::new(|meta, _| is_on(meta));
    // The journal stamps lines itself.
    match journal::is_stderr() {
        true => layer.without_time().with_filter(wanted).boxed(),
        false => layer.with_filter(wanted).boxed(),
    }
}

/// Why lines stand on standard error alone, if some do.
pub(crate) fn lacking() -> Option<String> {
    let (folder, files) = FILES.get()?;
    let problems: Vec<String> = files.iter().filter_map(|file| file.problem()).collect();
    let (count, first, folder) = (problems.len(), problems.first()?, folder.display());
    let are = if count == 1 { "is" } else { "are" };
    let whole = files.len();
    Some(format!(
        "{count} of {whole} logs {are} not written in {folder}: {first}"
    ))
}

fn open(directory: &Path, part: Part, config: &LogConfig) -> io::Result<Capped> {
    let rotation = match config.rotate.as_str() {
        "hourly" => Rotation::HOURLY,
        "never" => Rotation::NEVER,
        _ => Rotation::DAILY,
    };
    let builder = RollingFileAppender::builder()
        .filename_prefix(part.file())
        .filename_suffix("log");
    let builder = match rotation {
        // Without a date the file itself has the stable name.
        Rotation::NEVER => builder,
        _ => builder
            .max_log_files(config.keep)
            .latest_symlink(format!("{}.log", part.file())),
    };
    let appender = builder
        .rotation(rotation)
        .build(directory)
        .map_err(io::Error::other)?;
    Ok(Capped::new(appender, (directory, part.file()), config.size))
}

/// Changes the level of the agent's own lines at once.
pub(crate) fn set_level(level: log::LevelFilter) {
    LEVEL.store(level as usize, Ordering::Relaxed);
}

/// Foreign crates speak only when something is wrong; records of the kernel programs have their
/// own level (`log.datapath`) and pass whatever they are.
fn is_on(meta: &Metadata<'_>) -> bool {
    let own = meta.target().starts_with("harbor_ctl")
        || matches!(meta.target(), TARGET_PROXY | TARGET_GATEWAY);
    if meta.target() == bridge::TARGET_DATAPATH {
        return true;
    }
    let level = match LEVEL.load(Ordering::Relaxed) {
        0 => LevelFilter::OFF,
        1 => LevelFilter::ERROR,
        2 => LevelFilter::WARN,
        3 => LevelFilter::INFO,
        4 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    *meta.level()
        <= if own {
            level
        } else {
            level.min(LevelFilter::WARN)
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_module_has_its_file() {
        assert_eq!(Part::of("harbor_ctl::registry::embedded"), Part::Redis);
        assert_eq!(Part::of("harbor_ctl::agent"), Part::Node);
        assert_eq!(Part::of("harbor_ctl::control::server"), Part::Node);
        assert_eq!(Part::of(TARGET_PROXY), Part::ProxyConnector);
        assert_eq!(Part::of(TARGET_GATEWAY), Part::Gateway);
        assert_eq!(Part::of("datapath"), Part::Node);
    }
}
