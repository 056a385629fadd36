//! What travels between two nodes: frames of a length, a kind and a payload, most significant octet first.
//!
//! ```text
//! HELLO   {"version": 1, "cluster": .., "node": ..}   once, from the sender
//! COPIES  flows (`FlowCopy`); none: the sender lives
//! ACK     how many of the flows of the frame before were entered, 8 octets
//! ```

use std::io;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::model::FlowCopy;

pub(super) const HELLO: u8 = 0;
pub(super) const COPIES: u8 = 1;
pub(super) const ACK: u8 = 2;
/// The version of all this.
pub(super) const VERSION: u32 = 1;
/// The longest payload.
const LIMIT: u32 = 256 * 1024;

/// How a sender introduces itself.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) version: u32,
    pub(super) cluster: String,
    pub(super) node: String,
}

pub(super) async fn write(
    to: &mut (impl AsyncWrite + Unpin),
    kind: u8,
    payload: &[u8],
) -> io::Result<()> {
    let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
    let mut frame = Vec::with_capacity(payload.len() + 5);
    frame.extend(length.to_be_bytes());
    frame.push(kind);
    frame.extend(payload);
    to.write_all(&frame).await?;
    to.flush().await
}

/// The next frame.
pub(super) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<(u8, Vec<u8>)> {
    let length = from.read_u32().await?;
    if length > LIMIT {
        return Err(io::Error::other(format!("a frame of {length} octets")));
    }
    let kind = from.read_u8().await?;
    let mut payload = vec![0; length as usize];
    from.read_exact(&mut payload).await?;
    Ok((kind, payload))
}

/// The flows of a frame; `None`: it is none of flows.
pub(super) fn copies(mut payload: &[u8]) -> Option<Vec<FlowCopy>> {
    let mut copies = Vec::new();
    while !payload.is_empty() {
        copies.push(FlowCopy::decode(&mut payload)?);
    }
    Some(copies)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_written_is_read_and_what_is_too_long_is_refused() {
        let mut wire = Vec::new();
        write(&mut wire, HELLO, b"x").await.unwrap();
        write(&mut wire, COPIES, b"").await.unwrap();
        let mut rest = wire.as_slice();
        assert_eq!(read(&mut rest).await.unwrap(), (HELLO, b"x".to_vec()));
        assert_eq!(read(&mut rest).await.unwrap(), (COPIES, Vec::new()));
        assert!(read(&mut rest).await.is_err());
        let mut long = &[0xff, 0xff, 0xff, 0xff, COPIES, 0][..];
        assert!(read(&mut long).await.is_err());
        assert_eq!(copies(&[]), Some(Vec::new()));
        assert_eq!(copies(&[9]), None);
    }
}
