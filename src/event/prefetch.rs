//! Prefetching the texts of events, which lie all over the memory and were written by another thread.

use super::{Body, Event};

/// How many events' texts are fetched at once.
const TOGETHER: usize = 16;

/// Walks through these, whose events' texts are wanted. Those of the next few are touched before their turn, so that the
/// processor waits for the memory of all of them at once, and not for one after the other.
pub(crate) fn prefetched<'i, T>(items: &'i [T], event: impl Fn(&'i T) -> &'i Event) -> impl Iterator<Item = &'i T> {
    items.chunks(TOGETHER).flat_map(move |few| {
        touch(few.iter().map(&event));
        few
    })
}

/// Reads the first and the last byte of each text.
fn touch<'e>(events: impl Iterator<Item = &'e Event>) {
    let ends = |text: &str| {
        let bytes = text.as_bytes();
        Some(bytes.first()?.wrapping_add(*bytes.last()?))
    };
    // The compiler leaves out what is read for nothing.
    let sum = events.flat_map(texts).flatten().filter_map(ends).fold(0, u8::wrapping_add);
    std::hint::black_box(sum);
}

/// Those that usually lie outside of the event.
fn texts(event: &Event) -> [Option<&str>; 3] {
    let [first, second] = match &event.body {
        Body::Started(started) => {
            [Some(started.working_directory.as_str()), started.git_branch.as_ref().map(|branch| branch.as_str())]
        }
        Body::Prompt(prompt) => {
            [Some(prompt.prompt_preview.as_str()), prompt.detected_intent.as_ref().map(|intent| intent.as_str())]
        }
        Body::Tool(tool) => [tool.summary.as_ref().map(|summary| summary.as_str()), None],
        Body::Ended(_) => [None, None],
    };
    [Some(event.action_description.as_str()), first, second]
}

#[cfg(test)]
mod tests {
    use crate::event::{Count, EndReason, Ended, samples};

    use super::*;

    #[test]
    fn all_are_walked_through_in_their_order() {
        let tools_used_count = Count::new(0).unwrap();
        let event = samples::event(
            "s",
            Body::Ended(Ended { reason: EndReason::Other, duration_seconds: None, tools_used_count }),
        );
        for len in [0, 1, TOGETHER - 1, TOGETHER, TOGETHER + 1, 3 * TOGETHER + 5] {
            let places: Vec<usize> = (0..len).collect();
            let walked: Vec<usize> = prefetched(&places, |_| &event).copied().collect();
            assert_eq!(walked, places);
        }
    }
}
