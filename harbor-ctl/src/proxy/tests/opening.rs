//! Backends that take their time, or never answer.

use super::*;
use crate::proxy::settings::ProxySettings;

/// A listener that answers no SYN while its queue is full; whoever is dropped makes room.
struct Mute {
    listener: TcpListener,
    address: SocketAddr,
    first: TcpStream,
}

impl Mute {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let first = TcpStream::connect(address).unwrap();
        let _ = TcpStream::connect_timeout(&address, Duration::from_millis(100));
        Self {
            listener,
            address,
            first,
        }
    }

    /// Takes whoever stands in its queue and whoever comes, and says its name.
    fn speak(self, name: u8) {
        thread::spawn(move || {
            let _first = self.first;
            while let Ok((mut client, _)) = self.listener.accept() {
                let _ = client.write_all(&[name]);
                thread::spawn(move || client.read_to_end(&mut Vec::new()));
            }
        });
    }
}

fn patient_proxy(service: Service, give_up: Duration) -> Proxy {
    let proxy = Proxy::start(ProxySettings {
        connect_timeout: Duration::from_millis(200),
        give_up,
        ..settings()
    })
    .unwrap();
    proxy.apply(vec![service.into()], AllDown::UseLast);
    proxy
}

#[test]
fn who_is_silent_is_passed_over_when_his_time_is_up() {
    let mute = Mute::new();
    let port = free_port();
    let web = service(port, Protocols::Tcp, &[mute.address, tcp_server(b'a')]);
    let proxy = patient_proxy(web, PATIENCE);
    for _ in 0..4 {
        assert_eq!(ask(port), b'a');
    }
    assert_eq!(sights(&proxy), [(mute.address, Err(Doubt::Silent))]);
    // The attempt that came too late is over.
    until("nobody waits for it", || proxy.backends(None)[0].flows == 0);
}

#[test]
fn the_only_backend_may_take_its_time() {
    let mute = Mute::new();
    let port = free_port();
    let proxy = patient_proxy(service(port, Protocols::Tcp, &[mute.address]), PATIENCE);
    let mut client = connect(port);
    let begun = Instant::now();
    until("its time is up", || {
        begun.elapsed() > Duration::from_millis(600)
    });
    assert_eq!(proxy.listed()[0].state, "opening");
    mute.speak(b'm');
    assert_eq!(name_of(&mut client).unwrap(), b'm');
    assert_eq!(sights(&proxy), [], "nobody else could have been asked");
}

#[test]
fn whoever_answers_first_gets_the_connection() {
    let (slow, silent) = (Mute::new(), Mute::new());
    let port = free_port();
    let web = service(port, Protocols::Tcp, &[slow.address, silent.address]);
    let proxy = patient_proxy(web, PATIENCE);
    let mut client = connect(port);
    let flows = || -> Vec<u64> { proxy.backends(None).iter().map(|b| b.flows).collect() };
    until("both are tried", || flows() == [1, 1]);
    let first = slow.address;
    slow.speak(b's');
    assert_eq!(name_of(&mut client).unwrap(), b's');
    assert_eq!(proxy.listed()[0].backend, first);
    assert_eq!(flows(), [1, 0], "the other attempt is over");
    client.write_all(b"still there").unwrap();
    drop((client, silent));
    until("all is over", || flows() == [0, 0]);
}

#[test]
fn who_is_answered_by_nobody_is_reset_in_the_end() {
    let (one, other) = (Mute::new(), Mute::new());
    let port = free_port();
    let web = service(port, Protocols::Tcp, &[one.address, other.address]);
    let proxy = patient_proxy(web, Duration::from_millis(700));
    assert!(is_turned_away(port));
    let silent = sights(&proxy).into_iter();
    let silent: Vec<SocketAddr> = silent.map(|(address, _)| address).collect();
    assert!(silent.contains(&one.address) && silent.contains(&other.address));
    assert!(
        proxy
            .backends(None)
            .iter()
            .all(|backend| backend.flows == 0)
    );
    assert_eq!(proxy.report().connections, 0);
}

#[test]
fn a_refusal_does_not_end_what_another_backend_may_still_answer() {
    let slow = Mute::new();
    let dead = SocketAddr::from(([127, 0, 0, 1], 1));
    let port = free_port();
    let web = service(port, Protocols::Tcp, &[slow.address, dead]);
    let proxy = patient_proxy(web, PATIENCE);
    let mut client = connect(port);
    until("it is refused", || {
        sights(&proxy).contains(&(dead, Err(Doubt::Refused)))
    });
    slow.speak(b's');
    assert_eq!(name_of(&mut client).unwrap(), b's');
}
