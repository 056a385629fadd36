//! Paints the view; 80 columns by 24 lines are enough.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Modifier, Style},
    text::Line,
    widgets::{Cell, Row, Table, TableState},
};

use super::{
    sample::{Detail, HEADINGS, cells, drops, summary},
    view::View,
};
use crate::{
    cli::failure::Failure,
    model::{escaped, known},
};

const KEYS: &str = "q end  arrows choose  Enter into  s sort  p pause";
const KEYS_INSIDE: &str = "q end  Esc back  p pause";

pub(super) fn draw(frame: &mut Frame<'_>, view: &View) {
    let [head, second, body, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(3),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let bold = Style::new().add_modifier(Modifier::BOLD);
    frame.render_widget(Line::styled(summary(&view.report), bold), head);
    let second_line = match &view.trouble {
        Some(trouble) => format!("as it was: {}", escaped(trouble)),
        None => drops(&view.report),
    };
    frame.render_widget(Line::raw(second_line), second);
    let keys = match view.inside() {
        Some(port) => {
            inside(frame, body, (port, view.detail.as_ref()));
            KEYS_INSIDE.to_owned()
        }
        None => {
            ports(frame, body, view);
            format!("{KEYS}  by {}", view.order.name())
        }
    };
    let paused = if view.is_paused { "  PAUSED" } else { "" };
    let reversed = Style::new().add_modifier(Modifier::REVERSED);
    frame.render_widget(Line::styled(format!("{keys}{paused}"), reversed), foot);
}

fn heading<'a>(titles: impl IntoIterator<Item = &'a str>) -> Row<'a> {
    Row::new(titles.into_iter().map(Cell::new)).style(Style::new().add_modifier(Modifier::BOLD))
}

fn ports(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let row = |port| Row::new(cells(port).map(|cell| escaped(&cell).into_owned()));
    let rows: Vec<Row<'_>> = view.report.items.iter().map(row).collect();
    let widths = [
        Constraint::Length(5),
        Constraint::Length(7),
        Constraint::Min(10),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(6),
        Constraint::Length(5),
        Constraint::Length(12),
        Constraint::Length(12),
    ];
    let table = Table::new(rows, widths)
        .header(heading(HEADINGS))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::new().with_selected(view.chosen());
    frame.render_stateful_widget(table, area, &mut state);
}

fn inside(
    frame: &mut Frame<'_>,
    area: Rect,
    (port, detail): (u16, Option<&Result<Detail, Failure>>),
) {
    let detail = match detail {
        None => return frame.render_widget(Line::raw(format!("port {port} ...")), area),
        Some(Err(failure)) => {
            let text = format!("port {port}: {}", escaped(failure.description()));
            return frame.render_widget(Line::raw(text), area);
        }
        Some(Ok(detail)) => detail,
    };
    let [left, right] =
        Layout::horizontal([Constraint::Min(40), Constraint::Length(26)]).areas(area);
    let backend = |item: &crate::api::BackendItem| {
        let state = match &item.reason {
            Some(reason) => format!("{}: {reason}", item.state),
            None => item.state.clone(),
        };
        Row::new([
            item.address.to_string(),
            known(item.flows),
            escaped(&state).into_owned(),
        ])
    };
    let widths = [
        Constraint::Length(22),
        Constraint::Length(7),
        Constraint::Min(8),
    ];
    let backends = Table::new(detail.backends.iter().map(backend), widths);
    let title = format!("BACKEND OF {port}");
    frame.render_widget(
        backends.header(heading([title.as_str(), "FLOWS", "STATE"])),
        left,
    );
    let client = |(ip, flows): &(String, usize)| Row::new([ip.clone(), flows.to_string()]);
    let widths = [Constraint::Min(16), Constraint::Length(6)];
    let clients = Table::new(detail.clients.iter().map(client), widths);
    frame.render_widget(clients.header(heading(["CLIENT", "FLOWS"])), right);
}

#[cfg(test)]
mod tests {
    use ratatui::{
        Terminal,
        backend::TestBackend,
        crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
    };

    use super::{
        super::{
            sample::{Dropped, TopPort, TopReport},
            view::Then,
        },
        *,
    };
    use crate::model::Protocol;

