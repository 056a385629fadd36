//! Permission for user space to copy the shared structures to and from maps.

use crate::{
    addr::{Address, Ip, Ipv4, Ipv6},
    adoption::Adoption,
    backend::{Backend, BackendState, Endpoint, Sources},
    client::ClientKey,
    control::Control,
    explain::Explanation,
    flow::{Expired, Flow, FlowKey, Hand, RingSlot},
    flow_layout::FlowLayout,
    fragment::{FragmentKey, FragmentWay},
    frontend::{AclNetwork, Affinity, AffinityKey, BackendSet, Frontend, FrontendState, TurnTable},
    maps::Meta,
    route::{Interface, Neighbour, NextHop, Route, RouteKey},
    share::Share,
    stats::{FrontendCounters, Totals},
    trace::Trace,
};

macro_rules! pod {
    ($($type:ty),+ $(,)?) => {$(
        // SAFETY: repr(C), only integers and arrays of them, no implicit padding: each type's size
        // is asserted to be the sum of its fields, so every byte is initialised and any value valid.
        unsafe impl aya::Pod for $type {}
    )+};
}

pod!(
    AclNetwork,
    Address,
    Adoption,
    Affinity,
    AffinityKey,
    Backend,
    BackendSet,
    BackendState,
    ClientKey,
    Control,
    Endpoint,
    Expired,
    Explanation,
    Flow<Ipv4>,
    Flow<Ipv6>,
    FlowLayout,
    FlowKey<Ipv4>,
    FlowKey<Ipv6>,
    FragmentKey,
    FragmentWay,
    Frontend,
    FrontendCounters,
    FrontendState,
    Hand,
    Interface,
    Ip,
    Ipv4,
    Ipv6,
    Meta,
    Neighbour,
    RouteKey,
    NextHop,
    RingSlot<Ipv4>,
    RingSlot<Ipv6>,
    Route,
    Share,
    Sources,
    Totals,
    Trace,
    TurnTable,
);
