//! The command line's grammar. Names, flags and their meaning are a contract: add, never rename.

use clap::{Parser, Subcommand};

use super::{
    agent::AgentNoun, backends::BackendsVerb, bindings::BindingsVerb, complete::script::Shell,
    config::ConfigVerb, datapath::DatapathVerb, dea::DeaVerb, doctor::DoctorNoun,
    events::EventsNoun, explain::ExplainNoun, flows::FlowsVerb, globals::Globals, logs::LogsNoun,
    manual::ManualNoun, node::NodeVerb, pool::PoolVerb, ports::PortsVerb, state::StateVerb,
    stats::StatsNoun, status::StatusNoun, support::SupportVerb, top::TopNoun, trace::TraceNoun,
};

const EXIT_CODES: &str = "\
Exit codes: 0 ok, 1 failed, 2 usage, 3 agent unreachable, 4 not found, 5 conflict, 6 denied, \
7 degraded, 8 timeout.

A port is named by its number (35217), number and protocol (35217/udp), its service's name or id.

Examples:
  harbor-ctl ports create web --backend 10.0.0.5:8080
  harbor-ctl ports list
  harbor-ctl status";

/// Public TCP and UDP ports for applications, forwarded in the Linux kernel.
#[derive(Debug, Parser)]
#[command(name = "harbor-ctl", version, after_help = EXIT_CODES)]
#[command(propagate_version = false, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) noun: Noun,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Noun {
    /// Run the agent in the foreground (systemd does)
    Agent(AgentNoun),
    /// Create, list, show, change and delete public ports
    Ports {
        #[command(subcommand)]
        verb: PortsVerb,
    },
    /// Add, remove, drain and list the instances behind a port
    Backends {
        #[command(subcommand)]
        verb: BackendsVerb,
    },
    /// List and show what platforms' apps were told
    Bindings {
        #[command(subcommand)]
        verb: BindingsVerb,
    },
    /// Show the conversations between clients and backends
    Flows {
        #[command(subcommand)]
        verb: FlowsVerb,
    },
    /// Show every part of the agent, its state, and the fix
    Status(StatusNoun),
    /// Look at everything that Harbor assumes of this host, and say what to do
    Doctor(DoctorNoun),
    /// Show ports by what they carry now, as it changes
    Top(TopNoun),
    /// Show what became of packets, and why
    Stats(StatsNoun),
    /// Show what the agent has written to its logs, and follow it
    Logs(LogsNoun),
    /// Collect what somebody who helps needs to see
    Support {
        #[command(subcommand)]
        verb: SupportVerb,
    },
    /// Show what has happened to ports, backends and nodes, and follow what happens
    Events(EventsNoun),
    /// Follow packets: each with its verdict, while it happens
    Trace(TraceNoun),
    /// Show what would become of a packet, and why
    Explain(ExplainNoun),
    /// Run and announce instances on an app host
    Dea {
        #[command(subcommand)]
        verb: DeaVerb,
    },
    /// Attach this node to a registry that several share; list, drain and forget nodes
    Node {
        #[command(subcommand)]
        verb: NodeVerb,
    },
    /// Have several nodes serve the same ports, and addresses move between them
    Pool {
        #[command(subcommand)]
        verb: PoolVerb,
    },
    /// Export, import, compare and copy what the registry holds
    State {
        #[command(subcommand)]
        verb: StateVerb,
    },
    /// Inspect and remove what is in the kernel; works without an agent
    Datapath {
        #[command(subcommand)]
        verb: DatapathVerb,
    },
    /// Read and change the configuration
    Config {
        #[command(subcommand)]
        verb: ConfigVerb,
    },
    /// Print the completion script of a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the pages for man(1)
    #[command(hide = true)]
    Manual(ManualNoun),
    /// Print the version
    Version,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::globals::Format;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_flag_and_verb_is_documented() {
        fn walk(command: &clap::Command) {
            for argument in command.get_arguments().filter(|a| a.get_id() != "help") {
                let named = (command.get_name(), argument.get_id());
                assert!(argument.get_help().is_some(), "{named:?} has no help");
            }
            for sub in command.get_subcommands() {
                assert!(sub.get_about().is_some(), "{} has no help", sub.get_name());
                walk(sub);
            }
        }
        walk(&Arguments::command());
    }

    #[test]
    fn global_flags_stand_before_and_after_the_noun() {
        for words in [
            ["harbor-ctl", "-o", "json", "ports", "list"],
            ["harbor-ctl", "ports", "-o", "json", "list"],
            ["harbor-ctl", "ports", "list", "-o", "json"],
        ] {
            let arguments = Arguments::try_parse_from(words).unwrap();
            assert_eq!(arguments.globals.output, Format::Json);
        }
    }
}
