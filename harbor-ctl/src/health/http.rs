//! One HTTP request over a connection that is open.

use http_body_util::Empty;
use hyper::{
    Request,
    body::Bytes,
    client::conn::http1,
    header::{CONNECTION, HOST, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The longest head of an answer.
const HEAD_LIMIT: usize = 16 * 1024;
const AGENT: &str = concat!("harbor-ctl/", env!("CARGO_PKG_VERSION"), " health");

/// The status of the answer to `GET path`; its body is not waited for.
pub(super) async fn status(
    stream: TcpStream,
    path: &str,
    host: &str,
) -> Result<u16, Box<dyn std::error::Error + Send + Sync>> {
    let request = Request::get(path)
        .header(HOST, host)
        .header(USER_AGENT, AGENT)
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let mut builder = http1::Builder::new();
    let handshake = builder.max_buf_size(HEAD_LIMIT);
    let (mut sender, connection) = handshake.handshake(TokioIo::new(stream)).await?;
    let response = sender.send_request(request);
    tokio::pin!(response);
    let response = tokio::select! {
        response = &mut response => response,
        // The answer may be there although the connection has ended.
        _ = connection => response.await,
    };
    Ok(response?.status().as_u16())
}
