//! One contract, every engine: the same scenarios through the programs in the kernel and through the
//! proxy, by the same code. What differs on purpose is said where it differs.

mod datagrams;
mod failover;
mod half_closed;
mod mode;
mod operate;
mod policies;
mod reach;
mod spoofed;
mod tcp;
mod udp;

use kit::{Config, Lab};

use crate::scene::Scene;

/// Who forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Tc,
    /// At XDP what it takes, and the rest at TC.
    Xdp,
    Proxy,
}

impl Engine {
    /// A scene on this lab whose agent forwards in this way.
    #[track_caller]
    pub(crate) fn on(self, lab: Lab, config: &Config) -> Scene {
        if self == Self::Xdp {
            lab.finish_frames();
        }
        let mut config = config.clone();
        let mode = ("HARBOR_DATAPATH__MODE".to_owned(), self.name().to_owned());
        config.variables.push(mode);
        Scene::on(lab, &config)
    }

    /// As the configuration and displays call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tc => "tc",
            Self::Xdp => "xdp",
            Self::Proxy => "proxy",
        }
    }

    /// The lines of a configuration that choose it.
    pub(crate) fn lines(self) -> &'static str {
        match self {
            Self::Tc => "[datapath]\nmode = \"tc\"\n",
            Self::Xdp => "[datapath]\nmode = \"xdp\"\n",
            Self::Proxy => "[datapath]\nmode = \"proxy\"\n",
        }
    }

    /// On a routed lab, with the default configuration.
    #[track_caller]
    pub(crate) fn routed(self) -> Scene {
        self.on(Lab::routed(), &Config::default())
    }

    /// On a bridged lab, with the default configuration.
    #[track_caller]
    pub(crate) fn bridged(self) -> Scene {
        self.on(Lab::bridged(), &Config::default())
    }
}

/// Makes a test of each scenario with each engine.
macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        mod tc {
            $(#[test] fn $name() { super::$name($crate::engines::Engine::Tc); })*
        }
        mod xdp {
            $(#[test] fn $name() { super::$name($crate::engines::Engine::Xdp); })*
        }
        mod proxy {
            $(#[test] fn $name() { super::$name($crate::engines::Engine::Proxy); })*
        }
    };
}
pub(crate) use scenarios;
