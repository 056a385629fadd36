//! Runs `nft`, for no longer than an allocation may wait.

use std::{
    io::{ErrorKind, Read as _},
    process::{Command, Stdio},
    sync::{Once, mpsc},
    thread,
    time::Duration,
};

use serde_json::Value;

/// A ruleset of tens of thousands of rules takes less.
const PATIENCE: Duration = Duration::from_secs(3);
/// No ruleset is longer.
const LONGEST: u64 = 64 << 20;

/// The ruleset of this network namespace; `None` where it cannot be read, which is told once.
pub(super) fn ruleset() -> Option<Value> {
    static TOLD: Once = Once::new();
    match run() {
        Ok(ruleset) => ruleset,
        Err(reason) => {
            TOLD.call_once(|| {
                tracing::warn!("numbers that rules of nftables forward are not known: {reason}");
            });
            None
        }
    }
}

/// `Ok(None)`: there is no such program.
fn run() -> Result<Option<Value>, String> {
    let mut nft = Command::new("nft");
    nft.args(["-j", "list", "ruleset"]);
    nft.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = match nft.stderr(Stdio::null()).spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("nft cannot be run: {error}")),
    };
    let (sender, answer) = mpsc::channel();
    let output = child.stdout.take();
    thread::spawn(move || {
        let mut text = Vec::new();
        let read = output.map(|output| output.take(LONGEST).read_to_end(&mut text));
        // Nobody waits for it any longer when its time is up.
        let _ = sender.send((read, text));
    });
    let answered = answer.recv_timeout(PATIENCE);
    if answered.is_err() {
        // It may have ended just now.
        let _ = child.kill();
    }
    let ended = child.wait().map_err(|error| error.to_string())?;
    let (_, text) = answered.map_err(|_| format!("nft took longer than {PATIENCE:?}"))?;
    if !ended.success() {
        return Err(format!("nft ended with {ended}"));
    }
    let parsed = serde_json::from_slice(&text);
    parsed
        .map(Some)
        .map_err(|error| format!("nft printed no JSON: {error}"))
}
