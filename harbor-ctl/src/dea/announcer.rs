//! Says to Harbor what is so, keeps the lease, and says everything again when Harbor believes
//! something else.

use std::{
    collections::BTreeMap,
    net::{IpAddr, ToSocketAddrs as _, UdpSocket},
    time::{Duration, Instant},
};

use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    Say,
    way::{Way, epoch_now},
};
use crate::{
    api::Heard,
    control::ClientError,
    discovery::{Entry, Instance, Message, Says, digest},
    model::{Readiness, Refusal, Spoken},
};

/// Until Harbor has said how often it wants to hear.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// After something was not heard.
const RETRY: Duration = Duration::from_secs(1);
/// How long the last words may take.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// A service and an instance.
type Name = (String, String);

/// One announcer and what it believes.
pub(super) struct Announcer {
    way: Way,
    dea: String,
    spoken: Spoken,
    started: Instant,
    /// It was heard: its epoch is one that counts.
    has_begun: bool,
    /// What was said last.
    told: BTreeMap<Name, Instance>,
    /// What Harbor did not take over, until something else is said of it.
    refused: BTreeMap<Name, Instance>,
    /// Something was not heard: all is to be said again.
    is_behind: bool,
    /// A newer announcer has this one's name.
    is_fenced: bool,
    heartbeat: Duration,
    say: Say,
    /// The trouble that was told last.
    trouble: Option<String>,
}

impl Announcer {
    pub(super) fn new(way: Way, dea: String, say: Say) -> Self {
        Self {
            way,
            dea,
            spoken: Spoken {
                epoch: epoch_now(),
                seq: 0,
            },
            started: Instant::now(),
            has_begun: false,
            told: BTreeMap::new(),
            refused: BTreeMap::new(),
            is_behind: false,
            is_fenced: false,
            heartbeat: HEARTBEAT,
            say,
            trouble: None,
        }
    }

    /// Says what is wanted, until nobody wants anything; then withdraws everything.
    pub(super) async fn run(mut self, mut wanted: watch::Receiver<Vec<Instance>>) {
        loop {
            let pause = match self.is_behind {
                true => RETRY,
                false => self.heartbeat,
            };
            let is_wanted = tokio::select! {
                changed = wanted.changed() => changed.is_ok(),
                () = sleep(pause) => true,
            };
            if !is_wanted {
                let _ = timeout(LAST_WORDS, self.withdraw()).await;
                return;
            }
            let now = wanted.borrow_and_update().clone();
            self.turn(&now).await;
        }
    }

    async fn turn(&mut self, wanted: &[Instance]) {
        if self.is_fenced {
            return;
        }
        if self.is_behind {
            return self.tell_all(wanted).await;
        }
        let changes = self.changes(wanted);
        if changes.is_empty() {
            return self.beat(wanted).await;
        }
        for instance in changes {
            self.tell(instance).await;
        }
        if self.is_behind {
            self.tell_all(wanted).await;
        }
    }

    /// What differs from what was said last; what is no longer wanted is down.
    fn changes(&self, wanted: &[Instance]) -> Vec<Instance> {
        let known = |instance: &Instance| {
            let name = name(instance);
            self.told.get(&name).or_else(|| self.refused.get(&name)) == Some(instance)
        };
        let mut changes: Vec<Instance> = wanted.iter().filter(|i| !known(i)).cloned().collect();
        let is_wanted = |told: &Name| wanted.iter().any(|instance| name(instance) == *told);
        for (_, gone) in self.told.iter().filter(|(told, _)| !is_wanted(told)) {
            changes.push(Instance {
                state: Readiness::Down,
                ..gone.clone()
            });
        }
        changes
    }

    async fn tell(&mut self, instance: Instance) {
        let name = name(&instance);
        match self.send(Says::One(Box::new(instance.clone()))).await {
            Ok(_) if instance.state == Readiness::Down => {
                self.told.remove(&name);
            }
            Ok(_) => {
                self.refused.remove(&name);
                self.told.insert(name, instance);
            }
            Err(ClientError::Refused(refusal)) if is_final(&refusal) => {
                self.refuse(instance, &refusal.to_string());
            }
            Err(_) => self.is_behind = true,
        }
    }

