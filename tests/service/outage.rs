//! A service at work while something happens to its Postgres.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer},
};
use sessionfold::{
    generate::GeneratedRecord,
    pipeline::Totals,
    service::{ConsumerView, Monitor, Service, Sweeper, convergent, open_store},
    store::{BreakerState, Store},
    stream::Until,
};

use crate::{deployment::Deployment, expected::Expected, program::until, tables::assert_tables_equal};

const PATIENCE: Duration = Duration::from_secs(120);

/// A service at work, and what was seen of it.
pub struct AtWork {
    pub store: Store,
    pub monitor: Monitor,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    /// Each state of the breaker that differs from the one before.
    states: Vec<BreakerState>,
    /// Whether the partitions were paused while the breaker was open.
    paused: bool,
}

impl AtWork {
    /// Notes what the breaker and the partitions do, until the service is gone.
    fn watch(store: Store, monitor: Monitor) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (watched, progress) = (store.clone(), Arc::downgrade(&monitor.progress));
        let notes = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Some(progress) = progress.upgrade() {
                let state = watched.breaker().state;
                {
                    let mut seen = notes.lock().unwrap();
                    if seen.states.last() != Some(&state) {
                        seen.states.push(state);
                    }
                    seen.paused |= state == BreakerState::Open && progress.is_paused();
                }
                drop(progress);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        Self { store, monitor, seen }
    }

    fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    /// Until Postgres is left alone, was asked again at least once, and the partitions are paused since then.
    pub async fn until_it_stands_still(&self) {
        let stands_still = async || {
            let seen = self.seen();
            seen.paused && seen.states.contains(&BreakerState::HalfOpen)
        };
        until("the breaker opens, probes, and the partitions are paused", PATIENCE, stands_still).await;
    }

    /// Transactions of batches that failed.
    pub fn failed_batches(&self) -> u64 {
        let of_batches = |name: &str| name == "commit_batch" || name == "read_standing";
        self.store.statistics().iter().filter(|(name, _)| of_batches(name)).map(|(_, of)| of.failures).sum()
    }
}

/// How a service went through a fault.
pub struct Outcome {
    pub totals: Totals,
    pub openings: u64,
    pub failures: u64,
    /// From the end of the fault to the next batch that was committed.
    pub resumed_after: Duration,
    /// What the pipeline logged.
    pub log: String,
}

/// A deployment that notices a fault within seconds, and would be evicted from its group within seconds.
pub async fn watchful(server: &str) -> Deployment {
    let mut deployment = Deployment::on(server, 2).await;
    for (name, value) in [
        ("SESSIONFOLD_BATCH__MAX_EVENTS", "500"),
        ("SESSIONFOLD_KAFKA__CLIENT__MAX_POLL_INTERVAL_MS", "6000"),
        ("SESSIONFOLD_POSTGRES__CONNECT_TIMEOUT", "500ms"),
        ("SESSIONFOLD_POSTGRES__STATEMENT_TIMEOUT", "1s"),
        ("SESSIONFOLD_BREAKER__FAILURE_THRESHOLD", "2"),
        ("SESSIONFOLD_BREAKER__OPEN_FOR", "300ms"),
        ("SESSIONFOLD_BREAKER__HALF_OPEN_SUCCESSES", "2"),
        // It looks often, and finds nothing: the model knows no clock.
        ("SESSIONFOLD_SWEEP__INTERVAL", "50ms"),
        ("SESSIONFOLD_AGGREGATOR__INACTIVITY_TIMEOUT", "3650d"),
    ] {
        deployment.set(name, value);
    }
    deployment
}

/// Lets a service work while events flow, with the sweep beside it, and a fault come and go meanwhile. Whatever the fault:
/// nobody is evicted from the group, work is resumed without help, the tables equal the fold, and the counts add up.
pub async fn work_through(
    deployment: &Deployment,
    sent: &[GeneratedRecord],
    pause_between_sends: Duration,
    fault: impl AsyncFnOnce(&AtWork),
) -> Outcome {
    let (config, all) = (deployment.config(), sent.len() as u64);
    let store = open_store(&config);
    let service = Service::start(&config, store.clone(), deployment.aggregators(), Until::Stopped).unwrap();
    let log = Log::default();
    let _capturing = log.capture();
    let at_work = AtWork::watch(store.clone(), service.monitor());
    let view = Arc::new(ConsumerView::of(at_work.monitor.clone()));
    let sweeper = Sweeper::new(&config, store, convergent(&config), view);
    let sending = send_slowly(deployment, sent, pause_between_sends);
    let (committed, progress) = (|| at_work.monitor.counts.totals().records(), &at_work.monitor.progress);
    let scenario = async {
        until("the first records are committed", PATIENCE, async || committed() > 0).await;
        let (before, openings) = (members(deployment), at_work.store.breaker().openings);
        fault(&at_work).await;
        let (ended, then) = (Instant::now(), committed());
        until("work goes on", PATIENCE, async || committed() > then || then == all).await;
        let resumed_after = ended.elapsed();
        until("everything is committed", PATIENCE, async || committed() == all).await;
        assert_eq!(members(deployment), before, "the members of the group");
        assert_eq!(progress.discarded(), 0, "a partition was taken away");
        let closed = async || at_work.store.breaker().state == BreakerState::Closed;
        until("the breaker closes", PATIENCE, closed).await;
        at_work.monitor.stopper.stop();
        (resumed_after, at_work.store.breaker().openings - openings)
    };
    let work = async { tokio::join!(service.run(), scenario) };
    let (totals, (resumed_after, openings)) = tokio::select! {
        worked = work => worked,
        error = sweeper.run() => panic!("the sweep ended: {error}"),
    };
    sending.await.unwrap();
    let totals = totals.unwrap();
    assert_eq!((totals.records(), totals.fences), (all, 0));
    let expected = Expected::of(sent);
    assert_eq!(totals.applied, expected.distinct_events());
    assert_tables_equal(deployment, &expected).await;
    Outcome { totals, openings, failures: at_work.failed_batches(), resumed_after, log: log.text() }
}

/// Sends a twentieth at a time, from a thread of its own.
fn send_slowly(deployment: &Deployment, sent: &[GeneratedRecord], pause: Duration) -> tokio::task::JoinHandle<()> {
    let (deployment, sent, runtime) = (deployment.clone(), sent.to_vec(), tokio::runtime::Handle::current());
    tokio::task::spawn_blocking(move || {
        for part in sent.chunks(sent.len().div_ceil(20)) {
            runtime.block_on(deployment.send(part));
            std::thread::sleep(pause);
        }
    })
}

/// The group's members, by the ids that they got when they joined.
fn members(deployment: &Deployment) -> Vec<String> {
    let brokers = &deployment.settings.iter().find(|(name, _)| name == "SESSIONFOLD_KAFKA__BROKERS").unwrap().1;
    let asking: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let groups = asking.fetch_group_list(Some(&deployment.group_id), Duration::from_secs(5)).unwrap();
    let members = groups.groups().iter().flat_map(|group| group.members());
    let members: Vec<String> = members.map(|member| member.id().to_owned()).collect();
    assert_eq!(members.len(), 1, "{members:?}");
    members
}

/// What is logged on this thread, where the pipeline works.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn capture(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || log.clone()).finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
