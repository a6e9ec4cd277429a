//! Dead letters once more on the route: decoded from the stored bytes as if they were read anew, folded, and committed
//! with what became of the letters.
//!
//! Each letter is tried once a run. One that is still refused stays open, with the reason of this attempt, and one that
//! was tried often enough is passed over: nothing loops, in one run or over many.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    backoff::Backoff,
    event::{Decoded, Decoder, Event, Reason, Refusal},
    fold::{Aggregators, BatchFold, SessionAggregator, Wanted},
    store::{
        BatchCommit, CommitError, Failure, Fenced, FencedLetter, LetterId, LetterOutcome, LetterToRedrive, Publication,
        RedriveScope, Settlement, Store, StoreError, TakenFrom,
    },
};

use super::{
    PipelineError,
    counts::Totals,
    narrowing::{Attempted, Narrowing, commit_all},
    outage::wait_out,
    run::CONFLICTS_BEFORE_HALVING,
};

/// How often Postgres being away is waited out; the last delays are 5 s.
const MOST_OUTAGES: u32 = 10;

/// A run over stored dead letters.
#[derive(Debug)]
pub struct Redrive<'r, A> {
    pub store: &'r Store,
    pub aggregators: &'r Aggregators<A>,
    pub decoder: &'r Decoder,
    pub scope: &'r RedriveScope,
}

/// What became of the letters that were selected.
#[must_use]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redriven {
    /// Letters that were looked at.
    pub selected: u64,
    /// Of these: what became of the ones that were tried. Those still refused are `dead_letters` and `rejected`.
    pub totals: Totals,
    /// Left as they are, since they were tried often enough before.
    pub passed_over: u64,
    /// Left as they are, since somebody else dealt with them meanwhile.
    pub settled_elsewhere: u64,
}

impl Redriven {
    /// Letters that stay open, for the reason of this attempt.
    pub fn still_refused(&self) -> u64 {
        self.totals.dead_letters() + self.totals.rejected()
    }

    /// The conservation law.
    fn check(&self) -> Result<(), PipelineError> {
        let accounted = self.totals.records() + self.passed_over;
        if self.selected == accounted + self.settled_elsewhere {
            return Ok(());
        }
        Err(PipelineError::NotConserved { read: self.selected, discarded: self.settled_elsewhere, accounted })
    }
}

/// What decoding says of letters, before anything is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Decision {
    /// A good event now.
    Accepted,
    /// Of a kind that the configuration says to count and skip.
    Ignored,
    Refused(Reason),
}

impl<A: SessionAggregator> Redrive<'_, A> {
    /// Redrives the letters. `progress` sees what became of them after each batch, which is committed by then.
    ///
    /// Dropping the future at any instant is safe, and so is starting again after an error.
    ///
    /// # Errors
    /// See [`PipelineError`].
    pub async fn run(&self, mut progress: impl FnMut(&Redriven)) -> Result<Redriven, PipelineError> {
        let mut redriven = Redriven::default();
        let mut after = LetterId::FIRST;
        loop {
            let page = self.store.letters_to_redrive(self.scope, after).await?;
            let Some(end) = page.end else { break };
            after = end;
            redriven.selected += page.letters.len() as u64 + page.passed_over;
            redriven.passed_over += page.passed_over;
            let letters = page.letters.into_iter().map(|letter| Letter::decode(self.decoder, letter)).collect();
            commit_all(&mut InWork { redrive: self, letters, redriven: &mut redriven }).await?;
            progress(&redriven);
        }
        redriven.check()?;
        Ok(redriven)
    }

    /// Decodes the letters that would be tried, and changes nothing: how many of each reason would come to what.
    /// Whether the aggregator or Postgres would refuse an event is not known.
    ///
    /// # Errors
    /// If Postgres can't be asked.
    pub async fn preview(&self) -> Result<BTreeMap<(String, Decision), u64>, StoreError> {
        let mut decisions = BTreeMap::new();
        let mut after = LetterId::FIRST;
        loop {
            let page = self.store.letters_to_redrive(self.scope, after).await?;
            let Some(end) = page.end else { return Ok(decisions) };
            after = end;
            for letter in page.letters {
                let decision = match self.decoder.decode(letter.record.wire()) {
                    Decoded::Event(_) => Decision::Accepted,
                    Decoded::Ignored => Decision::Ignored,
                    Decoded::Refused(refusal) => Decision::Refused(refusal.reason),
                };
                *decisions.entry((letter.reason, decision)).or_default() += 1;
            }
        }
    }

    /// Reads what stands, folds, commits. `leaves` is what the commit is about to leave, whose answer may be lost.
    async fn attempt(&self, letters: &[Letter], leaves: &mut Leaves) -> Result<(), CommitError> {
        let (standing_at, events): (Vec<usize>, Vec<&Event>) =
            letters.iter().enumerate().filter_map(|(index, letter)| Some((index, letter.event()?))).unzip();
        let wanted = Wanted::everything_of(events.clone());
        let mut fold = BatchFold::new(self.aggregators, self.store.standing(self.aggregators, &wanted).await?);
        for event in events {
            fold.push(event);
        }
        let folded = self.store.finish_fold(fold).await?;
        let rejected = folded.outcome.rejected.iter();
        let rejected: BTreeMap<usize, Refusal> =
            rejected.map(|(event, why)| (standing_at[*event], Refusal::new(Reason::Rejected, why.0))).collect();
        let settlements: Vec<Settlement<'_>> =
            letters.iter().enumerate().map(|(index, letter)| letter.settlement(rejected.get(&index))).collect();
        let batch = BatchCommit {
            taken_from: TakenFrom::DeadLetters(&settlements),
            aggregators: self.aggregators,
            changes: &folded.changes,
            publication: Publication::Published,
        };
        let mut totals = totals(letters);
        totals.take(&folded.outcome);
        *leaves = Leaves { letters: settlements.iter().map(Settlement::leaves).collect(), totals };
        self.store.commit(&batch).await
    }
}

