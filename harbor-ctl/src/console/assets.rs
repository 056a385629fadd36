//! Static files of the console, embedded in the executable.

use axum::{
    extract::Path,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};

const FILES: [(&str, &str, &str); 5] = [
    (
        "console.css",
        "text/css; charset=utf-8",
        include_str!("../../console/console.css"),
    ),
    (
        "console.js",
        "text/javascript; charset=utf-8",
        include_str!("../../console/console.js"),
    ),
    (
        "icon.svg",
        "image/svg+xml",
        include_str!("../../console/icon.svg"),
    ),
    (
        "uplot.css",
        "text/css; charset=utf-8",
        include_str!("../../console/uPlot.min.css"),
    ),
    (
        "uplot.js",
        "text/javascript; charset=utf-8",
        include_str!("../../console/uPlot.iife.min.js"),
    ),
];

pub(super) async fn asset(Path(name): Path<String>) -> Response {
    let Some((_, kind, text)) = FILES.iter().find(|(own, ..)| *own == name) else {
        return (StatusCode::NOT_FOUND, "no such file\n").into_response();
    };
    ([(header::CONTENT_TYPE, *kind)], *text).into_response()
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    #[test]
    fn the_first_page_is_small() {
        let sum: usize = FILES.iter().map(|(.., text)| text.len()).sum();
        assert!(
            sum < 100_000,
            "{sum} bytes of 150,000, and the page comes on top"
        );
    }

    #[test]
    fn what_others_made_is_unchanged_and_has_its_licence() {
        let readme = include_str!("../../console/README.md");
        for name in ["uPlot.iife.min.js", "uPlot.min.css"] {
            let (_, _, text) = match name {
                "uPlot.min.css" => FILES[3],
                _ => FILES[4],
            };
            let digest = Sha256::digest(text);
            let hash: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(
                readme.contains(&format!("| `{name}` | `{hash}` |")),
                "{name}: {hash}"
            );
        }
        assert!(include_str!("../../console/uPlot.LICENSE").starts_with("The MIT License"));
    }
}
