//! Health's line in `status`.

use std::time::Duration;

use super::{facts::HealthView, status::part};
use crate::{
    api::PartStatus,
    health::Summary,
    model::{counted, format_age},
};

/// Probes that begin later than this are worth a word; after a restart a large node takes some
/// seconds to ask everybody.
const LATE: Duration = Duration::from_secs(30);

/// What is probed, what is wrong with probing, and what to do.
pub(super) fn of(view: &HealthView) -> PartStatus {
    let Summary {
        backends,
        services,
        failing,
        braked,
        late,
    } = view.summary;
    let mut text = match backends {
        0 => "no port is probed".to_owned(),
        _ => format!(
            "{} of {} probed, {failing} failing",
            counted(backends, "backend"),
            counted(services, "port")
        ),
    };
    let mut fix = None;
    if let Some((silent, of)) = braked {
        text.push_str(&format!(
            "; {silent} of {of} do not answer: this node seems cut off, they keep their last state"
        ));
        fix = Some("ip route; harbor-ctl backends check PORT".to_owned());
    }
    if let Some(reason) = &view.not_recorded {
        text.push_str(&format!("; states are in force but not recorded: {reason}"));
    }
    if late > LATE {
        let late = format_age(late.as_secs());
        text.push_str(&format!("; probes are {late} late"));
        fix = fix.or_else(|| Some("harbor-ctl config set health.rate NUMBER".to_owned()));
    }
    let is_well = braked.is_none() && view.not_recorded.is_none() && late <= LATE;
    PartStatus {
        fix,
        ..part(if is_well { "ok" } else { "degraded" }, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_probing_is_said() {
        let mut view = HealthView::default();
        assert_eq!(of(&view).text, "no port is probed");
        view.summary = Summary {
            backends: 4,
            services: 2,
            failing: 1,
            ..Summary::default()
        };
        let well = of(&view);
        let text = "4 backends of 2 ports probed, 1 failing";
        assert_eq!((well.state.as_str(), well.text.as_str()), ("ok", text));
        view.summary.braked = Some((3, 4));
        view.summary.late = Duration::from_secs(40);
        view.not_recorded = Some("disk full".into());
        let bad = of(&view);
        assert_eq!(bad.state, "degraded");
        for words in ["3 of 4 do not answer", "disk full", "40s late"] {
            assert!(bad.text.contains(words), "{}", bad.text);
        }
    }
}
