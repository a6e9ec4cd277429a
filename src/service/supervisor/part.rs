//! What a supervisor keeps alive.

use tokio::sync::watch;

/// Something that works as long as the program does, and may be begun anew at any time.
pub trait Part: Send + Sync + 'static {
    /// As logs, `/healthz` and metrics name it, and its thread.
    const NAME: &'static str;

    /// Works until it is asked to stop, or can't go on. The future may be dropped at any instant.
    fn run(&self, stop: Stop) -> impl Future<Output = Ended>;

    /// Why it doesn't get on, where it doesn't: asked once a second, beside it, and so answered at once. That its thread
    /// still turns is found out otherwise.
    ///
    /// # Errors
    /// The reason, without a secret.
    fn probe(&self) -> Result<(), String> {
        Ok(())
    }
}

/// How a part ended.
#[derive(Debug)]
#[must_use]
pub enum Ended {
    /// Its work is done, or it was asked to stop.
    Done,
    /// It may do better when it is begun anew. With the reason, without a secret.
    Failed(String),
    /// Somebody has to act: to begin it anew would hide that.
    Hopeless(Box<dyn std::error::Error + Send + Sync>),
}

/// Tells a part that it should stop.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// What tells, and what is told.
    pub(super) fn pair() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// Returns when it should stop.
    pub async fn asked(&mut self) {
        // Without a supervisor nobody wants it any more.
        let _ = self.0.wait_for(|asked| *asked).await;
    }

    pub fn is_asked(&self) -> bool {
        *self.0.borrow()
    }
}
