//! What a tool answers, within bounds: rows are limited where they are asked for, texts and maps here.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::failure::CallFailure;

/// Of one text. No summary is longer, but directories, branches and intents may be.
const MOST_CHARACTERS: usize = 500;
/// Of one map, such as the executions by tool.
const MOST_MEMBERS: usize = 50;

/// An answer that fits.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Answer(Map<String, Value>);

impl Answer {
    /// Adds a member whose texts and maps are cut where they are too long; `cut` counts those.
    pub(super) fn with(mut self, name: &str, value: impl Serialize) -> Result<Self, CallFailure> {
        let mut value = serde_json::to_value(value).map_err(|_| CallFailure::Refused)?;
        let cut = shorten(&mut value);
        if cut > 0 {
            let before = self.0.get("cut").and_then(Value::as_u64).unwrap_or(0);
            self.0.insert("cut".to_owned(), json!(before + cut));
        }
        self.0.insert(name.to_owned(), value);
        Ok(self)
    }

    /// Adds where the next answer begins. A position is never cut.
    pub(super) fn next(mut self, next: Option<impl ToString>) -> Self {
        self.0.insert("next".to_owned(), json!(next.map(|next| next.to_string())));
        self
    }

    pub(super) fn into_map(self) -> Map<String, Value> {
        self.0
    }
}

/// How many texts and maps were shortened.
fn shorten(value: &mut Value) -> u64 {
    match value {
        Value::String(text) => match text.char_indices().nth(MOST_CHARACTERS - 1) {
            Some((end, last)) if end + last.len_utf8() < text.len() => {
                text.truncate(end);
                text.push('…');
                1
            }
            _ => 0,
        },
        Value::Array(items) => items.iter_mut().map(shorten).sum(),
        Value::Object(members) => keep_greatest(members) + members.values_mut().map(shorten).sum::<u64>(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

fn keep_greatest(members: &mut Map<String, Value>) -> u64 {
    if members.len() <= MOST_MEMBERS {
        return 0;
    }
    let number = |value: &Value| value.as_f64().unwrap_or(0.0);
    let mut all: Vec<(String, Value)> = std::mem::take(members).into_iter().collect();
    // Stable: those of one number stay in their order.
    all.sort_by(|(_, one), (_, other)| number(other).total_cmp(&number(one)));
    all.truncate(MOST_MEMBERS);
    members.extend(all);
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_and_maps_are_cut_and_counted() {
        let fits = "ö".repeat(MOST_CHARACTERS);
        let usage: Map<String, Value> = (0..60).map(|count| (format!("tool{count:02}"), json!(count))).collect();
        let rows = json!([{"text": fits, "long": format!("{fits}ö"), "usage": usage}]);
        let answer = Answer::default().with("rows", rows).unwrap().next(Some("x".repeat(900))).into_map();
        assert_eq!(answer["cut"], 2);
        let row = &answer["rows"][0];
        assert_eq!(row["text"], fits);
        assert_eq!(row["long"], format!("{}…", "ö".repeat(MOST_CHARACTERS - 1)));
        let kept = row["usage"].as_object().unwrap();
        assert_eq!((kept.len(), kept.contains_key("tool10"), kept.contains_key("tool09")), (50, true, false));
        assert_eq!(answer["next"].as_str().unwrap().len(), 900);
    }

    #[test]
    fn what_fits_is_not_said_to_be_cut() {
        let answer = Answer::default().with("a", json!({"b": "c"})).unwrap().next(None::<String>).into_map();
        assert_eq!(Value::Object(answer), json!({"a": {"b": "c"}, "next": null}));
    }
}
