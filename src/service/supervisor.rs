//! What keeps the parts of the program alive: one that ends or panics is begun anew, one that doesn't answer is ended and
//! begun anew, within a budget. Each runs on a thread of its own, so that none takes another along.

mod board;
mod budget;
mod life;
mod part;
#[cfg(feature = "sabotage")]
pub mod sabotage;
#[cfg(test)]
mod tests;

pub use board::{Board, PartStanding, PartState};
pub use part::{Ended, Part, Stop};

use std::{
    collections::BTreeMap,
    convert::Infallible,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use futures_util::FutureExt;

use crate::{backoff::Backoff, config::SupervisorConfig};

use budget::RestartBudget;
use life::{Life, Presence, Pulse};

/// How often a part is asked whether it lives.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// How long a part that is ended may take for it.
const FORCED_WITHIN: Duration = Duration::from_secs(1);
const LEAST_BACKOFF: Duration = Duration::from_millis(100);
const MOST_BACKOFF: Duration = Duration::from_secs(30);
/// A part that has lived for so long begins anew at once.
const LONG_LIFE: Duration = Duration::from_secs(60);

/// Keeps parts alive. Dropped, it ends them.
#[derive(Debug)]
pub struct Supervisor {
    config: SupervisorConfig,
    board: Arc<Board>,
    kept: BTreeMap<&'static str, Kept>,
    verdicts: mpsc::UnboundedReceiver<Result<&'static str, SupervisionError>>,
    verdict: mpsc::UnboundedSender<Result<&'static str, SupervisionError>>,
    presence: Presence,
    /// Closes when nothing is left at work.
    presences: mpsc::Receiver<Infallible>,
}

#[derive(Debug)]
struct Kept {
    stop: watch::Sender<bool>,
    keeper: JoinHandle<()>,
}

/// Why the program can't go on.
#[derive(Debug, thiserror::Error)]
pub enum SupervisionError {
    #[error(
        "{part} was to be started again, but parts were started again {restarts} times within {window:?}, which is all \
         that supervisor.max_restarts allows; the last reason: {reason}"
    )]
    BudgetSpent { part: &'static str, restarts: usize, window: Duration, reason: String },
    #[error("{part} does not answer and can't be ended: {reason}")]
    Stuck { part: &'static str, reason: String },
    #[error("nobody looks after {part} any more: what does so panicked; the log says where")]
    Unkept { part: &'static str },
    /// It needs somebody to act.
    #[error("{0}")]
    Hopeless(Box<dyn std::error::Error + Send + Sync>),
}

impl Supervisor {
    pub fn new(config: &SupervisorConfig) -> Self {
        let (verdict, verdicts) = mpsc::unbounded_channel();
        let (presence, presences) = mpsc::channel(1);
        let board = Arc::new(Board::new(RestartBudget::new(config.max_restarts, config.window)));
        Self { config: config.clone(), board, kept: BTreeMap::new(), verdicts, verdict, presence, presences }
    }

    /// How the parts are.
    pub fn board(&self) -> Arc<Board> {
        Arc::clone(&self.board)
    }

    /// Begins a part and keeps it alive from now on.
    pub fn keep<P: Part>(&mut self, part: Arc<P>) {
        let (stop, stopped) = Stop::pair();
        self.board.set(P::NAME, PartState::Up, None);
        let presence = self.presence.clone();
        let keeper = Keeper { part, stop: stopped, board: self.board(), config: self.config.clone(), presence };
        let verdict = self.verdict.clone();
        let keeper = tokio::spawn(async move {
            // It asks parts, and what they answer with is theirs. A panic's own words are in the log.
            let kept = AssertUnwindSafe(keeper.keep()).catch_unwind().await;
            let kept = kept.unwrap_or(Err(SupervisionError::Unkept { part: P::NAME }));
            // Nobody listens any more when the program ends.
            let _ = verdict.send(kept.map(|()| P::NAME));
        });
        self.kept.insert(P::NAME, Kept { stop, keeper });
    }

    /// Waits for the next part that ends for good, and tells which.
    ///
    /// # Errors
    /// If the program can't go on.
    pub async fn ended(&mut self) -> Result<&'static str, SupervisionError> {
        match self.verdicts.recv().await {
            Some(verdict) => verdict,
            // It holds a sender itself.
            None => std::future::pending().await,
        }
    }

    /// Ends a part where it is.
    pub async fn cut_short(&mut self, name: &'static str) {
        let Some(mut kept) = self.kept.remove(name) else { return };
        kept.keeper.abort();
        // Until it lets go of what it holds, such as the locks of a transaction.
        let _ = tokio::time::timeout(FORCED_WITHIN, &mut kept.keeper).await;
        self.board.set(name, PartState::Ended, None);
    }

    /// Ends all parts where they are, and waits for that, for a second at most.
    pub async fn end(mut self) {
        for kept in std::mem::take(&mut self.kept).into_values() {
            kept.keeper.abort();
        }
        // What only this supervisor itself still holds is let go, so that the channel closes with the last part.
        self.presence = mpsc::channel(1).0;
        let ended = async { while self.presences.recv().await.is_some() {} };
        if tokio::time::timeout(FORCED_WITHIN, ended).await.is_err() {
            tracing::warn!("a part could not be ended in time; the program ends without waiting for it");
        }
    }

    /// Asks a part to stop, and waits for its end, for a second at most.
    pub async fn stop(&mut self, name: &'static str) {
        self.stop_within(name, FORCED_WITHIN).await;
    }

    /// The same, for so long at most.
    pub async fn stop_within(&mut self, name: &'static str, patience: Duration) {
        self.ask_to_stop(name);
        if let Some(mut kept) = self.kept.remove(name)
            && tokio::time::timeout(patience, &mut kept.keeper).await.is_err()
        {
            kept.keeper.abort();
        }
    }

    /// Asks a part to stop.
    pub fn ask_to_stop(&self, name: &'static str) {
        if let Some(kept) = self.kept.get(name) {
            kept.stop.send_replace(true);
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        for kept in self.kept.values() {
            kept.keeper.abort();
        }
    }
}

/// Keeps one part alive.
struct Keeper<P> {
    part: Arc<P>,
    stop: Stop,
    board: Arc<Board>,
    config: SupervisorConfig,
    presence: Presence,
}

impl<P: Part> Keeper<P> {
    async fn keep(mut self) -> Result<(), SupervisionError> {
        let mut backoff = Backoff::new(LEAST_BACKOFF, MOST_BACKOFF);
        loop {
            let begun = Instant::now();
            let reason = match self.live_once().await? {
                Ended::Done => break,
                Ended::Hopeless(error) => return Err(SupervisionError::Hopeless(error)),
                // What it met on the way out, when it was asked to stop.
                Ended::Failed(reason) if self.stop.is_asked() => {
                    tracing::warn!(part = P::NAME, reason, "a part did not stop in good order");
                    break;
                }
                Ended::Failed(reason) => reason,
            };
            if begun.elapsed() >= LONG_LIFE {
                backoff.reset();
            }
            self.rest(reason, backoff.next_delay()).await?;
            if self.stop.is_asked() {
                break;
            }
        }
        self.board.set(P::NAME, PartState::Ended, None);
        Ok(())
    }

    /// Between two lives.
    async fn rest(&mut self, reason: String, delay: Duration) -> Result<(), SupervisionError> {
        self.board.set(P::NAME, PartState::Restarting, Some(reason.clone()));
        if !self.board.spend(P::NAME) {
            let (restarts, window) = (self.board.restarts(), self.config.window);
            return Err(SupervisionError::BudgetSpent { part: P::NAME, restarts, window, reason });
        }
        tracing::error!(part = P::NAME, reason, again_in_ms = delay.as_millis(), "a part ended; it is begun anew");
        let mut stop = self.stop.clone();
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = stop.asked() => {}
        }
        Ok(())
    }

    /// From its beginning to its end, be it its own or by force.
    async fn live_once(&mut self) -> Result<Ended, SupervisionError> {
        let (mut life, pulse) = match Life::begin(Arc::clone(&self.part), self.stop.clone(), self.presence.clone()) {
            Ok(begun) => begun,
            Err(error) => return Ok(Ended::Failed(format!("the system gives no thread: {error}"))),
        };
        let mut watched = Watched::default();
        loop {
            let reason = tokio::select! {
                ended = life.ended() => return Ok(ended),
                reason = self.probe(&pulse) => reason,
            };
            let Some(reason) = watched.take_in(reason, P::NAME, &self.board) else { continue };
            if watched.is_down_for(self.config.probe_timeout) {
                return match life.end(FORCED_WITHIN).await {
                    Some(Ended::Failed(_)) => Ok(Ended::Failed(reason)),
                    Some(of_its_own) => Ok(of_its_own),
                    None => Err(SupervisionError::Stuck { part: P::NAME, reason }),
                };
            }
        }
    }

    /// Asks once, after a while. None where all is well.
    async fn probe(&self, pulse: &Pulse) -> Option<String> {
        let patience = PROBE_INTERVAL.min(self.config.probe_timeout);
        tokio::time::sleep(patience).await;
        if !pulse.answers(patience).await {
            return Some("it does not answer".to_owned());
        }
        self.part.probe().err()
    }
}

/// What the probes of one life said.
#[derive(Default)]
struct Watched {
    /// Since the first probe that failed, and not since the last that succeeded: a program that was itself frozen in between
    /// has asked nobody.
    down_since: Option<Instant>,
    /// A part that fails at once, again and again, is never up.
    has_answered: bool,
}

impl Watched {
    fn is_down_for(&self, patience: Duration) -> bool {
        self.down_since.is_some_and(|since| since.elapsed() >= patience)
    }

    /// Returns why it is down, where it is.
    fn take_in(&mut self, reason: Option<String>, name: &'static str, board: &Board) -> Option<String> {
        let was_down = self.down_since.is_some();
        match &reason {
            None => {
                self.down_since = None;
                if was_down {
                    tracing::info!(part = name, "the part answers again");
                }
                if was_down || !self.has_answered {
                    board.set(name, PartState::Up, None);
                }
                self.has_answered = true;
            }
            Some(reason) if !was_down => {
                self.down_since = Some(Instant::now());
                tracing::warn!(part = name, reason, "a part is down");
                board.set(name, PartState::Down, Some(reason.clone()));
            }
            Some(_) => {}
        }
        reason
    }
}
