//! `harbor-ctl top`: ports by what they carry now, and one port's backends and clients.
//!
//! [`sample`] asks and compares, [`view`] knows what is shown and which keys do what, [`draw`] paints it.
//! Only this file knows the terminal.

mod draw;
mod sample;
mod view;

use std::{
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use clap::Args;
use ratatui::crossterm::event::{self, Event, KeyEventKind};

use self::{sample::Sampler, view::View};
use super::{
    failure::{Exit, Failure},
    globals::Globals,
    session::Session,
};

const EXAMPLES: &str = "\
Keys: arrows choose a port, Enter goes into it, Esc goes back, s sorts by the next column, p pauses, q ends.

Examples:
  harbor-ctl top
  harbor-ctl top --once
  harbor-ctl top --once -o json";

/// From one look to the next.
const PERIOD: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TopNoun {
    /// Look for one second, print what was seen, and end
    #[arg(long)]
    once: bool,
}

pub(super) fn run(globals: &Globals, noun: &TopNoun) -> Result<Exit, Failure> {
    let session = Session::new(globals)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
    let mut sampler = Sampler::default();
    runtime.block_on(sampler.look(&session))?;
    if noun.once {
        std::thread::sleep(PERIOD);
        let report = runtime.block_on(sampler.look(&session))?;
        session.output.text(&sample::text(&report), &report)?;
        return Ok(Exit::Ok);
    }
    if !(std::io::stdout().is_terminal() && std::io::stdin().is_terminal()) {
        return Err(Failure::usage("there is no terminal to draw on").fix("harbor-ctl top --once"));
    }
    let lost = |error: std::io::Error| Failure::failed(format!("the terminal: {error}"));
    let mut terminal = ratatui::try_init().map_err(lost)?;
    let outcome = (|| {
        let mut view = View::default();
        loop {
            if !view.is_paused {
                view.take(runtime.block_on(sampler.look(&session)));
                if let Some(port) = view.inside() {
                    view.detail = Some(runtime.block_on(sample::detail(&session, port)));
                }
            }
            let next = Instant::now() + PERIOD;
            loop {
                terminal
                    .draw(|frame| draw::draw(frame, &view))
                    .map_err(lost)?;
                if !event::poll(next.saturating_duration_since(Instant::now())).map_err(lost)? {
                    break;
                }
                // Another size is drawn at once, as every key is answered at once.
                if let Event::Key(key) = event::read().map_err(lost)?
                    && key.kind == KeyEventKind::Press
                {
                    match view.press(key) {
                        view::Then::End => return Ok(Exit::Ok),
                        view::Then::Look => break,
                        view::Then::Draw => {}
                    }
                }
            }
        }
    })();
    ratatui::try_restore().map_err(lost)?;
    outcome
}
