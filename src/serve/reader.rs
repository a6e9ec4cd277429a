//! Asks the tables from a thread of its own, so that reading and sorting their rows takes no turn of the consumer's.

use std::{io, pin::Pin};

use tokio::{
    runtime,
    sync::{mpsc, oneshot},
    task::LocalSet,
};

use crate::store::{Failure, Store, StoreError};

type Job = Box<dyn FnOnce(Store) -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// The way to that thread, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Reader {
    jobs: mpsc::UnboundedSender<Job>,
}

impl Reader {
    /// Of this store, which nobody else uses: its connections belong to the thread of this name.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(super) fn start(name: &str, store: Store) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let (jobs, mut asked) = mpsc::unbounded_channel::<Job>();
        let work = async move {
            while let Some(job) = asked.recv().await {
                tokio::task::spawn_local(job(store.clone()));
            }
        };
        let run = move || LocalSet::new().block_on(&runtime, work);
        std::thread::Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(Self { jobs })
    }

    /// Asks a question. It ends where nobody waits for its answer any more.
    ///
    /// # Errors
    /// As the question, or if it panicked.
    pub(super) async fn ask<T, F>(&self, question: impl FnOnce(Store) -> F + Send + 'static) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>>,
    {
        let (mut answer, answered) = oneshot::channel();
        let job = move |store| -> Pin<Box<dyn Future<Output = ()>>> {
            Box::pin(async move {
                let result = tokio::select! {
                    result = question(store) => result,
                    () = answer.closed() => return,
                };
                let _ = answer.send(result);
            })
        };
        // Without the thread, the answer is missing as well.
        let _ = self.jobs.send(Box::new(job));
        answered.await.unwrap_or_else(|_| Err(StoreError::new(Failure::Setup, "the question panicked")))
    }
}
