//! Who may ask what by the socket: root and the agent's own user may everything, and so may one group;
//! another may look.

use std::sync::Arc;

use axum::{
    extract::{ConnectInfo, Request, State},
    http::Method,
    middleware::Next,
    response::Response,
};
use nix::unistd::{Gid, Group, geteuid};

use super::error::failure;
use crate::{
    discovery::Sender,
    http::{Peer, Pulse, Strangers},
    model::{Refusal, RefusalKind},
};

/// The groups of the control socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Groups {
    /// May everything.
    pub(crate) admin: Option<Gid>,
    /// May look.
    pub(crate) read: Option<Gid>,
}

/// What somebody may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    All,
    Look,
    Nothing,
}

impl Groups {
    /// Finds the groups by name or number; one that the system does not have lets nobody in.
    pub(crate) fn find(admin: &str, read: &str) -> Self {
        Self {
            admin: find(admin),
            read: find(read),
        }
    }

    fn right(self, uid: u32, groups: &[u32]) -> Right {
        let is_in = |group: Option<Gid>| group.is_some_and(|gid| groups.contains(&gid.as_raw()));
        if uid == 0 || uid == geteuid().as_raw() || is_in(self.admin) {
            Right::All
        } else if is_in(self.read) {
            Right::Look
        } else {
            Right::Nothing
        }
    }
}

fn find(group: &str) -> Option<Gid> {
    if group.is_empty() {
        return None;
    }
    if let Ok(number) = group.parse() {
        return Some(Gid::from_raw(number));
    }
    let found = Group::from_name(group).ok().flatten();
    if found.is_none() {
        tracing::info!(group, "no such group: it lets nobody in");
    }
    found.map(|group| group.gid)
}

/// Lets in whom the groups say, each to what it may.
pub(super) async fn admit(
    State(doorkeeper): State<Arc<(Groups, Strangers)>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let (groups, strangers) = &*doorkeeper;
    let right = match &peer {
        Peer::Process {
            uid, groups: own, ..
        } => groups.right(*uid, own),
        Peer::Network { .. } => Right::Nothing,
    };
    if let Some(pulse) = request.extensions().get::<Pulse>()
        && right != Right::Nothing
    {
        pulse.trust();
    }
    let is_look = matches!(*request.method(), Method::GET | Method::HEAD);
    let text = match right {
        Right::All => {
            request.extensions_mut().insert(Sender::Admin);
            return next.run(request).await;
        }
        Right::Look if is_look => return next.run(request).await,
        Right::Look => "your group may look, and change nothing",
        Right::Nothing => "neither you nor a group of yours may ask this agent",
    };
    strangers
        .refuse(&peer, (request.method(), request.uri()), text)
        .await;
    let fix = "ask as root, or as a member of control.admin_group";
    failure(Refusal::new(RefusalKind::Denied, text).fix(fix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_follow_from_user_and_groups() {
        let groups = Groups {
            admin: Some(Gid::from_raw(5)),
            read: Some(Gid::from_raw(6)),
        };
        assert_eq!(groups.right(0, &[]), Right::All);
        assert_eq!(groups.right(1_000, &[4, 5]), Right::All);
        assert_eq!(groups.right(1_000, &[6]), Right::Look);
        assert_eq!(groups.right(1_000, &[0, 7]), Right::Nothing);
        assert_eq!(Groups::default().right(1_000, &[0]), Right::Nothing);
        assert_eq!(Groups::find("", "6").read, groups.read);
        assert_eq!(Groups::find("no-such-group-anywhere", "").admin, None);
    }
}
