//! What draws on a terminal, driven by keys on one of 80 by 24: `top`, `trace` and `status --watch`.

use std::time::Duration;

use kit::{binary, eventually, finish, patient, traffic};

use crate::scene::Scene;

const SOON: Duration = Duration::from_secs(20);

/// A terminal with a command on it, which ends with this guard.
struct Screen<'a>(&'a Scene);

impl<'a> Screen<'a> {
    #[track_caller]
    fn open(scene: &'a Scene, words: &[&str]) -> Self {
        let screen = Self(scene);
        let program = binary("harbor-ctl").display().to_string();
        let config = scene.agent.config_file().display().to_string();
        let session = ["new-session", "-d", "-x", "80", "-y", "24"];
        let line = [&*program, "--config", &config];
        screen.tmux(&[&session[..], &line, words].concat()).ok();
        // What is on it stays when the command has ended.
        screen
            .tmux(&["set-option", "-g", "remain-on-exit", "on"])
            .ok();
        screen
    }

    /// By a socket that no other test has.
    fn tmux(&self, words: &[&str]) -> kit::Finished {
        let socket = self.0.lab.folder().join("tmux");
        let mut tmux = self.0.lab.node.command("tmux");
        tmux.env("TERM", "xterm")
            .arg("-f/dev/null")
            .arg("-S")
            .arg(socket);
        finish(tmux.args(words))
    }

    #[track_caller]
    fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]).ok();
    }

    fn text(&self) -> String {
        self.tmux(&["capture-pane", "-p"]).stdout
    }

    #[track_caller]
    fn shows(&self, words: &[&str]) {
        eventually(patient(SOON), || {
            let text = self.text();
            words.iter().all(|words| text.contains(words))
        });
    }

    /// The command has ended.
    #[track_caller]
    fn is_over(&self) {
        eventually(patient(SOON), || {
            let dead = self.tmux(&["display-message", "-p", "#{pane_dead}"]);
            dead.stdout == "1\n"
        });
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

#[test]
fn top_is_drawn_on_a_terminal_and_printed_once_for_scripts() {
    let scene = Scene::routed();
    let web = scene.port("web");
    let live = traffic::Live::open(&scene.lab.client, web, 5);
    let once = || scene.agent.ctl_json(&["top", "--once"]);
    eventually(patient(SOON), || once()["flows"] == 5);
    let report = once();
    assert_eq!(report["items"][0]["name"], "web");
    assert_eq!(report["items"][0]["backends_up"], 2);
    let piped = scene.agent.ctl(&["top"]);
    assert_eq!(piped.code, 2, "{}", piped.stderr);

    let screen = Screen::open(&scene, &["top"]);
    screen.shows(&["5 flows", "PORT  PROTO", "web", "q end"]);
    screen.press("Enter");
    let backend = scene.app(0).to_string();
    screen.shows(&["BACKEND OF", &backend, "CLIENT", "10.77.1.2"]);
    screen.press("Escape");
    screen.shows(&["PORT  PROTO"]);
    screen.press("q");
    screen.is_over();
    live.finish();
}

#[test]
fn packets_that_are_followed_stand_on_a_terminal_until_a_key_ends_it() {
    let scene = Scene::routed();
    let web = scene.port("web");
    let screen = Screen::open(&scene, &["trace", "-p", "web"]);
    let (public, backend) = (web.to_string(), scene.app(0).to_string());
    eventually(patient(SOON), || {
        assert_eq!(traffic::connect(&scene.lab.client, web, 2).errors.len(), 0);
        let text = screen.text();
        [&public, &backend]
            .iter()
            .all(|address| text.contains(*address))
    });
    screen.shows(&["forward"]);
    screen.press("C-c");
    screen.is_over();
    let status = || scene.agent.ctl(&["status"]).stdout;
    eventually(patient(SOON), || !status().contains("somebody traces"));
}

#[test]
fn a_status_that_is_watched_is_drawn_anew_on_a_terminal() {
    let scene = Scene::routed();
    let screen = Screen::open(&scene, &["status", "--watch"]);
    screen.shows(&["Agent     ok", "Ports     ok", "Overall   ok"]);
    scene.agent.create(&["lonely"]);
    screen.shows(&["Ports     degraded", "Overall   degraded"]);
    scene
        .agent
        .ctl(&["ports", "delete", "lonely", "--yes"])
        .ok();
    screen.shows(&["Overall   ok"]);
    screen.press("C-c");
    screen.is_over();
}
