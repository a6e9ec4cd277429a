//! Topics, and with them the brokers: whether they are there.

use std::{sync::Arc, time::Duration};

use tokio::sync::Mutex;

use crate::{
    config::KafkaConfig,
    service::ConsumerView,
    stream::{StreamError, describe_topics},
};

use super::snapshot::{Answer, Counted, Fault};

/// Topics to ask the brokers for.
#[derive(Debug)]
pub(super) struct Topics {
    kafka: KafkaConfig,
    names: Vec<String>,
    /// Of the consumer that reads them, where one does.
    reader: Option<Arc<ConsumerView>>,
    /// Librdkafka can't be told to stop waiting. Held while it does, so that no second question begins meanwhile.
    turn: Arc<Mutex<()>>,
}

impl Topics {
    /// None where there is no topic to ask for.
    pub(super) fn new(kafka: &KafkaConfig, names: Vec<String>, reader: Option<Arc<ConsumerView>>) -> Option<Self> {
        (!names.is_empty()).then(|| Self { kafka: kafka.clone(), names, reader, turn: Arc::default() })
    }

    /// By a connection of its own, as a new client would make it.
    pub(super) async fn ask(&self, timeout: Duration) -> Answer {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let (kafka, names) = (self.kafka.clone(), self.names.clone());
        let describe = move || {
            let _turn = turn;
            describe_topics(&kafka, &names, timeout)
        };
        let described = tokio::task::spawn_blocking(describe).await;
        let described =
            described.map_err(|_| Fault::new("the question panicked"))?.map_err(|error| in_words(&error))?;
        let missing: Vec<&str> =
            described.iter().filter(|(_, found)| found.is_none()).map(|(name, _)| name.as_str()).collect();
        if !missing.is_empty() {
            return Err(Fault::new(format!("missing: {}", missing.join(", "))));
        }
        let partitions = described.iter().filter_map(|(_, found)| *found).sum();
        let lag = self.reader.as_ref().and_then(|view| view.monitor().lag());
        Ok(Counted { partitions: Some(partitions), lag, ..Counted::default() })
    }
}

/// Without librdkafka's words, which may quote what a broker says; they are in the log.
fn in_words(error: &StreamError) -> Fault {
    match error {
        StreamError::Unreachable { waited, .. } => {
            Fault::new(format!("no broker answered within {waited:?}; the log has librdkafka's words"))
        }
        StreamError::Topic { topic, code } => Fault::new(format!("topic {topic}: the broker says: {code}")),
        StreamError::Request(code) => Fault::new(format!("the request failed: {code}")),
        _ => Fault::new("librdkafka can't ask; the log says why"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_broker_or_librdkafka_says_is_not_passed_on() {
        let last_error = Some("SASL authentication error: hunter2 is no password".to_owned());
        for error in [
            StreamError::Unreachable { brokers: "b:9092".to_owned(), waited: Duration::from_secs(30), last_error },
            StreamError::Client("hunter2".to_owned()),
        ] {
            let said = in_words(&error).to_string();
            assert!(!said.contains("hunter2") && said.contains("log"), "{said}");
        }
    }
}
