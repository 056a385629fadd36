//! Serves HTTP on what a listener accepts: bounded in number and in time, and to the end of what is
//! being answered when it is told to stop.

use std::{convert::Infallible, pin::Pin, time::Duration};

use axum::{Router, body::Body, extract::ConnectInfo, response::Response};
use hyper::{
    Request,
    body::{Frame, Incoming, SizeHint},
    server::conn::http1,
    service::Service,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::sync::{mpsc, watch};

use super::{
    door::{Arrival, Door},
    guests::{Guest, Guests},
    peer::Peer,
    pulse::{Busy, Felt, Pulse},
};
use crate::model::HttpLimits;

/// After an error of `accept`: out of descriptors, mostly, and others may be closed meanwhile.
const AGAIN: Duration = Duration::from_millis(100);
/// The longest head of a request, with its address, in bytes.
const HEAD_LIMIT: usize = 64 * 1024;

/// Serves until `stop` resolves and open requests are answered.
pub(crate) async fn serve(
    door: Door,
    router: Router,
    limits: HttpLimits,
    stop: impl Future<Output = ()>,
) {
    let guests = Guests::new(limits);
    let (open, ending) = watch::channel(());
    // Closed when the last connection has dropped its end.
    let (alive, mut all_gone) = mpsc::channel::<()>(1);
    let mut stop = std::pin::pin!(stop);
    let mut trouble = None;
    loop {
        let accepted = tokio::select! {
            accepted = door.accept() => accepted,
            () = &mut stop => break,
        };
        let arrival = match accepted {
            Ok(arrival) => arrival,
            Err(error) => {
                if trouble.replace(error.kind()) != Some(error.kind()) {
                    tracing::warn!("a connection was not accepted: {error}");
                }
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        };
        trouble = None;
        if let Some(guest) = guests.admit(arrival.peer(), arrival.descriptor()) {
            let attended = attend(arrival, guest, (router.clone(), limits), ending.clone());
            let alive = alive.clone();
            tokio::spawn(async move {
                attended.await;
                drop(alive);
            });
        }
    }
    drop((open, alive, door));
    let _ = all_gone.recv().await;
}

/// Sees a connection to its end.
async fn attend(
    arrival: Arrival,
    guest: Guest,
    (router, limits): (Router, HttpLimits),
    mut ending: watch::Receiver<()>,
) {
    let begun = tokio::select! {
        begun = arrival.first_byte() => begun.is_ok(),
        () = is_over(&guest, &limits) => false,
        _ = ending.changed() => false,
    };
    if begun {
        guest.pulse.speaks();
        // Boxed: most of it is only needed by whoever speaks.
        Box::pin(converse(arrival, guest, (router, limits), ending)).await;
    }
}

/// Resolves when a connection has had its time, or is to make room.
async fn is_over(guest: &Guest, limits: &HttpLimits) {
    tokio::select! {
        () = guest.pulse.overdue(limits) => {}
        () = guest.told_to_leave() => {}
    }
}

async fn converse(
    arrival: Arrival,
    guest: Guest,
    (router, limits): (Router, HttpLimits),
    mut ending: watch::Receiver<()>,
) {
    let secured = tokio::select! {
        secured = arrival.secured() => secured,
        () = is_over(&guest, &limits) => return,
    };
    let (stream, peer) = match secured {
        Ok(secured) => secured,
        Err((error, peer)) => return tracing::debug!("no TLS: {error}, {peer}"),
    };
    let pulse = guest.pulse.clone();
    let service = Attended {
        router: TowerToHyperService::new(router),
        peer,
        pulse: pulse.clone(),
    };
    // The head's time is the pulse's: hyper's own cannot tell a head from a pause between two.
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout.max(limits.idle_timeout) * 2)
        .max_buf_size(HEAD_LIMIT)
        .serve_connection(TokioIo::new(Felt { stream, pulse }), service);
    let mut connection = std::pin::pin!(connection);
    let mut is_ending = false;
    loop {
        tokio::select! {
            // What the other end did wrong is its own affair.
            _ = &mut connection => return,
            () = is_over(&guest, &limits) => return,
            _ = ending.changed(), if !is_ending => {
                is_ending = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Hands requests on with who asks, and feels for how long they are answered.
struct Attended {
    router: TowerToHyperService<Router>,
    peer: Peer,
    pulse: Pulse,
}

impl Service<Request<Incoming>> for Attended {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let busy = self.pulse.busy();
        let extensions = request.extensions_mut();
        extensions.insert(ConnectInfo(self.peer.clone()));
        extensions.insert(self.pulse.clone());
        let answer = self.router.call(request);
        Box::pin(async move {
            let response = answer.await?;
            Ok(response.map(|body| AnswerBody { body, _busy: busy }))
        })
    }
}

/// An answer's body: its connection is busy until all of it is written or given up.
struct AnswerBody {
    body: Body,
    _busy: Busy,
}

impl hyper::body::Body for AnswerBody {
    type Data = <Body as hyper::body::Body>::Data;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
