//! Parts that are killed or frozen on purpose. Only in builds with the feature `sabotage`, which are the tests' own.

use std::{
    collections::BTreeMap,
    sync::{LazyLock, Mutex, PoisonError},
};

use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// It panics.
    Kill,
    /// Its task does nothing any more, and holds what it holds.
    Freeze,
}

type Order = watch::Sender<Option<Sabotage>>;

/// What was ordered last for each part that ever lived.
static ORDERS: LazyLock<Mutex<BTreeMap<&'static str, Order>>> = LazyLock::new(Mutex::default);

/// Does this to a part that lives; false where none has that name.
pub fn commit(name: &str, sabotage: Sabotage) -> bool {
    let orders = ORDERS.lock().unwrap_or_else(PoisonError::into_inner);
    orders.get(name).is_some_and(|order| order.send(Some(sabotage)).is_ok())
}

/// Waits for the next order for this part. Returns if it is to freeze.
pub(super) async fn of(name: &'static str) {
    let mut ordered = {
        let mut orders = ORDERS.lock().unwrap_or_else(PoisonError::into_inner);
        orders.entry(name).or_insert_with(|| watch::Sender::new(None)).subscribe()
    };
    while ordered.changed().await.is_ok() {
        let sabotage = *ordered.borrow_and_update();
        match sabotage {
            Some(Sabotage::Kill) => panic!("{name} was killed on purpose"),
            Some(Sabotage::Freeze) => tracing::warn!(part = name, "frozen on purpose"),
            None => continue,
        }
        return;
    }
    std::future::pending().await
}
