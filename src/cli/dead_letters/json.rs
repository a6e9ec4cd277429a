//! JSON laid out a member a line, as it was written: members keep their order and come twice where they do, and numbers
//! keep their form, since that may be the fault.

use crate::{cli::terminal::visible, event::path_part};

use super::value::{REDACTED, Style, Text, is_secret, shown};

/// Lays out a text that is JSON. `fault` is the path of the member at fault; where that is not there, the object that
/// should have it is marked.
pub(super) fn lay_out(text: &str, fault: Option<&str>, style: Style) -> Text {
    let mut layout = Layout { rest: text, style, lines: Vec::new() };
    layout.value(&Place { indent: 0, lead: String::new(), path: Some(String::new()), is_secret: false });
    let lines = layout.lines;
    let faults = fault.map(|fault| lines_at_fault(&lines, fault)).unwrap_or_default();
    Text { lines: lines.into_iter().map(|line| line.text).collect(), faults }
}

fn lines_at_fault(lines: &[Line], fault: &str) -> Vec<usize> {
    let mut path = fault;
    loop {
        let of_path = lines.iter().enumerate().filter(|(_, line)| line.path.as_deref() == Some(path));
        let found: Vec<usize> = of_path.map(|(index, _)| index).collect();
        if !found.is_empty() || path.is_empty() {
            return found;
        }
        path = path.rsplit_once('.').map_or("", |(parent, _)| parent);
    }
}

struct Line {
    text: String,
    /// Of the member that begins here; none inside arrays and where a bracket closes.
    path: Option<String>,
}

/// Where a value stands.
struct Place {
    indent: usize,
    /// Its name, as it is printed before it.
    lead: String,
    path: Option<String>,
    is_secret: bool,
}

struct Layout<'t> {
    rest: &'t str,
    style: Style,
    lines: Vec<Line>,
}

impl<'t> Layout<'t> {
    fn value(&mut self, place: &Place) {
        match self.peek() {
            Some('{') => self.members('}', place),
            Some('[') => self.members(']', place),
            Some('"') => {
                let token = self.string();
                let text = if place.is_secret { self.secret() } else { self.quoted(token) };
                self.line(place, &text);
            }
            _ => {
                let token = self.scalar();
                let is_shown = !place.is_secret || matches!(token, "null" | "true" | "false");
                let text = if is_shown { token.to_owned() } else { self.secret() };
                self.line(place, &text);
            }
        }
    }

    fn members(&mut self, end: char, place: &Place) {
        let begin = self.take_one();
        if self.peek() == Some(end) {
            self.take_one();
            return self.line(place, &format!("{begin}{end}"));
        }
        self.line(place, begin);
        loop {
            let member = if end == '}' { self.member(place) } else { Self::element(place) };
            self.value(&member);
            match self.peek() {
                Some(',') => {
                    self.take_one();
                    if let Some(last) = self.lines.last_mut() {
                        last.text.push(',');
                    }
                }
                // The closing bracket, since the text is JSON.
                _ => {
                    self.take_one();
                    let closing = Place { lead: String::new(), path: None, ..*place };
                    return self.line(&closing, &end.to_string());
                }
            }
        }
    }

    /// Takes a member's name.
    fn member(&mut self, of: &Place) -> Place {
        self.peek();
        let token = self.string();
        let name: String = serde_json::from_str(token).unwrap_or_default();
        self.peek();
        self.take_one();
        let part = path_part(&name);
        let path = of.path.as_ref().map(|path| if path.is_empty() { part.clone() } else { format!("{path}.{part}") });
        let is_secret = self.style == Style::Redacted && (of.is_secret || is_secret(&name));
        Place { indent: of.indent + 1, lead: format!("{}: ", self.quoted(token)), path, is_secret }
    }

    fn element(of: &Place) -> Place {
        Place { indent: of.indent + 1, lead: String::new(), path: None, is_secret: of.is_secret }
    }

    fn line(&mut self, place: &Place, text: &str) {
        let text = format!("{}{}{text}", "  ".repeat(place.indent), place.lead);
        self.lines.push(Line { text, path: place.path.clone() });
    }

    fn secret(&self) -> String {
        format!("\"{REDACTED}\"")
    }

