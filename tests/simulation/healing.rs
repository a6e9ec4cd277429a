//! The end of a schedule: nothing fails any more, so everything must come to its end without help.

use crate::{
    broker::{PARTITIONS, partition},
    records::{Kind, RecordSpec},
    steps::MEMBERS,
    world::World,
};

/// More rounds than any backlog of a schedule takes.
const ROUNDS: usize = 400;

impl World {
    /// Whoever crashed comes back, zombies hear of it, and one more record comes to each partition, by which a member
    /// notices that its checkpoint was moved. Then the logs are drained, and all members leave in good order.
    pub async fn heal_and_drain(&mut self) -> Result<(), String> {
        self.trace.note("     all is well again");
        self.tables.borrow_mut().land();
        self.rejoin().await?;
        for number in 0..PARTITIONS {
            let last = RecordSpec { kind: Kind::Prompt, session: 0, id: 200, second: 0 };
            self.broker.borrow_mut().append(number, last.record());
        }
        self.until("the logs are not drained", |world| world.is_drained()).await?;
        for member in self.members.iter().flatten() {
            member.poller.borrow_mut().stop();
        }
        self.until("not everybody left", |world| world.members.iter().all(Option::is_none)).await?;
        self.check_complete()
    }

    /// Everybody is there, and every partition has an owner who knows.
    async fn rejoin(&mut self) -> Result<(), String> {
        // Who was about to leave, leaves.
        let is_stopping = |world: &World| world.members.iter().flatten().any(|member| member.is_stopping());
        self.until("somebody doesn't leave", |world| !is_stopping(world)).await?;
        for number in 0..MEMBERS {
            self.restart(number);
            self.hear(number);
        }
        for number in 0..PARTITIONS {
            if self.broker.borrow().owners[number].is_none() {
                self.give(number, number);
            }
        }
        Ok(())
    }

    fn is_drained(&self) -> bool {
        let (broker, tables) = (self.broker.borrow(), self.tables.borrow());
        let mut partitions = (0..PARTITIONS).map(partition);
        partitions.all(|partition| tables.checkpoints.get(&partition) == Some(&broker.end(&partition)))
            && self.members.iter().flatten().all(|member| member.is_idle())
    }

    async fn until(&mut self, otherwise: &str, is_reached: impl Fn(&World) -> bool) -> Result<(), String> {
        for _ in 0..ROUNDS {
            if is_reached(self) {
                return Ok(());
            }
            self.work(MEMBERS, 3).await?;
        }
        Err(otherwise.to_owned())
    }
}
