//! A stream on which nobody answers without end: a server that is broken, or not one of ours, must not
//! make the agent grow.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What may come between two requests: several times the records of as many ports as there can be.
pub(super) const ANSWER_LIMIT: usize = 128 << 20;

/// Ends with an error once more has come since the last request than any answer has.
#[derive(Debug)]
pub(super) struct Bounded<S> {
    stream: S,
    left: usize,
    limit: usize,
}

impl<S> Bounded<S> {
    pub(super) fn new(stream: S, limit: usize) -> Self {
        Self {
            stream,
            left: limit,
            limit,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let read = buffer.filled().len() - before;
        match self.left.checked_sub(read) {
            Some(left) => {
                self.left = left;
                polled
            }
            None => {
                let text = format!("an answer is longer than {} bytes", self.limit);
                Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text)))
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.left = self.limit;
        Pin::new(&mut self.stream).poll_write(context, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn each_request_has_an_answer_of_bounded_length() {
        let (near, mut far) = tokio::io::duplex(1_024);
        let mut near = Bounded::new(near, 100);
        let mut answer = [0; 80];
        for _ in 0..3 {
            near.write_all(b"ask").await.unwrap();
            far.write_all(&[7; 80]).await.unwrap();
            near.read_exact(&mut answer).await.unwrap();
        }
        far.write_all(&[7; 80]).await.unwrap();
        let error = near.read_exact(&mut answer).await.unwrap_err();
        assert!(error.to_string().contains("longer than 100"), "{error}");
    }
}
