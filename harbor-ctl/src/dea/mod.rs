//! The announcer for app hosts that have none: runs an instance and says how it is.
//!
//! An instance is announced once it listens, drains when it is told to end, and is withdrawn when it
//! has ended. What cannot be said now is said again until it is heard.

mod announcer;
mod app;
mod environment;
mod error;
mod way;

pub(crate) use error::DeaError;

use std::{ffi::OsString, net::IpAddr, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

use crate::{
    discovery::Instance,
    model::{Protocols, Readiness},
};
use announcer::Announcer;
pub(crate) use announcer::local_address;
use app::App;
pub(crate) use environment::Service;
use environment::variables;
pub(crate) use way::{Way, epoch_now};

/// Words for the operator.
pub(crate) type Say = fn(&str);

/// An instance to run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) services: Vec<Service>,
    /// Where Harbor reaches the instance.
    pub(crate) address: IpAddr,
    /// The name under which the announcer holds its lease.
    pub(crate) dea: String,
    pub(crate) instance: String,
    pub(crate) app: Option<String>,
    pub(crate) index: Option<u32>,
    pub(crate) weight: Option<u8>,
    pub(crate) command: Vec<OsString>,
    /// Between "drain" and the command's end.
    pub(crate) drain: Duration,
    /// Between TERM and KILL.
    pub(crate) patience: Duration,
}

/// Runs the instance to its end; answers its exit code.
pub(crate) async fn run(way: Way, mut plan: Plan, say: Say) -> Result<u8, DeaError> {
    environment::choose_ports(&mut plan.services)?;
    let mut ends = Ends::listen()?;
    let mut app = App::start(&plan.command, &variables(&plan.services))?;
    let (wanted, watched) = watch::channel(Vec::new());
    let announcer = Announcer::new(way, plan.dea.clone(), say);
    let announcing = tokio::spawn(announcer.run(watched));
    let mut look = tokio::time::interval(Duration::from_millis(200));
    let code = loop {
        tokio::select! {
            code = app.ended() => break code?,
            () = ends.next() => {
                let _ = wanted.send(instances(&plan, &app, Readiness::Draining));
                break end(&plan, &mut app, &mut ends).await?;
            }
            _ = look.tick() => {
                app.look(&plan.services);
                let now = instances(&plan, &app, Readiness::Up);
                wanted.send_if_modified(|said| {
                    let is_new = *said != now;
                    *said = now;
                    is_new
                });
            }
        }
    };
    // Dropped, it is the word to withdraw.
    drop(wanted);
    let _ = announcing.await;
    Ok(code)
}

/// Lets flows end, then the command.
async fn end(plan: &Plan, app: &mut App, ends: &mut Ends) -> Result<u8, DeaError> {
    tokio::select! {
        code = app.ended() => return Ok(code?),
        () = tokio::time::sleep(plan.drain) => {}
        // Told a second time: now.
        () = ends.next() => {}
    }
    app.terminate();
    tokio::select! {
        code = app.ended() => return Ok(code?),
        () = tokio::time::sleep(plan.patience) => {}
        () = ends.next() => {}
    }
    app.kill();
    Ok(app.ended().await?)
}

/// What is to be said of the services that the command listens for.
fn instances(plan: &Plan, app: &App, state: Readiness) -> Vec<Instance> {
    let listening = plan.services.iter().filter(|s| app.listens(s.port));
    let instance = |service: &Service| Instance {
        service: service.announced.clone(),
        instance: plan.instance.clone(),
        app: plan.app.clone(),
        index: plan.index,
        ip: plan.address,
        port: service.port,
        protocol: match service.protocols {
            Protocols::Both => None,
            one => one.each().first().copied(),
        },
        weight: plan.weight,
        state,
    };
    listening.map(instance).collect()
}

/// TERM and INT.
struct Ends {
    terminate: Signal,
    interrupt: Signal,
}

impl Ends {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
