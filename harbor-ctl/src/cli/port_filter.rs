//! Which ports `ports list` shows, and in which order.

use std::cmp::Reverse;

use clap::{Args, ValueEnum};

use crate::{
    api::PortItem,
    model::{PortState, Protocol},
};

/// What is named must all be so of a port.
#[derive(Debug, Args)]
pub(super) struct PortFilter {
    /// Only those in these states
    #[arg(long, value_name = "STATE,...", value_delimiter = ',')]
    state: Vec<StateChoice>,
    /// Only those that serve this protocol
    #[arg(long)]
    protocol: Option<HalfChoice>,
    /// Only those with this in their names
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Only those that this node serves
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// What comes first: the smallest port or name, the most of anything else
    #[arg(long, value_name = "COLUMN")]
    sort: Option<Column>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum StateChoice {
    Up,
    Degraded,
    Down,
    Draining,
    Conflict,
    /// Another node serves it
    Unknown,
}

impl StateChoice {
    fn is(self, state: PortState) -> bool {
        state
            == match self {
                Self::Up => PortState::Up,
                Self::Degraded => PortState::Degraded,
                Self::Down => PortState::Down,
                Self::Draining => PortState::Draining,
                Self::Conflict => PortState::Conflict,
                Self::Unknown => PortState::Unknown,
            }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum HalfChoice {
    Tcp,
    Udp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Column {
    Port,
    Name,
    Flows,
    Rate,
    Age,
    /// Those that need somebody first
    State,
    /// Those that have a reason first, equal ones together
    Reason,
}

impl PortFilter {
    pub(super) fn apply(&self, ports: &mut Vec<PortItem>) {
        ports.retain(|port| self.is_meant(port));
        match self.sort {
            None => {}
            Some(Column::Port) => ports.sort_by_key(|port| port.port),
            Some(Column::Name) => ports.sort_by(|a, b| a.name.cmp(&b.name)),
            Some(Column::Flows) => ports.sort_by_key(|port| Reverse(port.flows)),
            Some(Column::Rate) => ports.sort_by_key(|port| Reverse(port.rate_bps)),
            Some(Column::Age) => ports.sort_by_key(|port| Reverse(port.age_s)),
            Some(Column::State) => ports.sort_by_key(|port| urgency(port.state)),
            Some(Column::Reason) => ports.sort_by(|a, b| {
                let key = |port: &PortItem| (port.reason.is_none(), port.reason.clone());
                key(a).cmp(&key(b))
            }),
        }
    }

    fn is_meant(&self, port: &PortItem) -> bool {
        let half = self.protocol.map(|half| match half {
            HalfChoice::Tcp => Protocol::Tcp,
            HalfChoice::Udp => Protocol::Udp,
        });
        let names = |text: &String| port.name.contains(text.as_str());
        (self.state.is_empty() || self.state.iter().any(|state| state.is(port.state)))
            && half.is_none_or(|half| port.protocols.contains(&half))
            && self.name.as_ref().is_none_or(names)
            && self.node.as_ref().is_none_or(|node| port.node == *node)
    }
}

fn urgency(state: PortState) -> u8 {
    match state {
        PortState::Conflict => 0,
        PortState::Down => 1,
        PortState::Degraded => 2,
        PortState::Unknown => 3,
        PortState::Draining => 4,
        PortState::Up => 5,
    }
}
