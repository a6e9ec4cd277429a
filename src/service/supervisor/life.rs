//! One life of a part, on a thread of its own: a part that blocks its thread or panics takes no other along.

use std::{convert::Infallible, io, pin::pin, sync::Arc, thread, time::Duration};

use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::part::{Ended, Part, Stop};

/// A part at work. Dropped, it ends at the next point at which it can.
#[derive(Debug)]
pub(super) struct Life {
    /// Dropped to end it.
    force: Option<oneshot::Sender<Infallible>>,
    ended: oneshot::Receiver<Ended>,
}

/// Held by whatever keeps a part alive, and by its thread.
pub(super) type Presence = mpsc::Sender<Infallible>;

/// By which to ask a life whether it goes on.
#[derive(Clone, Debug)]
pub(super) struct Pulse(mpsc::Sender<oneshot::Sender<()>>);

impl Life {
    /// # Errors
    /// If the system gives no thread.
    pub(super) fn begin<P: Part>(part: Arc<P>, stop: Stop, presence: Presence) -> io::Result<(Self, Pulse)> {
        let (pulse, pinged) = mpsc::channel(1);
        let (force, forced) = oneshot::channel();
        let (tell, ended) = oneshot::channel();
        let runtime = Handle::current();
        thread::Builder::new().name(P::NAME.to_owned()).spawn(move || {
            let how = runtime.block_on(live(&*part, stop, pinged, forced));
            // Whoever began it may have lost interest.
            let _ = tell.send(how);
            drop(presence);
        })?;
        Ok((Self { force: Some(force), ended }, Pulse(pulse)))
    }

    /// Returns when it has ended and let go of all it held. Dropping the future changes nothing.
    pub(super) async fn ended(&mut self) -> Ended {
        // A panic's own words are in the log; they may quote what they stumbled over.
        (&mut self.ended).await.unwrap_or_else(|_| Ended::Failed("it panicked; the log says where".to_owned()))
    }

    /// Ends it. None where that takes longer than this: its thread is stuck between two points at which it could end.
    pub(super) async fn end(mut self, patience: Duration) -> Option<Ended> {
        self.force = None;
        timeout(patience, self.ended()).await.ok()
    }
}

impl Pulse {
    /// Whether it still runs: the part itself answers, between two steps of its work.
    pub(super) async fn answers(&self, patience: Duration) -> bool {
        let (answer, answered) = oneshot::channel();
        // One that was asked and hasn't answered has one question waiting, and gets no more.
        self.0.try_send(answer).is_ok() && matches!(timeout(patience, answered).await, Ok(Ok(())))
    }
}

async fn live<P: Part>(
    part: &P,
    stop: Stop,
    mut pinged: mpsc::Receiver<oneshot::Sender<()>>,
    mut forced: oneshot::Receiver<Infallible>,
) -> Ended {
    #[cfg(feature = "sabotage")]
    let sabotage = super::sabotage::of(P::NAME);
    #[cfg(not(feature = "sabotage"))]
    let sabotage = std::future::pending::<()>();
    let (mut work, mut sabotage) = (pin!(part.run(stop)), pin!(sabotage));
    let mut is_frozen = false;
    loop {
        tokio::select! {
            biased;
            _ = &mut forced => return Ended::Failed("it was ended".to_owned()),
            Some(answer) = pinged.recv(), if !is_frozen => {
                let _ = answer.send(());
            }
            // It answers no more, and holds what it holds.
            () = &mut sabotage, if !is_frozen => is_frozen = true,
            ended = &mut work, if !is_frozen => return ended,
        }
    }
}