    async fn tell_all(&mut self, wanted: &[Instance]) {
        let Ok(heard) = self.send(Says::All(wanted.to_vec())).await else {
            return;
        };
        self.is_behind = false;
        self.told = wanted.iter().map(|i| (name(i), i.clone())).collect();
        self.refused.clear();
        for refused in heard.refused {
            let name = (refused.service, refused.instance);
            if let Some(instance) = self.told.remove(&name) {
                self.refuse(instance, &refused.error.description);
            }
        }
    }

    fn refuse(&mut self, instance: Instance, why: &str) {
        (self.say)(&format!("{} is not announced: {why}", instance.service));
        self.told.remove(&name(&instance));
        self.refused.insert(name(&instance), instance);
    }

    async fn beat(&mut self, wanted: &[Instance]) {
        if !self.way.answers() {
            // Nobody can ask for all of it: it is said each time.
            return self.tell_all(wanted).await;
        }
        let entries = self.told.values().map(Entry::from);
        let digest = digest(entries);
        match self.send(Says::Alive { digest }).await {
            Ok(heard) if heard.announce => self.tell_all(wanted).await,
            // What was refused may be taken over by now.
            Ok(_) if !self.refused.is_empty() => self.tell_all(wanted).await,
            Ok(_) | Err(_) => {}
        }
    }

    async fn withdraw(&mut self) {
        while !self.is_fenced && self.send(Says::All(Vec::new())).await.is_err() {
            sleep(RETRY).await;
        }
    }

    async fn send(&mut self, says: Says) -> Result<Heard, ClientError> {
        self.spoken.seq += 1;
        let mut message = Message {
            dea: self.dea.clone(),
            spoken: self.spoken,
            says,
        };
        let heard = match self.has_begun {
            true => self.way.say(&message).await,
            false => self.way.begin(&mut message, self.started.elapsed()).await,
        };
        match &heard {
            Ok(heard) => {
                self.spoken.epoch = message.spoken.epoch;
                self.has_begun = true;
                self.heartbeat = Duration::from_secs(heard.heartbeat_s.clamp(1, 3_600));
                if self.trouble.take().is_some() {
                    (self.say)("Harbor hears again");
                }
            }
            Err(error) => self.tell_trouble(error),
        }
        heard
    }

    fn tell_trouble(&mut self, error: &ClientError) {
        if let ClientError::Refused(refusal) = error {
            self.is_fenced = refusal.field.as_deref() == Some("epoch");
            if !self.is_fenced && is_final(refusal) {
                return;
            }
        }
        // What was not heard may have been heard after all: all of it is said again.
        self.is_behind = true;
        let text = error.to_string();
        if self.trouble.as_ref() != Some(&text) {
            (self.say)(&format!("Harbor does not hear: {text}"));
        }
        self.trouble = Some(text);
    }
}

impl From<&Instance> for Entry {
    fn from(instance: &Instance) -> Self {
        Self {
            service: instance.service.clone(),
            instance: instance.instance.clone(),
            address: instance.address(),
            state: instance.state,
        }
    }
}

/// Whether asking again would be answered the same.
fn is_final(refusal: &Refusal) -> bool {
    use crate::model::RefusalKind as Kind;
    !matches!(
        refusal.kind,
        Kind::NotReady | Kind::Timeout | Kind::Failed | Kind::Conflict | Kind::Denied
    )
}

fn name(instance: &Instance) -> Name {
    (instance.service.clone(), instance.instance.clone())
}

/// The address of this host towards another one.
pub(crate) fn local_address(host: &str, port: u16) -> std::io::Result<IpAddr> {
    let mut last = std::io::Error::from(std::io::ErrorKind::NotFound);
    for there in (host, port).to_socket_addrs()? {
        let any: IpAddr = match there {
            std::net::SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
            std::net::SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        let tried = UdpSocket::bind((any, 0)).and_then(|socket| {
            socket.connect(there)?;
            socket.local_addr()
        });
        match tried {
            Ok(local) => return Ok(local.ip()),
            Err(error) => last = error,
        }
    }
    Err(last)
}