    fn port(port: u16, name: &str, flows: u64, rate: u64) -> TopPort {
        TopPort {
            port,
            protocols: vec![Protocol::Tcp],
            name: name.into(),
            state: "up".into(),
            path: "tc".into(),
            backends_up: Some(2),
            backends_total: 2,
            flows: Some(flows),
            rate_in_bps: Some(rate),
            rate_out_bps: Some(rate / 2),
            new_flows_per_s: Some(3.0),
            refused_flows_per_s: Some(0.0),
            unknown: None,
        }
    }

    fn view() -> View {
        let mut view = View::default();
        view.take(Ok(TopReport {
            overall: "ok".into(),
            flows: Some(133),
            rate_in_bps: Some(0),
            rate_out_bps: Some(0),
            new_flows_per_s: Some(0.0),
            drops: vec![Dropped {
                reason: "no_backend".into(),
                packets_per_s: 7.0,
            }],
            items: vec![
                port(
                    35_001,
                    "a-name-that-is-much-too-long-for-its-column",
                    5,
                    2_000,
                ),
                port(35_217, "debug-port", 128, 41_200_000),
            ],
            ..TopReport::default()
        }));
        view
    }

    fn painted(view: &View) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        terminal.draw(|frame| draw(frame, view)).unwrap();
        let text = terminal.backend().to_string();
        text.lines()
            .map(|line| line.trim_matches('"').trim_end().to_owned())
            .collect()
    }

    fn press(view: &mut View, code: KeyCode) -> Then {
        view.press(KeyEvent::new(code, KeyModifiers::NONE))
    }

    #[test]
    fn eighty_columns_by_twenty_four_lines_show_all_that_matters() {
        let lines = painted(&view());
        assert_eq!(lines.len(), 24);
        assert_eq!(
            lines[0],
            "Harbor ok, 2 of 2 ports up, 133 flows, 0 new/s, in 0, out 0"
        );
        assert_eq!(lines[1], "dropped: no_backend 7/s");
        assert_eq!(
            lines[2],
            "PORT  PROTO   NAME       STATE    BACKENDS FLOWS  NEW/S IN           OUT"
        );
        assert_eq!(
            lines[3],
            "35217 tcp     debug-port up       2/2      128    3     41.2 Mbit/s  20.6 Mbit/s"
        );
        assert!(
            lines[4].starts_with("35001 tcp     a-name-tha up "),
            "{}",
            lines[4]
        );
        assert_eq!(
            lines[23],
            "q end  arrows choose  Enter into  s sort  p pause  by rate"
        );
    }

    #[test]
    fn keys_choose_sort_go_into_a_port_and_back() {
        let mut view = view();
        assert_eq!(view.chosen(), Some(0));
        assert_eq!(press(&mut view, KeyCode::Down), Then::Draw);
        assert_eq!(press(&mut view, KeyCode::Down), Then::Draw);
        assert_eq!(view.chosen(), Some(1));
        for order in ["flows", "new flows", "refused", "port"] {
            press(&mut view, KeyCode::Char('s'));
            assert!(painted(&view)[23].ends_with(order));
        }
        // Chosen is the port, not the line.
        assert_eq!(view.chosen(), Some(0));
        assert_eq!(press(&mut view, KeyCode::Enter), Then::Look);
        assert_eq!(view.inside(), Some(35_001));
        view.detail = Some(Ok(Detail {
            backends: Vec::new(),
            clients: vec![("192.0.2.7".into(), 12)],
        }));
        let lines = painted(&view);
        assert!(
            lines[2].contains("BACKEND OF 35001") && lines[2].contains("CLIENT"),
            "{}",
            lines[2]
        );
        assert!(
            lines[3].contains("192.0.2.7") && lines[3].contains("12"),
            "{}",
            lines[3]
        );
        press(&mut view, KeyCode::Esc);
        assert_eq!(view.inside(), None);
        assert_eq!(press(&mut view, KeyCode::Char('q')), Then::End);
    }

    #[test]
    fn an_agent_that_is_gone_leaves_what_was_seen_and_is_told() {
        let mut view = view();
        view.take(Err(Failure::failed("agent is not running")));
        let lines = painted(&view);
        assert_eq!(lines[1], "as it was: agent is not running");
        assert!(lines[3].contains("debug-port"));
    }
}
