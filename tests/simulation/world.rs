//! Everything together: the broker, the tables, the members, and the model that they are compared with after each step.

use std::{cell::RefCell, rc::Rc, time::Duration};

use sessionfold::fold::{Aggregators, Convergent};

use crate::{
    broker::{Broker, PARTITIONS, partition},
    gate::Outcome,
    member::Member,
    model::Model,
    other,
    records::{at, session_id},
    spans::Spans,
    steps::{MEMBERS, Step},
    tables::Tables,
    trace::Trace,
};

/// After each step a little time passes; the short waits after conflicts end in it.
const TICK: Duration = Duration::from_millis(10);
/// No wait of the pipeline is longer.
pub const LONG: Duration = Duration::from_secs(6);

pub struct World {
    pub broker: Rc<RefCell<Broker>>,
    pub tables: Rc<RefCell<Tables>>,
    pub members: Vec<Option<Member>>,
    pub trace: Trace,
    spans: Spans,
    aggregators: Aggregators<Convergent>,
    model: Model,
    /// How many transitions the trace has told.
    told: usize,
}

/// Runs a schedule, heals everything and drains the logs. Gives what was wrong, if something was, and what happened.
pub fn run(steps: &[Step], aggregators: &Aggregators<Convergent>) -> (Result<(), String>, Vec<String>) {
    fastrand::seed(0);
    let trace = Trace::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let run = async {
        let mut world = World::start(aggregators.clone(), trace.clone()).await?;
        for (number, step) in (1..).zip(steps) {
            trace.note(format!("{number:3}. {step}"));
            world.take(step).await?;
            world.pass(TICK).await?;
        }
        world.heal_and_drain().await?;
        world.spans.check()?.into_iter().for_each(|told| trace.note(told));
        Ok(())
    };
    let result = runtime.block_on(run);
    if let Err(problem) = &result {
        trace.note(format!("     {problem}"));
    }
    (result, trace.lines())
}

impl World {
    /// All members have joined and read from the start.
    async fn start(aggregators: Aggregators<Convergent>, trace: Trace) -> Result<Self, String> {
        let (broker, tables) = (Rc::new(RefCell::new(Broker::new())), Rc::<RefCell<Tables>>::default());
        let spans = Spans::default();
        let start = |number| Some(Member::start(number, &broker, &tables, &aggregators, &trace, &spans));
        let members = (0..MEMBERS).map(start);
        let members = members.collect();
        let mut world = Self { broker, tables, members, trace, spans, aggregators, model: Model::default(), told: 0 };
        world.trace.note("     everybody joins");
        for number in 0..PARTITIONS {
            world.give(number, number % 2);
        }
        for _ in 0..4 {
            world.work(MEMBERS, 0).await?;
        }
        Ok(world)
    }

