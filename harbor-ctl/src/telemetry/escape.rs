//! A writer that lets no control character into a log line, and no line grow long.

use std::io::{self, Write};

use tracing_subscriber::fmt::MakeWriter;

/// Wraps a writer of whole lines; each write is one event that ends with a newline.
pub(crate) struct Escaping<M>(pub(crate) M);

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for Escaping<M> {
    type Writer = EscapingWriter<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        EscapingWriter(self.0.make_writer())
    }
}

/// The longest line, with its line feed, in bytes.
const LINE_LIMIT: usize = 2_048;

/// Writes one event.
pub(crate) struct EscapingWriter<W>(W);

impl<W: Write> Write for EscapingWriter<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = event.strip_suffix(b"\n").unwrap_or(event);
        match std::str::from_utf8(line) {
            Ok(text) => {
                let mut safe = crate::model::escaped(text).into_owned();
                shorten(&mut safe);
                safe.push('\n');
                self.0.write_all(safe.as_bytes())?;
            }
            Err(_) => self.0.write_all(b"(a log line that was not UTF-8)\n")?,
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Cuts a line that is too long, and says so.
fn shorten(line: &mut String) {
    if line.len() < LINE_LIMIT {
        return;
    }
    let note = format!(" (cut from {} bytes)", line.len());
    let end = (0..LINE_LIMIT - note.len())
        .rev()
        .find(|end| line.is_char_boundary(*end));
    line.truncate(end.unwrap_or_default());
    line.push_str(&note);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_cut() {
        for event in [
            "x".repeat(60_000),
            "é".repeat(30_000),
            "\u{1}".repeat(2_047),
        ] {
            let mut out = Vec::new();
            EscapingWriter(&mut out)
                .write_all(format!("{event}\n").as_bytes())
                .unwrap();
            let text = String::from_utf8(out).unwrap();
            assert!((2_040..=LINE_LIMIT).contains(&text.len()), "{}", text.len());
            assert!(text.ends_with("bytes)\n"));
        }
        let mut out = Vec::new();
        let event = format!("{}\n", "x".repeat(2_047));
        EscapingWriter(&mut out)
            .write_all(event.as_bytes())
            .unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), event);
    }

    #[test]
    fn one_event_is_one_line() {
        let mut out = Vec::new();
        let event = b"one\nINFO forged \x1b[2J\n";
        assert_eq!(EscapingWriter(&mut out).write(event).unwrap(), event.len());
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "one\\nINFO forged \\u{1b}[2J\n"
        );
    }
}
