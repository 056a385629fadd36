//! Writes a JSON value as YAML. Strings are always quoted, so nothing in them can mean something.

use serde_json::Value;

/// The value as a YAML document.
pub(super) fn render(value: &Value) -> String {
    let mut text = String::new();
    write(value, 0, &mut text);
    text
}

fn write(value: &Value, depth: usize, text: &mut String) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                indent(depth, text);
                text.push_str(name);
                text.push(':');
                nested(value, depth + 1, text);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                indent(depth, text);
                text.push('-');
                nested(item, depth + 1, text);
            }
        }
        other => {
            indent(depth, text);
            // Scalars and empty collections are the same in JSON and YAML.
            text.push_str(&other.to_string());
            text.push('\n');
        }
    }
}

fn nested(value: &Value, depth: usize, text: &mut String) {
    let is_block = match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    if is_block {
        text.push('\n');
        write(value, depth, text);
    } else {
        text.push_str(&format!(" {value}\n"));
    }
}

fn indent(depth: usize, text: &mut String) {
    text.push_str(&"  ".repeat(depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_and_lists_nest() {
        let value = serde_json::json!({
            "items": [{"name": "no", "up": 1}, []], "none": null, "text": "a: b\n"
        });
        assert_eq!(
            render(&value),
            "items:\n  -\n    name: \"no\"\n    up: 1\n  - []\nnone: null\ntext: \"a: b\\n\"\n"
        );
    }
}
