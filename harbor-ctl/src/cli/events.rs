//! `harbor-ctl events`: prints past events and follows new ones.

use std::time::Duration;

use clap::Args;

use super::{
    failure::{Exit, Failure},
    globals::Format,
    output::{Row, print},
    session::Session,
};
use crate::{
    api::List,
    control::segment,
    model::{Event, EventKind, PortRef, escaped, from_rfc3339, parse_period},
};

const EXAMPLES: &str = "\
The agent keeps the last 8,192 events, over restarts too. With -f and JSON each event is a line of its \
own. Ids rise, over restarts too; `gap` says that some before it are not kept any more. Without -n, -f \
begins with all that are kept. ACTOR is who has asked: user and process by the socket, token or \
certificate by TCP, user and originating identity of a platform.

Examples:
  harbor-ctl events -n 50 -f
  harbor-ctl events --since 10m --port web
  harbor-ctl events --kind port_allocated,port_released
  harbor-ctl events --audit --since 1d
  harbor-ctl events --since 2026-11-29T22:05:31+01:00
  harbor-ctl events --since 1843200000000007 -o json";

/// How long to wait before an agent that has ended is asked again.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct EventsNoun {
    /// Go on with what is to come; an agent that is restarted is waited for
    #[arg(short, long)]
    follow: bool,
    /// Only events after the one with this id, of this last period (10m, 1d), or from this moment on
    /// (2026-11-29T22:05:31+01:00)
    #[arg(long, value_name = "ID|PERIOD|TIME", value_parser = Since::parse)]
    since: Option<Since>,
    /// Only the last so many of them
    #[arg(short = 'n', long, value_name = "COUNT")]
    last: Option<usize>,
    /// Only those about this port: number, NUMBER/tcp, NUMBER/udp, name or id
    #[arg(long, value_name = "PORT")]
    port: Option<String>,
    /// Only those of these kinds, as KIND shows them
    #[arg(long, value_name = "KIND,...", value_delimiter = ',', value_parser = EventKind::parse)]
    kind: Vec<EventKind>,
    /// Only what somebody has asked for
    #[arg(long)]
    audit: bool,
}

/// From where on.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Since {
    Id(u64),
    Period(Duration),
    /// As it was typed.
    Moment(String),
}

impl Since {
    fn parse(text: &str) -> Result<Self, String> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        if from_rfc3339(text).is_some() {
            return Ok(Self::Moment(text.to_owned()));
        }
        let period = parse_period(text).map(Self::Period);
        period.map_err(|_| {
            "neither an event's id, nor a period as 30s, 10m or 1d, nor a time with its zone as \
             2026-11-29T22:05:31+01:00"
                .to_owned()
        })
    }
}

impl EventsNoun {
    /// The question for those after `last`, once one was read.
    fn path(&self, last: Option<u64>) -> String {
        let mut path = format!("/v1/events?follow={}", self.follow);
        let mut add = |key: &str, value: &str| path.push_str(&format!("&{key}={}", segment(value)));
        let since = match (last, &self.since) {
            (Some(last), _) => Some(last),
            (None, Some(Since::Id(id))) => Some(*id),
            (None, _) if self.last.is_some() => None,
            (None, _) => Some(0),
        };
        if let Some(since) = since {
            add("since", &since.to_string());
        }
        if let (Some(count), None) = (self.last, last) {
            add("last", &count.to_string());
        }
        match (&self.since, last) {
            (Some(Since::Period(period)), None) => add("within_s", &period.as_secs().to_string()),
            (Some(Since::Moment(text)), None) => add("from", text),
            _ => {}
        }
        if let Some(port) = &self.port {
            add("port", port);
        }
        if !self.kind.is_empty() {
            let names: Vec<&str> = self.kind.iter().map(|kind| kind.name()).collect();
            add("kind", &names.join(","));
        }
        if self.audit {
            add("audit", "true");
        }
        path
    }
}

pub(super) async fn run(session: &Session, noun: EventsNoun) -> Result<Exit, Failure> {
    if let Some(port) = &noun.port {
        PortRef::of_one(port)?;
    }
    if noun.follow {
        return follow(session, &noun).await;
    }
    let mut events = Vec::new();
    let take = |event| {
        events.push(event);
        Ok::<(), Failure>(())
    };
    session.client()?.events(&noun.path(None), take).await?;
    session.output.list(&List::of("EventList", events))?;
    Ok(Exit::Ok)
}

/// For ever: an agent that is away for a while is waited for, and nothing is told twice.
async fn follow(session: &Session, noun: &EventsNoun) -> Result<Exit, Failure> {
    let mut last = None;
    let mut is_away = false;
    let mut client = session.client()?;
    loop {
        let path = noun.path(last);
        let take = |event: Event| {
            last = Some(event.id);
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
            let widths = [17, 25, 18, 18, 20, 0];
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
    const HEADINGS: &'static [&'static str] = &["ID", "TIME", "KIND", "ABOUT", "ACTOR", "TEXT"];

    fn cells(&self) -> Vec<String> {
        let subject = &self.subject;
        let about = [&subject.name, &subject.dea, &subject.node, &subject.key];
        let about = about.into_iter().flatten().next().cloned();
        vec![
            self.id.to_string(),
            self.time.clone(),
            self.kind.name().to_owned(),
            about.unwrap_or_else(|| "-".to_owned()),
            match &self.actor {
                Some(actor) => actor.to_string(),
                None => "-".to_owned(),
            },
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_an_id_a_period_or_a_moment() {
        assert_eq!(Since::parse("7"), Ok(Since::Id(7)));
        let minutes = Since::Period(Duration::from_secs(600));
        assert_eq!(Since::parse("10m"), Ok(minutes));
        let moment = "2026-11-29T22:05:31+01:00";
        assert_eq!(Since::parse(moment), Ok(Since::Moment(moment.into())));
        for wrong in ["", "10 m", "yesterday", "-1"] {
            assert!(Since::parse(wrong).is_err(), "{wrong}");
        }
    }
}
