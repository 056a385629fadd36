//! `harbor-ctl events`: what has happened, and what happens.

use std::time::Duration;

use clap::Args;

use super::{
    arguments::Format,
    failure::{Exit, Failure},
    output::{Row, print},
    session::Session,
};
use crate::{
    control::wire::List,
    model::{Event, EventKind, escaped},
};

const EXAMPLES: &str = "\
The agent keeps the last events in memory. With -f and JSON each event is a line of its own. Ids \
rise, over restarts too; `gap` says that some before it are not kept any more.

Examples:
  harbor-ctl events
  harbor-ctl events --since 1843200000000007
  harbor-ctl events -o json";

/// How long to wait before an agent that has ended is asked again.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct EventsNoun {
    /// Go on with what is to come; an agent that is restarted is waited for
    #[arg(short, long)]
    follow: bool,
    /// Only events after this one
    #[arg(long, value_name = "ID", default_value_t = 0)]
    since: u64,
}

pub(super) async fn run(session: &Session, noun: EventsNoun) -> Result<Exit, Failure> {
    if noun.follow {
        return follow(session, noun.since).await;
    }
    let mut events = Vec::new();
    let path = format!("/v1/events?follow=false&since={}", noun.since);
    let take = |event| {
        events.push(event);
        Ok::<(), Failure>(())
    };
    session.client()?.events(&path, take).await?;
    session.output.list(&List::of("EventList", events))?;
    Ok(Exit::Ok)
}

/// For ever: an agent that is away for a while is waited for, and nothing is told twice.
async fn follow(session: &Session, mut last: u64) -> Result<Exit, Failure> {
    let mut is_away = false;
    let mut client = session.client()?;
    loop {
        let path = format!("/v1/events?since={last}");
        let take = |event: Event| {
            last = event.id;
            is_away = false;
            print(&line(session, &event))
        };
        match client.events(&path, take).await {
            Ok(()) => {}
            Err(failure) if failure.is_unreachable() || is_away => {}
            Err(failure) => return Err(failure),
        }
        if !std::mem::replace(&mut is_away, true) {
            session.say("the agent has ended: waiting for it");
        }
        client = loop {
            tokio::time::sleep(AGAIN).await;
            match session.client() {
                Ok(client) => break client,
                Err(failure) if failure.is_unreachable() => {}
                Err(failure) => return Err(failure),
            }
        };
    }
}

/// An event as it is printed while it happens.
fn line(session: &Session, event: &Event) -> String {
    match session.globals.output {
        Format::Table | Format::Wide => {
            let cells = event.cells().into_iter();
            let widths = [17, 20, 18, 0];
            let padded = cells.zip(widths).map(|(cell, width)| {
                let cell = escaped(&cell).into_owned();
                format!("{cell:width$}")
            });
            padded.collect::<Vec<_>>().join("  ") + "\n"
        }
        Format::Name => event.name() + "\n",
        Format::Json | Format::Yaml => {
            // A structure of strings and numbers always serialises.
            serde_json::to_string(event).unwrap_or_default() + "\n"
        }
    }
}

impl Row for Event {
    const HEADINGS: &'static [&'static str] = &["ID", "KIND", "ABOUT", "TEXT"];

    fn cells(&self) -> Vec<String> {
        let subject = &self.subject;
        let about = [&subject.name, &subject.dea, &subject.node, &subject.key];
        let about = about.into_iter().flatten().next().cloned();
        vec![
            self.id.to_string(),
            self.kind.name().to_owned(),
            about.unwrap_or_else(|| "-".to_owned()),
            self.text.clone(),
        ]
    }

    fn name(&self) -> String {
        match self.kind {
            EventKind::Gap => format!("gap {}", self.id),
            kind => format!("{} {}", kind.name(), self.id),
        }
    }
}
