//! The command line: one file a noun. Data on stdout, words on stderr, and the exit codes of the
//! manual.
//!
//! Every noun but `agent` is a client of the agent's control socket; `datapath` and `config` also
//! work without one.

mod agent;
mod arguments;
mod backends;
mod bindings;
mod complete;
mod config;
mod config_file;
mod datapath;
mod datapath_rows;
mod dea;
mod dea_target;
mod doctor;
mod events;
mod explain;
mod failure;
mod flows;
mod globals;
mod listing;
mod logs;
mod manual;
mod meant;
mod node;
mod output;
mod pcapng;
mod pool;
mod port_filter;
mod port_text;
mod ports;
mod progress;
mod session;
mod state;
mod stats;
mod status;
mod support;
mod table;
mod top;
mod trace;
mod version;
mod yaml;

use std::process::ExitCode;

use clap::Parser;

use agent::StartAgent;
use arguments::{Arguments, Noun};
use failure::{Exit, Failure};
use session::Session;

/// Parses, runs, and turns the outcome into an exit code.
pub(crate) fn run(start: StartAgent) -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    if words
        .next()
        .is_some_and(|first| first == complete::QUESTION)
    {
        let words = words.map(|word| word.to_string_lossy().into_owned());
        let _ = complete::answer(&words.collect::<Vec<_>>());
        return ExitCode::SUCCESS;
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    // The agent must survive a reader that goes away; a client ends quietly, as `cat` does.
    if !matches!(arguments.noun, Noun::Agent(_)) {
        end_quietly_on_broken_pipe();
    }
    let globals = arguments.globals;
    let outcome = match arguments.noun {
        Noun::Agent(noun) => agent::run(start, &globals, noun).map(u8::from),
        Noun::Doctor(noun) => doctor::run(&globals, &noun).map(u8::from),
        Noun::Completions { shell } => {
            complete::print(shell);
            Ok(Exit::Ok.into())
        }
        Noun::Manual(noun) => manual::run(&noun).map(u8::from),
        Noun::Version => version::run(&globals).map(u8::from),
        Noun::Ports { verb } => with_session(&globals, async |s| ports::run(s, verb).await),
        Noun::Backends { verb } => with_session(&globals, async |s| backends::run(s, verb).await),
        Noun::Bindings { verb } => with_session(&globals, async |s| bindings::run(s, verb).await),
        Noun::Flows { verb } => with_session(&globals, async |s| flows::run(s, verb).await),
        Noun::Status(noun) => with_session(&globals, async |s| status::run(s, noun).await),
        Noun::Logs(noun) => with_session(&globals, async |s| logs::run(s, noun).await),
        Noun::Support { verb } => support::run(&globals, verb).map(u8::from),
        Noun::Top(noun) => top::run(&globals, &noun).map(u8::from),
        Noun::Stats(noun) => with_session(&globals, async |s| stats::run(s, noun).await),
        Noun::Events(noun) => with_session(&globals, async |s| events::run(s, noun).await),
        Noun::Trace(noun) => with_session(&globals, async |s| trace::run(s, noun).await),
        Noun::Explain(noun) => with_session(&globals, async |s| explain::run(s, noun).await),
        Noun::Dea { verb } => with_session(&globals, async |s| dea::run(s, verb).await),
        Noun::Node { verb } => with_session(&globals, async |s| node::run(s, verb).await),
        Noun::Pool { verb } => with_session(&globals, async |s| pool::run(s, verb).await),
        Noun::State { verb } => with_session(&globals, async |s| state::run(s, verb).await),
        Noun::Datapath { verb } => with_session(&globals, async |s| datapath::run(s, verb).await),
        Noun::Config { verb } => with_session(&globals, async |s| config::run(s, verb).await),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            output::say(&failure.render(globals.output).to_string());
            ExitCode::from(u8::from(failure.exit()))
        }
    }
}

fn with_session<E: Into<u8>>(
    globals: &globals::Globals,
    work: impl AsyncFnOnce(&Session) -> Result<E, Failure>,
) -> Result<u8, Failure> {
    let session = Session::new(globals)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
    runtime.block_on(work(&session)).map(Into::into)
}

/// Help and version on stdout; anything else is a usage error, with what was typed made harmless.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        end_quietly_on_broken_pipe();
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    let fix = meant::meant(error, &words.collect::<Vec<_>>());
    // Whoever types `attach` does not mean the verb whose letters are nearest.
    let is_tip = |line: &&str| fix.is_some() && line.trim_start().starts_with("tip:");
    for line in error
        .render()
        .to_string()
        .lines()
        .filter(|line| !is_tip(line))
    {
        output::say(&format!("{}\n", crate::model::escaped(line)));
    }
    if let Some(fix) = fix {
        output::say(&format!("fix:   {fix}\n"));
    }
    ExitCode::from(u8::from(Exit::Usage))
}

fn end_quietly_on_broken_pipe() {
    use nix::sys::signal::{SigHandler, Signal, signal};
    // SAFETY: SIG_DFL installs no handler of ours, and no other thread runs yet.
    let _ = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) };
}
