//! Links of the pages lead to files and headings that are there, and the index has every page.

use std::{collections::BTreeSet, fs, path::Path};

use super::{pages, root};

/// Where the links of a page lead, other servers apart. What stands in a block of code is no link.
fn links(text: &str) -> Vec<&str> {
    let prose = text.split("```").step_by(2);
    let after = prose.flat_map(|part| part.split("](").skip(1));
    let targets = after.filter_map(|rest| rest.split(')').next());
    targets
        .filter(|target| !target.starts_with("http"))
        .collect()
}

/// A heading, as links name it.
fn anchor(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = words
        .chars()
        .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn leads_somewhere(page: &Path, link: &str) -> bool {
    let (file, wanted) = link.split_once('#').unwrap_or((link, ""));
    let target = match file {
        "" => page.to_owned(),
        file => page.with_file_name(file),
    };
    // A picture is no text, and has no headings.
    let Ok(octets) = fs::read(target) else {
        return false;
    };
    let text = String::from_utf8_lossy(&octets);
    let mut headings = text.lines().filter(|line| line.starts_with('#'));
    wanted.is_empty() || headings.any(|heading| anchor(heading) == wanted)
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_are_there() {
    let mut count = 0;
    for page in pages() {
        for link in links(&fs::read_to_string(&page).unwrap()) {
            count += 1;
            assert!(
                leads_somewhere(&page, link),
                "{} links to {link}",
                page.display()
            );
        }
    }
    assert!(count >= 40, "{count} links");
}

#[test]
fn a_link_to_nothing_is_noticed() {
    let page = root().join("docs/README.md");
    for (link, leads) in [
        ("explanation/datapath.md", true),
        ("explanation/datapath.md#why-the-agent-may-die", true),
        ("explanation/datapath.md#no-such-heading", false),
        ("explanation/no-such-page.md", false),
    ] {
        assert_eq!(leads_somewhere(&page, link), leads, "{link}");
    }
    let text = "[a\nb](c.md#d) and [e](https://f)\n```\nx[0](g.md)\n```\n";
    assert_eq!(links(text), ["c.md#d"]);
}

#[test]
fn the_index_has_every_page() {
    let folder = root().join("docs");
    let index = fs::read_to_string(folder.join("README.md")).unwrap();
    let linked: BTreeSet<&str> = links(&index).into_iter().collect();
    for page in pages() {
        let Ok(page) = page.strip_prefix(&folder) else {
            continue;
        };
        let page = page.to_str().unwrap();
        assert!(
            page == "README.md" || linked.contains(page),
            "docs/README.md does not link to {page}"
        );
    }
}
