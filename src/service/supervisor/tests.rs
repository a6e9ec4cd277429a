use std::{num::NonZeroU32, sync::Mutex};

use super::*;

fn supervisor(max_restarts: u32) -> Supervisor {
    Supervisor::new(&SupervisorConfig {
        max_restarts: NonZeroU32::new(max_restarts).unwrap(),
        window: Duration::from_secs(60),
        probe_timeout: Duration::from_secs(60),
    })
}

/// Fails at once, and notes how it was seen in the meantime.
struct Unlucky {
    board: Arc<Board>,
    seen: Mutex<Vec<PartState>>,
}

impl Part for Unlucky {
    const NAME: &'static str = "unlucky";

    async fn run(&self, _: Stop) -> Ended {
        self.seen.lock().unwrap().push(self.board.parts()[Self::NAME].state);
        Ended::Failed("again".to_owned())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_fails_again_at_once_was_not_up_in_between() {
    let mut supervisor = supervisor(3);
    let part = Arc::new(Unlucky { board: supervisor.board(), seen: Mutex::default() });
    supervisor.keep(Arc::clone(&part));
    let ended = supervisor.ended().await;
    assert!(matches!(ended, Err(SupervisionError::BudgetSpent { part: "unlucky", restarts: 3, .. })), "{ended:?}");
    let seen = part.seen.lock().unwrap();
    assert_eq!(*seen, [PartState::Up, PartState::Restarting, PartState::Restarting, PartState::Restarting]);
}

/// Asked how it is, it panics.
struct Touchy;

impl Part for Touchy {
    const NAME: &'static str = "touchy";

    async fn run(&self, mut stop: Stop) -> Ended {
        stop.asked().await;
        Ended::Done
    }

    fn probe(&self) -> Result<(), String> {
        panic!("don't ask");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_nobody_looks_after_any_more_is_no_secret() {
    let mut supervisor = supervisor(3);
    supervisor.keep(Arc::new(Touchy));
    let ended = supervisor.ended().await;
    assert!(matches!(ended, Err(SupervisionError::Unkept { part: "touchy" })), "{ended:?}");
}
