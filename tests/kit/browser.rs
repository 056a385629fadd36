//! A real browser without a window, driven by the DevTools protocol over two pipes: nothing listens, and
//! it ends when its pipes are closed.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    path::Path,
    time::{Duration, Instant},
};

use nix::{
    fcntl::OFlag,
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::pipe2,
};
use serde_json::{Value, json};

use crate::{Netns, Process, patient};

/// How long an answer may take; a page that is drawn by two busy processors takes seconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long to leave a page alone between two looks at it.
const PAUSE: Duration = Duration::from_millis(50);

/// One of a browser's pages.
#[derive(Clone, Debug)]
pub struct Tab(String);

/// A browser, and one of its pages.
#[derive(Debug)]
pub struct Browser {
    commands: File,
    answers: File,
    unread: Vec<u8>,
    number: u64,
    session: String,
    /// What the page has told of itself.
    events: Vec<Value>,
    process: Process,
}

impl Browser {
    /// Starts it on a host, with an empty page.
    #[track_caller]
    pub fn start(host: &Netns, folder: &Path) -> Self {
        let (reads, commands) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let (answers, writes) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let profile = folder.join("browser");
        let mut command = host.command("chromium");
        command
            .args(["--headless=new", "--no-sandbox", "--remote-debugging-pipe"])
            .args(["--disable-gpu", "--no-first-run", "--disable-dev-shm-usage"])
            .args(["--disable-background-networking", "--disable-extensions"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg("about:blank")
            .env("HOME", folder);
        hand_over(&mut command, reads, writes);
        let process = Process::start(&mut command, folder, "browser");
        // The browser has its own copies of its ends.
        drop(command);
        let mut browser = Self {
            commands: commands.into(),
            answers: answers.into(),
            unread: Vec::new(),
            number: 0,
            session: String::new(),
            events: Vec::new(),
            process,
        };
        browser.new_tab();
        browser
    }

    /// Opens an empty page beside those that there are, and turns to it; answers which one it left.
    #[track_caller]
    pub fn new_tab(&mut self) -> Tab {
        // Targets are the browser's own affair.
        let left = Tab(std::mem::take(&mut self.session));
        let page = self.call("Target.createTarget", &json!({"url": "about:blank"}));
        let target = json!({"targetId": page["targetId"], "flatten": true});
        let attached = self.call("Target.attachToTarget", &target);
        let session = attached["sessionId"].as_str().unwrap();
        self.turn_to(&Tab(session.to_owned()));
        for domain in ["Page", "Runtime", "Network", "Log"] {
            self.call(&format!("{domain}.enable"), &json!({}));
        }
        // A page that nobody sees keeps still.
        self.call("Page.bringToFront", &json!({}));
        left
    }

    /// From now on everything is about this page; it stays behind others if it is.
    pub fn turn_to(&mut self, tab: &Tab) {
        self.session.clone_from(&tab.0);
    }

    /// Carries out a command of the protocol.
    #[track_caller]
    pub fn call(&mut self, method: &str, parameters: &Value) -> Value {
        let answer = self.try_call(method, parameters);
        answer.unwrap_or_else(|wrong| panic!("{method}: {wrong}"))
    }

    /// The same; a page that goes meanwhile answers with an error.
    #[track_caller]
    fn try_call(&mut self, method: &str, parameters: &Value) -> Result<Value, Value> {
        self.number += 1;
        let mut command = json!({"id": self.number, "method": method, "params": parameters});
        if !self.session.is_empty() {
            command["sessionId"] = self.session.as_str().into();
        }
        let mut text = command.to_string().into_bytes();
        text.push(0);
        self.commands.write_all(&text).unwrap();
        let begun = Instant::now();
        loop {
            // Other pages may talk for ever.
            let waited = begun.elapsed();
            assert!(waited < patient(PATIENCE), "{method} has no answer");
            let message = self.message();
            if message["id"] == self.number {
                return match &message["error"] {
                    Value::Null => Ok(message["result"].clone()),
                    wrong => Err(wrong.clone()),
                };
            }
            self.events.push(message);
        }
    }

    /// The next message: each ends with a zero.
    #[track_caller]
    fn message(&mut self) -> Value {
        loop {
            if let Some(end) = self.unread.iter().position(|octet| *octet == 0) {
                let rest = self.unread.split_off(end + 1);
                let whole = std::mem::replace(&mut self.unread, rest);
                return serde_json::from_slice(&whole[..end]).unwrap();
            }
            let mut ready = [PollFd::new(self.answers.as_fd(), PollFlags::POLLIN)];
            let limit = PollTimeout::try_from(patient(PATIENCE)).unwrap();
            assert_eq!(poll(&mut ready, limit).unwrap(), 1, "the browser is silent");
            let mut chunk = [0; 65_536];
            let length = self.answers.read(&mut chunk).unwrap();
            assert!(length > 0, "the browser has ended");
            self.unread.extend(&chunk[..length]);
        }
    }

    /// What an expression of JavaScript comes to on the page.
    #[track_caller]
    pub fn value(&mut self, expression: &str) -> Value {
        let parameters = json!({
            "expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true
        });
        let answer = self.call("Runtime.evaluate", &parameters);
        let wrong = &answer["exceptionDetails"];
        assert!(wrong.is_null(), "{expression}: {wrong}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true; a page that is about to go has no values.
    #[track_caller]
    pub fn until(&mut self, expression: &str) {
        let begun = Instant::now();
        loop {
            let parameters = json!({"expression": expression, "returnByValue": true});
            let answer = self.try_call("Runtime.evaluate", &parameters);
            if answer.is_ok_and(|answer| answer["result"]["value"] == true) {
                return;
            }
            if begun.elapsed() > patient(PATIENCE) {
                let page = "location.href + '\\n' + document.body.innerText";
                panic!("never {expression}: {}", self.value(page));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Opens an address, and waits until the page is there.
    #[track_caller]
    pub fn open(&mut self, address: &str) {
        self.value("window.isLeft = true");
        let answer = self.call("Page.navigate", &json!({"url": address}));
        assert!(answer["errorText"].is_null(), "{address}: {answer}");
        self.until("!window.isLeft && document.readyState === 'complete'");
    }

    /// Clicks where an element is, as a mouse does, and waits for the page that this leads to.
    #[track_caller]
    pub fn follow(&mut self, selector: &str) {
        self.value("window.isLeft = true");
        self.click(selector);
        self.until("!window.isLeft && document.readyState === 'complete'");
    }

    /// Clicks where an element is, as a mouse does.
    #[track_caller]
    pub fn click(&mut self, selector: &str) {
        let name = Value::from(selector);
        let place = self.value(&format!(
            "(() => {{ const e = document.querySelector({name}); \
             e.scrollIntoView({{block: 'center'}}); const b = e.getBoundingClientRect(); \
             return [b.x + b.width / 2, b.y + b.height / 2]; }})()"
        ));
        for kind in ["mouseMoved", "mousePressed", "mouseReleased"] {
            let event = json!({
                "type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1
            });
            self.call("Input.dispatchMouseEvent", &event);
        }
    }

    /// Writes into a field in place of what is there.
    #[track_caller]
    pub fn fill(&mut self, selector: &str, text: &str) {
        let name = Value::from(selector);
        self.value(&format!("document.querySelector({name}).select()"));
        self.write(text);
    }

    /// Types text where the focus is.
    #[track_caller]
    pub fn write(&mut self, text: &str) {
        self.call("Input.insertText", &json!({"text": text}));
    }

    /// Presses Tab or Enter.
    #[track_caller]
    pub fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            other => panic!("no key {other}"),
        };
        self.stroke(key, code, text);
    }

    /// Types text where the focus is, each letter with its own key.
    #[track_caller]
    pub fn strike(&mut self, text: &str) {
        for letter in text.chars() {
            // A key that makes no letter or digit has another number than what it makes.
            let code = match letter.is_ascii_alphanumeric() {
                true => u32::from(letter.to_ascii_uppercase()),
                false => 0,
            };
            let letter = letter.to_string();
            self.stroke(&letter, code, &letter);
        }
    }

    /// A key down and up.
    #[track_caller]
    fn stroke(&mut self, key: &str, code: u32, text: &str) {
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({"type": kind, "key": key, "windowsVirtualKeyCode": code});
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = text.into();
            }
            self.call("Input.dispatchKeyEvent", &event);
        }
    }

    /// How large the page is shown, and in which theme.
    #[track_caller]
    pub fn show(&mut self, (width, height): (u32, u32), theme: &str) {
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false
        });
        self.call("Emulation.setDeviceMetricsOverride", &size);
        let theme = json!({"features": [{"name": "prefers-color-scheme", "value": theme}]});
        self.call("Emulation.setEmulatedMedia", &theme);
    }

    /// A picture of what is shown, as PNG in base64.
    #[track_caller]
    pub fn picture(&mut self) -> String {
        let answer = self.call("Page.captureScreenshot", &json!({"format": "png"}));
        answer["data"].as_str().unwrap().to_owned()
    }

    /// Errors that the pages have met so far, and addresses elsewhere that they asked.
    #[track_caller]
    pub fn complaints(&mut self, origin: &str) -> Vec<String> {
        // What was told before is here with the answer.
        self.value("0");
        let wrong = |event: &&Value| {
            let told = &event["params"];
            match event["method"].as_str().unwrap_or_default() {
                "Runtime.exceptionThrown" => true,
                "Runtime.consoleAPICalled" => told["type"] == "error",
                "Log.entryAdded" => told["entry"]["level"] == "error",
                "Network.requestWillBeSent" => {
                    let address = told["request"]["url"].as_str().unwrap_or_default();
                    !address.starts_with(origin) && !address.starts_with("data:")
                }
                _ => false,
            }
        };
        self.events
            .iter()
            .filter(wrong)
            .map(Value::to_string)
            .collect()
    }
}

impl Drop for Browser {
    /// Has it end by itself, with all its processes.
    fn drop(&mut self) {
        let _ = self
            .commands
            .write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        let begun = Instant::now();
        while self.process.is_running() && begun.elapsed() < patient(PATIENCE) / 4 {
            std::thread::sleep(PAUSE);
        }
    }
}

/// Has the browser find its ends of the pipes where it looks for them: 3 to read, 4 to write.
fn hand_over(command: &mut std::process::Command, reads: OwnedFd, writes: OwnedFd) {
    let place = move || {
        for (from, to) in [(reads.as_raw_fd(), 103), (writes.as_raw_fd(), 104)] {
            // SAFETY: plain system calls between fork and exec.
            if unsafe { libc::dup2(from, to) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        for (from, to) in [(103, 3), (104, 4)] {
            // SAFETY: as above; the first are out of the way of the second.
            if unsafe { libc::dup2(from, to) } < 0 || unsafe { libc::close(from) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: nothing is allocated and no lock taken between fork and exec.
    unsafe { command.pre_exec(place) };
}
