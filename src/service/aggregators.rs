//! The choice of the sessions' aggregator, made once for all that need one.

/// Evaluates an expression with the aggregators that the configuration chooses.
///
/// A macro, since each choice is a type of its own, and a closure can't be generic.
macro_rules! with_aggregators {
    ($config:expr, $sides:expr, |$aggregators:ident| $body:expr) => {
        match $config.aggregator.kind {
            $crate::config::AggregatorKind::Convergent => {
                let session = $crate::service::convergent(&$config);
                let $aggregators = $crate::fold::Aggregators { session, sides: $sides };
                $body
            }
            $crate::config::AggregatorKind::Reference => {
                let session = $crate::service::reference(&$config);
                let $aggregators = $crate::fold::Aggregators { session, sides: $sides };
                $body
            }
        }
    };
}

pub(crate) use with_aggregators;