    async fn take(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Produce { partition, records } => {
                records.iter().for_each(|record| self.broker.borrow_mut().append(*partition, record.record()));
            }
            Step::Read { member, counts } => {
                if let Some(member) = &self.members[*member] {
                    let mut poller = member.poller.borrow_mut();
                    poller.obey();
                    poller.read(counts);
                }
            }
            Step::Release { member, outcome } => self.release(*member, *outcome)?,
            Step::Run { member, outcome, calls } => {
                for _ in 0..*calls {
                    self.release(*member, *outcome)?;
                    self.pass(LONG).await?;
                }
            }
            Step::Crash { member } => self.bury(*member),
            Step::Stop { member } => {
                if let Some(member) = &self.members[*member] {
                    member.poller.borrow_mut().stop();
                }
            }
            Step::Restart { member } => self.restart(*member),
            Step::Rebalance { partition: number, to, heard } => {
                let old = self.broker.borrow().owners[*number].and_then(|owner| self.members[owner].as_ref());
                if let Some(old) = old.filter(|_| *heard) {
                    old.poller.borrow_mut().revoke(&partition(*number));
                }
                self.give(*number, *to);
            }
            Step::Hear { member } => self.hear(*member),
            Step::OtherCommits { partition: number, records } => {
                let mut tables = self.tables.borrow_mut();
                other::commit(&self.broker.borrow(), &mut tables, &self.aggregators, &partition(*number), *records);
            }
            Step::MoveCheckpoint { partition: number, to } => {
                let partition = partition(*number);
                let next = self.broker.borrow().end(&partition).min(sessionfold::record::NextOffset::new((*to).into()));
                self.tables.borrow_mut().move_checkpoint(&partition, next);
            }
            Step::Delete { session } => {
                let mut tables = self.tables.borrow_mut();
                tables.delete(&session_id(*session));
                self.told = tables.transitions.len();
            }
            Step::Restore { session } => {
                let is_between = |member: &Member| member.gate.is_between_reading_and_writing();
                if !self.members.iter().flatten().any(is_between) {
                    self.tables.borrow_mut().restore(&session_id(*session));
                }
            }
            Step::Sweep { second } => {
                self.tables.borrow_mut().sweep(&self.aggregators.session, at((*second).into()));
            }
            Step::Wait { millis } => self.pass(Duration::from_millis((*millis).into())).await?,
        }
        Ok(())
    }

    /// Releases the call in which a member waits, if it does.
    pub fn release(&mut self, member: usize, outcome: Outcome) -> Result<(), String> {
        let Some(waiting) = self.members[member].as_ref().filter(|member| member.gate.waiting().is_some()) else {
            return Ok(());
        };
        waiting.gate.release(outcome);
        self.poll(member)?;
        if outcome == Outcome::Deadly {
            self.bury(member);
        }
        Ok(())
    }

    /// A member is gone, with its future; the group doesn't give its partitions to anybody yet.
    fn bury(&mut self, member: usize) {
        self.members[member] = None;
        for owner in self.broker.borrow_mut().owners.iter_mut().filter(|owner| **owner == Some(member)) {
            *owner = None;
        }
    }

    pub fn restart(&mut self, number: usize) {
        if self.members[number].is_none() {
            let (broker, tables) = (&self.broker, &self.tables);
            self.members[number] =
                Some(Member::start(number, broker, tables, &self.aggregators, &self.trace, &self.spans));
            for partition in 0..PARTITIONS {
                if self.broker.borrow().owners[partition].is_none() {
                    self.give(partition, number);
                }
            }
        }
    }

    /// The group gives a partition to a member, or to nobody where it isn't there.
    pub fn give(&mut self, number: usize, to: usize) {
        self.broker.borrow_mut().owners[number] = self.members[to].is_some().then_some(to);
        if let Some(member) = &self.members[to] {
            let mut poller = member.poller.borrow_mut();
            poller.revoke(&partition(number));
            poller.grant(partition(number));
        }
    }

    /// A member hears which partitions it lost.
    pub fn hear(&mut self, number: usize) {
        let Some(member) = &self.members[number] else { return };
        for lost in (0..PARTITIONS).filter(|partition| self.broker.borrow().owners[*partition] != Some(number)) {
            member.poller.borrow_mut().revoke(&partition(lost));
        }
    }

    /// Time passes, everybody goes on until it waits, and the tables are compared with the model.
    pub async fn pass(&mut self, time: Duration) -> Result<(), String> {
        tokio::time::advance(time).await;
        for member in 0..MEMBERS {
            self.poll(member)?;
        }
        self.check()
    }

    fn poll(&mut self, number: usize) -> Result<(), String> {
        let Some(member) = &mut self.members[number] else { return Ok(()) };
        let Some(result) = member.poll() else { return Ok(()) };
        self.bury(number);
        match result {
            Ok(totals) => self.trace.note(format!("    member {number}: left after {} records", totals.records())),
            Err(error) => return Err(format!("member {number} failed: {error}")),
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), String> {
        let mut tables = self.tables.borrow_mut();
        tables.transitions[self.told..].iter().for_each(|transition| self.trace.note(format!("    {transition}")));
        self.told = tables.transitions.len();
        self.model.check(&self.broker.borrow(), &mut tables, &self.aggregators.session)
    }

    /// Everything was read to its end.
    pub fn check_complete(&mut self) -> Result<(), String> {
        self.model.check_complete(&self.broker.borrow())
    }

    /// The first `members` members obey, read up to `records` of each partition, and get their answer.
    pub async fn work(&mut self, members: usize, records: u8) -> Result<(), String> {
        for number in 0..members {
            if let Some(member) = &self.members[number] {
                let mut poller = member.poller.borrow_mut();
                poller.obey();
                poller.read(&[records; PARTITIONS]);
            }
            self.poll(number)?;
            self.release(number, Outcome::Proceed)?;
        }
        self.pass(LONG).await
    }
}
