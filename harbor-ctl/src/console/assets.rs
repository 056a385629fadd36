//! Static files of the console, embedded in the executable. A browser that has one asks whether it is
//! still the same, and is answered in a line.

use axum::{
    extract::Path,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use rust_embed::{Embed, EmbeddedFile};

#[derive(Embed)]
#[folder = "console"]
#[include = "*.css"]
#[include = "*.js"]
#[include = "*.svg"]
struct Assets;

pub(super) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let Some(file) = Assets::get(&name) else {
        return (StatusCode::NOT_FOUND, "no such file\n").into_response();
    };
    let tag = format!("\"{}\"", hash(&file));
    let known = headers.get(header::IF_NONE_MATCH);
    if known.is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response();
    }
    let kind = match name.rsplit('.').next() {
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/javascript; charset=utf-8",
    };
    let head = [(header::CONTENT_TYPE, kind.to_owned()), (header::ETAG, tag)];
    (head, file.data).into_response()
}

/// SHA-256, in hexadecimal.
fn hash(file: &EmbeddedFile) -> String {
    let octets = file.metadata.sha256_hash();
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_page_is_small() {
        let files = Assets::iter().filter_map(|name| Assets::get(&name));
        let sum: usize = files.map(|file| file.data.len()).sum();
        assert!(
            (50_000..100_000).contains(&sum),
            "{sum} bytes of 150,000, and the page comes on top"
        );
    }

    #[test]
    fn what_others_made_is_unchanged_and_has_its_licence() {
        let readme = include_str!("../../console/README.md");
        for name in ["uPlot.iife.min.js", "uPlot.min.css"] {
            let hash = hash(&Assets::get(name).unwrap());
            assert!(
                readme.contains(&format!("| `{name}` | `{hash}` |")),
                "{name}: {hash}"
            );
        }
        assert!(include_str!("../../console/uPlot.LICENSE").starts_with("The MIT License"));
    }
}
