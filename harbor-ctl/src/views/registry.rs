//! The registry's line in `status`, with the fix.

use std::{path::Path, time::Duration};

use super::{Snapshot, status::part};
use crate::{
    api::PartStatus,
    model::{are, counted, format_age},
    registry::{Back, Condition, Emptied},
};

/// What to do about a registry that was made anew where ports exist.
const EMPTIED_FIX: &str = "put the file back where it was and restart the agent; or take \
    the ports in: harbor-ctl state import FILE (state export prints those of the journal); or let \
    them go: harbor-ctl state confirm";

/// What to do where the kernel alone knows of ports; what the last backup is stands between the two.
const NAMELESS_FIX: [&str; 2] = [
    "put the newest files back (harbor.redb, journal.redb) and restart the agent",
    "; or take in a document that names all of those ports, with their numbers: harbor-ctl state import \
     FILE; or let them go: harbor-ctl state confirm; harbor-ctl state check names their numbers",
];

/// The same where others have the registry too, and this node has no memory of it.
const SHARED_FIX: &str =
    "put the data of the Redis back, or this node's journal, and restart the agent";

/// What to do about ports that exist and are not in the registry.
pub(crate) fn emptied_fix(emptied: &Emptied) -> String {
    if emptied.is_shared {
        return format!("{SHARED_FIX}{}", NAMELESS_FIX[1]);
    }
    if emptied.unnamed.is_empty() {
        return EMPTIED_FIX.to_owned();
    }
    let [before, after] = NAMELESS_FIX;
    let backup = emptied.backup.as_deref().and_then(restored);
    format!("{before}{}{after}", backup.unwrap_or_default())
}

/// How a backup is put in the place of the registry: a journal that knows less would be believed.
fn restored(backup: &Path) -> Option<String> {
    let state = backup.parent()?.parent()?.display();
    let backup = backup.display();
    Some(format!(
        "; or put the last backup in their place: systemctl stop harbor, cp {backup} {state}/harbor.redb, \
         mv {state}/journal.redb {state}/journal.redb.aside, systemctl start harbor"
    ))
}

impl Snapshot {
    /// What a part counts is not all of it while the kernel serves ports that nobody knows by name.
    pub(super) fn unless_nameless(&self, counted: PartStatus) -> PartStatus {
        let emptied = self.condition.emptied.as_deref();
        let Some(nameless) = emptied.and_then(Emptied::nameless) else {
            return counted;
        };
        let text = format!("not known: {nameless}; of the others: {}", counted.text);
        PartStatus {
            fix: Some("harbor-ctl status: see to the registry".into()),
            ..part("degraded", text)
        }
    }
}

/// For so long a return is worth a word.
const REMEMBERED: Duration = Duration::from_secs(600);

/// The registry's part of the status.
pub(crate) fn registry_part(place: &str, condition: &Condition) -> PartStatus {
    let mut problems = Vec::new();
    let mut fix = None;
    let mut add = |text: String, what: &str| {
        problems.push(text);
        fix.get_or_insert_with(|| what.to_owned());
    };
    if condition.is_fenced {
        add(
            "another agent has taken this node over, this one may change nothing".into(),
            "stop one of the two, or give it another node.id and restart it",
        );
    }
    own_file(condition, &mut add);
    if let Some(away) = &condition.away {
        let age = format_age(away.since.elapsed().as_secs());
        add(
            format!("away for {age}, the last good state stays: {}", away.reason),
            "look after the Redis; changes are refused until it answers",
        );
    }
    of_records(condition, &mut add);
    if let Some(why) = &condition.not_kept {
        add(
            format!("the journal is not written: {why}"),
            "make room in, or repair, the state directory",
        );
    }
    let place = named(place, condition);
    if problems.is_empty() {
        return part("ok", place);
    }
    problems.insert(0, place);
    let state = match condition.failed {
        Some(_) => "failed",
        None => "degraded",
    };
    PartStatus {
        fix,
        ..part(state, problems.join("; "))
    }
}

/// Ports that it should have and does not, and records that cannot be believed.
fn of_records(condition: &Condition, add: &mut impl FnMut(String, &str)) {
    if !condition.withheld.is_empty() {
        let count = condition.withheld.len();
        add(
            format!(
                "{} of this node {} missing in it, and stay here",
                counted(count, "port"),
                are(&count)
            ),
            "harbor-ctl state check; if they are to go: harbor-ctl state confirm",
        );
    }
    if let Some((id, why)) = condition.unplaced.first_key_value() {
        let count = condition.unplaced.len();
        add(
            format!(
                "{} of this node could not be put back, {id}: {why}",
                counted(count, "port")
            ),
            "harbor-ctl state check; delete one of the two",
        );
    }
    if let Some((count, one)) = &condition.refused {
        add(
            format!(
                "{} {} refused, {one}",
                counted(*count, "record"),
                are(count)
            ),
            "harbor-ctl state check",
        );
    }
}

/// What is wrong with the file of this node's own registry.
fn own_file(condition: &Condition, add: &mut impl FnMut(String, &str)) {
    if let Some(failed) = &condition.failed {
        let age = format_age(failed.since.elapsed().as_secs());
        add(
            format!(
                "failed for {age}, what is forwarded stays: {}",
                failed.reason
            ),
            "make room on, or repair, its disk; changes are refused until it can be written",
        );
    }
    if let Some(emptied) = &condition.emptied {
        add(emptied.to_string(), &emptied_fix(emptied));
    }
}

/// The place, that it was away lately, and what the start had to put right.
fn named(place: &str, condition: &Condition) -> String {
    let mut place = place.to_owned();
    if let Some(Back { since, away_for }) = condition.back
        && condition.away.is_none()
        && since.elapsed() < REMEMBERED
    {
        let (back, away) = (since.elapsed().as_secs(), away_for.as_secs());
        let (back, away) = (format_age(back), format_age(away));
        place.push_str(&format!(", back for {back} after {away}"));
    }
    if let Some(mended) = condition.mended {
        place.push_str(&format!("; {mended}"));
    }
    place
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::registry::Away;

    #[test]
    fn a_registry_that_is_well_is_named_and_one_that_is_away_says_why() {
        let well = registry_part("redis core:6379, cluster harbor", &Condition::default());
        assert_eq!((well.state.as_str(), well.fix), ("ok", None));
        let away = Some(Away {
            reason: "no answer within 1s".into(),
            since: Instant::now(),
        });
        let condition = Condition {
            away,
            ..Condition::default()
        };
        let part = registry_part("redis core:6379", &condition);
        assert_eq!(part.state, "degraded");
        assert!(part.text.contains("no answer within 1s"), "{}", part.text);
        assert!(part.fix.is_some());
    }
}
