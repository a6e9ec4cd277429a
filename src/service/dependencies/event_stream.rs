//! Server-sent events, as far as MCP uses them: of each event the data.

/// Takes in a stream in any pieces.
#[derive(Debug, Default)]
pub(super) struct EventStream {
    line: Vec<u8>,
    data: Vec<Vec<u8>>,
    /// A line ends in CR, LF, or both.
    after_cr: bool,
}

impl EventStream {
    /// The data of the events that this piece ends.
    pub(super) fn push(&mut self, piece: &[u8]) -> Vec<Vec<u8>> {
        let mut events = Vec::new();
        for byte in piece {
            let is_rest_of_end = std::mem::replace(&mut self.after_cr, *byte == b'\r') && *byte == b'\n';
            match byte {
                _ if is_rest_of_end => {}
                b'\r' | b'\n' => events.extend(self.end_line()),
                _ => self.line.push(*byte),
            }
        }
        events
    }

    /// An empty line ends an event, which is none without data.
    fn end_line(&mut self) -> Option<Vec<u8>> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            return (!data.is_empty()).then(|| data.join(&b'\n'));
        }
        if let Some(data) = line.strip_prefix(b"data:") {
            self.data.push(data.strip_prefix(b" ").unwrap_or(data).to_vec());
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_data_of_each_event_is_found_whatever_else_it_has_and_however_lines_end() {
        for end in ["\n", "\r\n", "\r"] {
            let text = ": hello||event: message|data: {\"a\":|data:1}|id: 5||retry: 3||data: two||data: unfinished";
            let events = EventStream::default().push(text.replace('|', end).as_bytes());
            assert_eq!(events, [b"{\"a\":\n1}".to_vec(), b"two".to_vec()]);
        }
    }

    proptest! {
        #[test]
        fn it_does_not_matter_in_which_pieces_it_comes(
            text in "(data: ?[a-c]{0,3}|[:x]|\r|\n|\r\n){0,30}",
            size in 1..9_usize,
        ) {
            let whole = EventStream::default().push(text.as_bytes());
            let mut stream = EventStream::default();
            let pieces: Vec<_> = text.as_bytes().chunks(size).flat_map(|piece| stream.push(piece)).collect();
            prop_assert_eq!(whole, pieces);
        }
    }
}
