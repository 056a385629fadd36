//! MQTT: a subscriber that waits, and a publisher.

use std::fs;

use kit::{Lab, Process, eventually, finish};

use super::{MINUTES, Server, addresses};
use crate::scene::FAMILIES;

const MESSAGES: &str = "500";

#[test]
fn mosquitto_hands_every_message_to_its_subscriber() {
    let lab = Lab::routed();
    let listeners = addresses(&lab).map(|own| format!("listener 1883 {own}\n"));
    let settings = "allow_anonymous true\nlog_dest none\nuser root\n\
                    max_queued_messages 0\n";
    let config = lab.folder().join("mosquitto.conf");
    fs::write(&config, format!("{}{settings}", listeners.concat())).unwrap();
    let mut command = lab.apps[0].command("mosquitto");
    command.arg("-c").arg(&config);
    let broker = Server::start(lab, "mqtt", &mut command);
    for family in FAMILIES {
        let to = broker.port(family, 1883);
        let (host, port) = (to.ip().to_string(), to.port().to_string());
        let publish = |topic: &str, count: &str| {
            let words = ["mosquitto_pub", "-h", "HOST", "-p", "PORT", "-q", "1", "-t"];
            let what = [topic, "-m", "hello", "--repeat", count];
            broker.client(to, &[&words[..], &what].concat())
        };
        eventually(MINUTES, || publish("nobody/listens", "1").code == 0);
        let topic = format!("harbor/{family:?}");
        let session = [
            "-h", &host, "-p", &port, "-q", "1", "-c", "-i", &topic, "-t", &topic,
        ];
        let subscribe = |more: &[&str]| {
            let mut command = broker.lab.client.command("mosquitto_sub");
            command.args(session).args(more);
            command
        };
        // Ends when the broker has confirmed: from here on it keeps what the subscriber misses.
        finish(&mut subscribe(&["-E"])).ok();
        let name = format!("subscriber-{family:?}");
        let mut command = subscribe(&["-C", MESSAGES]);
        let mut subscriber = Process::start(&mut command, broker.lab.folder(), &name);
        publish(&topic, MESSAGES).ok();
        assert_eq!(subscriber.wait(MINUTES), 0);
        let received = subscriber.printed();
        assert_eq!(
            received.lines().filter(|line| *line == "hello").count(),
            500
        );
    }
}
