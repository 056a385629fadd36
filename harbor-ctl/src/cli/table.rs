//! Tables of plain columns, two spaces apart.

use comfy_table::{Table, TableStyle};

use crate::model::escaped;

/// Lines of columns; `state` names the heading whose words get colour.
pub(super) fn render(
    headings: &[&str],
    rows: &[Vec<String>],
    has_headings: bool,
    state: Option<&str>,
) -> String {
    let mut table = Table::new();
    table.load_style(TableStyle::new());
    if has_headings {
        table.set_header(headings.to_vec());
    }
    for row in rows {
        table.add_row(row.iter().map(|cell| escaped(cell).into_owned()));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let state = state.and_then(|state| headings.iter().position(|heading| *heading == state));
    let first_row = usize::from(has_headings);
    let mut text = String::new();
    for (index, line) in table.lines().enumerate() {
        let word = state
            .filter(|_| index >= first_row)
            .and_then(|column| rows.get(index - first_row).and_then(|row| row.get(column)));
        match word {
            Some(word) => text.push_str(&colored(line.trim_end(), word)),
            None => text.push_str(line.trim_end()),
        }
        text.push('\n');
    }
    text
}

/// Colours the last occurrence: no column behind a state holds such a word.
fn colored(line: &str, word: &str) -> String {
    let code = match word {
        "up" | "ok" => "32",
        "degraded" | "draining" | "leaving" => "33",
        "down" | "conflict" => "31",
        _ => return line.to_owned(),
    };
    match line.rfind(word) {
        Some(at) => {
            let (before, rest) = line.split_at(at);
            let after = &rest[word.len()..];
            format!("{before}\u{1b}[{code}m{word}\u{1b}[0m{after}")
        }
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Vec<String>> {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        vec![
            row(["35217", "web", "up"]),
            row(["36002", "a-longer-one", "down"]),
        ]
    }

    #[test]
    fn columns_line_up_without_trailing_blanks() {
        assert_eq!(
            render(&["PORT", "NAME", "STATE"], &rows(), true, None),
            "PORT   NAME          STATE\n\
             35217  web           up\n\
             36002  a-longer-one  down\n"
        );
        assert_eq!(
            render(&["PORT", "NAME", "STATE"], &rows(), false, None)
                .lines()
                .count(),
            2
        );
        assert_eq!(render(&["PORT"], &[], true, None), "PORT\n");
    }

    #[test]
    fn only_states_are_coloured() {
        let text = render(&["PORT", "NAME", "STATE"], &rows(), true, Some("STATE"));
        assert!(text.contains("\u{1b}[32mup\u{1b}[0m\n"), "{text:?}");
        assert!(text.contains("\u{1b}[31mdown\u{1b}[0m\n"), "{text:?}");
    }

    #[test]
    fn foreign_text_is_escaped() {
        let text = render(&["X"], &[vec!["a\u{1b}b\nc".to_owned()]], true, None);
        assert_eq!(text, "X\na\\u{1b}b\\nc\n");
    }
}