/// A letter and what its bytes turn out to be now.
struct Letter {
    id: LetterId,
    attempts: i32,
    decoded: Decoded,
}

impl Letter {
    /// The record isn't needed any more then.
    fn decode(decoder: &Decoder, letter: LetterToRedrive) -> Self {
        let LetterToRedrive { id, attempts, record, .. } = letter;
        Self { id, attempts, decoded: decoder.decode(record.wire()) }
    }

    fn event(&self) -> Option<&Event> {
        if let Decoded::Event(event) = &self.decoded { Some(event) } else { None }
    }

    fn settlement<'s>(&'s self, rejected: Option<&'s Refusal>) -> Settlement<'s> {
        let outcome = match (&self.decoded, rejected) {
            (Decoded::Refused(refusal), _) | (Decoded::Event(_), Some(refusal)) => LetterOutcome::Refused(refusal),
            (Decoded::Event(_), None) | (Decoded::Ignored, _) => LetterOutcome::Taken,
        };
        Settlement { id: self.id, attempts: self.attempts, outcome }
    }
}

/// What becomes of the letters that are no events.
fn totals(letters: &[Letter]) -> Totals {
    let mut totals = Totals { batches: 1, ..Totals::default() };
    for letter in letters {
        match &letter.decoded {
            Decoded::Event(_) => {}
            Decoded::Ignored => totals.ignored += 1,
            Decoded::Refused(refusal) => totals.add_dead_letter(refusal.reason),
        }
    }
    totals
}

/// What a commit leaves behind.
#[derive(Default)]
struct Leaves {
    letters: Vec<FencedLetter>,
    totals: Totals,
}

impl Leaves {
    /// Whether the commit happened, by the letters that another attempt found otherwise than it had read them.
    fn are_found_by(&self, fenced: &Fenced) -> bool {
        fenced.letters.iter().all(|letter| self.letters.contains(letter))
    }
}

/// A batch of letters that is being settled.
struct InWork<'r, A> {
    redrive: &'r Redrive<'r, A>,
    /// Those that aren't settled yet.
    letters: Vec<Letter>,
    redriven: &'r mut Redriven,
}

impl<A: SessionAggregator> Narrowing for InWork<'_, A> {
    fn len(&self) -> usize {
        self.letters.len()
    }

    /// Through conflicts and outages, but not through one that lasts: whoever waits for a command wants to know.
    async fn commit_front(&mut self, count: usize) -> Result<Attempted, PipelineError> {
        let mut conflicts = Backoff::new(Duration::from_millis(2), Duration::from_millis(500));
        let (mut backoff, mut outages) = (Backoff::new(Duration::from_millis(100), Duration::from_secs(5)), 0);
        let (mut in_doubt, mut most) = (None, count);
        loop {
            let count = most.min(self.letters.len());
            if count == 0 {
                return Ok(Attempted::Done);
            }
            let mut leaves = Leaves::default();
            match self.redrive.attempt(&self.letters[..count], &mut leaves).await {
                Ok(()) => {
                    self.finish(&leaves);
                    return Ok(Attempted::Done);
                }
                Err(CommitError::Conflict) => {
                    self.redriven.totals.conflicts += 1;
                    tokio::time::sleep(conflicts.next_delay()).await;
                    if conflicts.attempts().is_multiple_of(CONFLICTS_BEFORE_HALVING) {
                        most = (count / 2).max(1);
                    }
                }
                Err(CommitError::Fenced(fenced)) => {
                    if let Some(happened) = in_doubt.take().filter(|left: &Leaves| left.are_found_by(&fenced)) {
                        self.finish(&happened);
                        return Ok(Attempted::Done);
                    }
                    self.let_go_of(&fenced);
                }
                Err(CommitError::Store(error)) => match error.failure {
                    Failure::Data => return Ok(Attempted::Refused(error)),
                    Failure::Setup => return Err(error.into()),
                    Failure::Contention | Failure::Unavailable | Failure::InDoubt => {
                        outages += 1;
                        if outages > MOST_OUTAGES {
                            return Err(error.into());
                        }
                        if error.failure == Failure::InDoubt {
                            in_doubt = Some(leaves);
                        } else if error.less_may_succeed() {
                            most = (count / 2).max(1);
                        }
                        wait_out(&error, &mut backoff).await;
                    }
                },
            }
        }
    }

    fn condemn_first(&mut self, refusal: Refusal) -> bool {
        let first = &mut self.letters[0].decoded;
        let is_event = matches!(first, Decoded::Event(_));
        if is_event {
            *first = Decoded::Refused(refusal);
        }
        is_event
    }
}

impl<A: SessionAggregator> InWork<'_, A> {
    fn finish(&mut self, left: &Leaves) {
        self.letters.drain(..left.letters.len());
        self.redriven.totals.add(&left.totals);
    }

    /// Somebody else dealt with these letters.
    fn let_go_of(&mut self, fenced: &Fenced) {
        let before = self.letters.len();
        self.letters.retain(|letter| !fenced.letters.iter().any(|fenced| fenced.id == letter.id));
        self.redriven.settled_elsewhere += (before - self.letters.len()) as u64;
        self.redriven.totals.fences += 1;
    }
}
