//! Events that go on coming while a test does something else.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sessionfold::generate::{GeneratedRecord, Generator, Shape};
use tokio::task::JoinHandle;

use crate::deployment::{Deployment, MAX_VALUE_BYTES};

const PORTIONS_A_SECOND: usize = 20;
/// The most that one flow can send.
const RECORDS: usize = 2_000_000;

pub struct Flow {
    /// It ends once it has sent so many records.
    until: Arc<AtomicUsize>,
    sent: Arc<AtomicUsize>,
    sender: JoinHandle<Vec<GeneratedRecord>>,
}

impl Flow {
    /// Starts to send about that many records a second.
    pub fn start(deployment: &Deployment, seed: u64, per_second: usize) -> Self {
        let shape = Shape { records: RECORDS as u64, seed, max_value_bytes: MAX_VALUE_BYTES, ..Shape::default() };
        let sender = deployment.sender();
        let (until, sent_so_far) = (Arc::new(AtomicUsize::new(RECORDS)), Arc::new(AtomicUsize::new(0)));
        let (end, counter) = (Arc::clone(&until), Arc::clone(&sent_so_far));
        let send = move || {
            let (mut records, mut sent) = (Generator::new(shape), Vec::new());
            while sent.len() < end.load(Ordering::Relaxed) {
                let before = sent.len();
                sent.extend(records.by_ref().take(per_second / PORTIONS_A_SECOND));
                sender.send(&sent[before..]);
                counter.store(sent.len(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_secs(1) / PORTIONS_A_SECOND as u32);
            }
            sent
        };
        Self { until, sent: sent_so_far, sender: tokio::task::spawn_blocking(send) }
    }

    pub fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    /// Ends it, once at least so many records were sent. Returns them in their order.
    pub async fn end(mut self, at_least: usize) -> Vec<GeneratedRecord> {
        self.until.store(at_least, Ordering::Relaxed);
        (&mut self.sender).await.unwrap()
    }
}

impl Drop for Flow {
    /// A test that fails doesn't wait for the rest.
    fn drop(&mut self) {
        self.until.store(0, Ordering::Relaxed);
    }
}
