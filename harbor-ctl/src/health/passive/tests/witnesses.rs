//! Whose word counts where a backend cannot be asked.

use super::*;

/// The rule's own table, as the programs have it while no agent runs.
#[test]
fn two_clients_confirm_each_other_between_settling_and_forgetting() {
    let client = |last: u8| Witness::Client([192, 0, 2, last].into());
    let failed = Err(Doubt::Unreachable);
    for (after_ms, last, is_confirmed) in [
        (0, 2, false),
        (200, 2, false),
        (220, 2, true),
        (220, 1, false),
        (9_900, 2, true),
        (10_100, 2, false),
    ] {
        let mut scene = Scene::new(2, false);
        assert_eq!(scene.hear(0, client(1), failed), None);
        let said = scene.after(after_ms).hear(0, client(last), failed);
        assert_eq!(said.is_some(), is_confirmed, "{last} after {after_ms} ms");
    }
}
