//! A member of the group: the production pipeline between a simulated consumer and the store in memory, polled by hand.

use std::{
    cell::RefCell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use sessionfold::{
    fold::{Aggregators, Convergent},
    pipeline::{Pipeline, PipelineError, PipelineOptions, Totals},
    store::Publication,
};

use crate::{
    broker::Broker,
    gate::Gate,
    memory::Memory,
    poller::{Poller, Reader},
    spans::Spans,
    tables::Tables,
    trace::Trace,
};

type Run = Pin<Box<dyn Future<Output = Result<Totals, PipelineError>>>>;

pub struct Member {
    pub poller: Rc<RefCell<Poller>>,
    pub gate: Rc<Gate>,
    run: Run,
}

impl Member {
    pub fn start(
        number: usize,
        broker: &Rc<RefCell<Broker>>,
        tables: &Rc<RefCell<Tables>>,
        aggregators: &Aggregators<Convergent>,
        trace: &Trace,
        spans: &Spans,
    ) -> Self {
        let poller = Rc::new(RefCell::new(Poller::new(number, Rc::clone(broker), trace.clone())));
        let gate = Rc::<Gate>::default();
        let store = Memory { member: number, tables: Rc::clone(tables), gate: Rc::clone(&gate), trace: trace.clone() };
        let options =
            PipelineOptions { group_id: "group".to_owned(), keep_rejected: false, publication: Publication::Published };
        let mut pipeline = Pipeline::new(store, aggregators.clone(), options).traced(Some(spans.tracing()));
        let reader = Reader::new(Rc::clone(&poller));
        // The runtime's budget of a task knows nothing of futures that are polled by hand.
        let run = tokio::task::unconstrained(async move { pipeline.run(reader).await });
        Self { poller, gate, run: Box::pin(run) }
    }

    /// Lets the pipeline go on until it waits; its result if it has ended.
    pub fn poll(&mut self) -> Option<Result<Totals, PipelineError>> {
        match self.run.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => Some(result),
            Poll::Pending => None,
        }
    }

    pub fn is_stopping(&self) -> bool {
        self.poller.borrow().is_stopping()
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.gate.waiting().is_none() && self.poller.borrow().is_idle()
    }
}