    /// A string as it is printed, of one as it is written.
    fn quoted(&self, token: &str) -> String {
        let text: String = serde_json::from_str(token).unwrap_or_default();
        let shown = shown(&text, self.style);
        // Its escapes are as they were unless something was replaced.
        if shown == text {
            return visible(token);
        }
        visible(&serde_json::Value::from(shown).to_string())
    }

    /// The next character that isn't white space.
    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
        self.rest.chars().next()
    }

    fn take(&mut self, length: usize) -> &'t str {
        let (token, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = rest;
        token
    }

    /// A bracket, comma or colon.
    fn take_one(&mut self) -> &'t str {
        self.take(1)
    }

    /// A string with its quotes.
    fn string(&mut self) -> &'t str {
        let mut is_escaped = false;
        let end = self.rest.bytes().skip(1).position(|byte| {
            let is_end = byte == b'"' && !is_escaped;
            is_escaped = byte == b'\\' && !is_escaped;
            is_end
        });
        self.take(end.map_or(self.rest.len(), |end| end + 2))
    }

    /// A number or a word.
    fn scalar(&mut self) -> &'t str {
        let end = self.rest.find([',', ']', '}', ' ', '\t', '\n', '\r']);
        self.take(end.unwrap_or(self.rest.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str, style: Style) -> Vec<String> {
        lay_out(text, None, style).lines
    }

    #[track_caller]
    fn at_fault(text: &str, fault: &str) -> Vec<String> {
        let text = lay_out(text, Some(fault), Style::Redacted);
        text.faults.iter().map(|line| text.lines[*line].trim().to_owned()).collect()
    }

    #[test]
    fn members_keep_their_order_their_numbers_and_their_repetitions() {
        let text = r#" {"b":5.0,"a":[1e3,-0, {}],"b":[],"c":{"d":"x\u00e9\"}"},"e":null} "#;
        let expected = [
            "{",
            "  \"b\": 5.0,",
            "  \"a\": [",
            "    1e3,",
            "    -0,",
            "    {}",
            "  ],",
            "  \"b\": [],",
            "  \"c\": {",
            "    \"d\": \"x\\u00e9\\\"}\"",
            "  },",
            "  \"e\": null",
            "}",
        ];
        assert_eq!(lines(text, Style::Redacted), expected);
        assert_eq!(lines("true", Style::Redacted), ["true"]);
    }

    #[test]
    fn every_member_of_the_path_is_marked_and_where_there_is_none_the_object_that_lacks_it() {
        let text = r#"{"event_type":"x","payload":{"a":1,"a":2,"b":{"a":3}},"event_type":"y"}"#;
        assert_eq!(at_fault(text, "payload.a"), ["\"a\": 1,", "\"a\": 2,"]);
        assert_eq!(at_fault(text, "event_type"), ["\"event_type\": \"x\",", "\"event_type\": \"y\""]);
        assert_eq!(at_fault(text, "payload.session_id"), ["\"payload\": {"]);
        assert_eq!(at_fault(text, "schema_version"), ["{"]);
        assert_eq!(at_fault("[1]", "event_type"), ["["]);
    }

    #[test]
    fn a_name_is_found_as_a_refusal_writes_it() {
        let long = "x".repeat(100);
        let text = format!(r#"{{"{long}":1,"a\u0000":2}}"#);
        assert_eq!(at_fault(&text, &path_part(&long)), [format!("\"{long}\": 1,")]);
        assert_eq!(at_fault(&text, &path_part("a\0")), ["\"a\\u0000\": 2"]);
    }

    #[test]
    fn secrets_are_replaced_by_their_form_and_by_their_name() {
        let text = r#"{"note":"sk-aaaaaaaaaaaaaaaaaaaaaaaa","password":"x","api_key":{"v":[12345,true]},"token":null}"#;
        let expected = [
            "{",
            "  \"note\": \"sk-***REDACTED***\",",
            "  \"password\": \"***REDACTED***\",",
            "  \"api_key\": {",
            "    \"v\": [",
            "      \"***REDACTED***\",",
            "      true",
            "    ]",
            "  },",
            "  \"token\": null",
            "}",
        ];
        assert_eq!(lines(text, Style::Redacted), expected);
        assert!(lines(text, Style::Raw).join("").contains("sk-aaaaaaaaaaaaaaaaaaaaaaaa"));
    }

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(lines("[\"\u{9b}31m\u{202e}\"]", Style::Raw)[1], "  \"\\u{9b}31m\\u{202e}\"");
    }
}
