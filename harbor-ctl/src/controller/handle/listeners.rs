//! Settings of the agent's listeners, and where their problems are shown.

use std::path::PathBuf;

use super::Handle;
use crate::{
    config::{ConsoleConfig, ControlConfig, GatewayConfig, MetricsConfig},
    discovery::KnownHosts,
    http::{Names, TcpProblem},
    registry::Registry,
};

/// Below the state directory.
const SESSIONS: &str = "console.sessions";

impl<R: Registry> Handle<R> {
    /// What the TCP side of the control API is to be, and where its trouble is told.
    pub(crate) async fn control_listener(&self) -> (ControlConfig, TcpProblem) {
        let controller = self.lock().await;
        (
            controller.running.config.control.clone(),
            controller.tcp_problem.clone(),
        )
    }

    /// What the platform API is to be, and where its trouble is told.
    pub(crate) async fn gateway_listener(&self) -> (Option<GatewayConfig>, TcpProblem) {
        let controller = self.lock().await;
        let config = controller.running.config.gateway.clone();
        (config, controller.gateway_problem.clone())
    }

    /// What the listener of metrics is to be, and where its trouble is told.
    pub(crate) async fn metrics_listener(&self) -> (MetricsConfig, TcpProblem) {
        let controller = self.lock().await;
        let config = controller.running.config.metrics.clone();
        (config, controller.metrics_problem.clone())
    }

    /// What the console is to be, where it keeps who is signed in, and where its trouble is told.
    pub(crate) async fn console_listener(&self) -> (ConsoleConfig, PathBuf, TcpProblem) {
        let controller = self.lock().await;
        let config = &controller.running.config;
        let sessions = config.paths.state.join(SESSIONS);
        let problem = controller.console_problem.clone();
        (config.console.clone(), sessions, problem)
    }

    /// By what names this node may be asked, besides those given.
    pub(crate) async fn names(&self, more: &[String]) -> Names {
        let place = self.lock().await.place();
        let own = std::iter::once(place.hostname).chain(place.ext_hostname);
        Names::new(own.chain(more.iter().cloned()))
    }

    /// App hosts that have a file of their own.
    pub(crate) async fn known_app_hosts(&self) -> KnownHosts {
        self.lock().await.app_hosts_known.clone()
    }

    /// Shows why somebody who may use the control socket cannot, or that nobody is kept out.
    pub(crate) async fn show_socket_problem(&self, problem: Option<String>) {
        self.lock().await.socket_problem = problem;
    }
}
