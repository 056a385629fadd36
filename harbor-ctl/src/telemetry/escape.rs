//! A writer that lets no control character into a log line.

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

/// Writes one event.
pub(crate) struct EscapingWriter<W>(W);

impl<W: Write> Write for EscapingWriter<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = event.strip_suffix(b"\n").unwrap_or(event);
        match std::str::from_utf8(line) {
            Ok(text) => {
                let mut safe = crate::model::escaped(text).into_owned();
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

#[cfg(test)]
mod tests {
    use super::*;

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
