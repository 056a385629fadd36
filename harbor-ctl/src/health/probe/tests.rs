//! Against real sockets on loopback.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;

fn rule(check: &str) -> HealthRule {
    HealthRule {
        check: check.parse().unwrap(),
        port: 0,
        status: StatusRange::default(),
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        rise: 1,
        fall: 1,
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(future)
}

/// An address where nobody listens.
async fn closed() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

/// A server that reads a request and says this; and what it was asked.
async fn says(answer: &'static str) -> (SocketAddr, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 4_096];
        let length = stream.read(&mut request).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    (address, task)
}

#[test]
fn a_connection_is_enough_for_tcp_and_a_refusal_is_an_answer() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(probe(address, &rule("tcp")).await, Ok(()));
        drop(listener);
        let fault = probe(closed().await, &rule("tcp")).await.unwrap_err();
        let refused = Fault::new(FaultKind::Answered, "connection refused");
        assert_eq!(fault, refused);
    });
}

#[test]
fn the_probed_port_may_be_another() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let elsewhere = HealthRule {
            port,
            ..rule("tcp")
        };
        assert_eq!(probe(closed().await, &elsewhere).await, Ok(()));
    });
}

#[test]
fn http_passes_by_its_status() {
    run(async {
        let (address, asked) = says("HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n").await;
        assert_eq!(probe(address, &rule("http:/up?x=1")).await, Ok(()));
        let request = asked.await.unwrap();
        assert!(request.starts_with("GET /up?x=1 HTTP/1.1\r\n"), "{request}");
        assert!(request.contains(&format!("host: {address}")), "{request}");

        let (address, _) = says("HTTP/1.1 500 Oops\r\nContent-Length: 99999\r\n\r\n").await;
        let fault = probe(address, &rule("http:/")).await.unwrap_err();
        assert_eq!(fault.reason, "HTTP status 500 is not 200-399");

        for strange in ["SSH-2.0-OpenSSH_9.2\r\n", ""] {
            let (address, _) = says(strange).await;
            let fault = probe(address, &rule("http:/")).await.unwrap_err();
            assert_eq!(fault.kind, FaultKind::Answered, "{fault:?}");
            assert!(fault.reason.starts_with("no HTTP answer"), "{fault:?}");
        }
    });
}

#[test]
fn a_server_that_takes_connections_and_says_nothing_is_silent() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let fault = probe(address, &rule("http:/")).await.unwrap_err();
        assert_eq!(fault.reason, "no answer within 1s");
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let fault = probe(address, &rule("udp:x")).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Silent);
    });
}

#[test]
fn udp_passes_by_what_the_answer_contains() {
    run(async {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let mut question = [0; 64];
            loop {
                let (length, from) = socket.recv_from(&mut question).await.unwrap();
                let answer = [b"<", &question[..length], b">"].concat();
                socket.send_to(&answer, from).await.unwrap();
            }
        });
        for check in ["udp:ping", "udp:ping/ping>", r"udp:\x00\xff/\xff>"] {
            assert_eq!(probe(address, &rule(check)).await, Ok(()), "{check}");
        }
        let fault = probe(address, &rule("udp:ping/pong")).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Answered);
        server.abort();
        let _ = server.await;
        let fault = probe(address, &rule("udp:ping")).await.unwrap_err();
        assert_eq!(fault.reason, "connection refused");
    });
}
