//! `harbor-ctl version`.

use super::{
    failure::{Exit, Failure},
    globals::Globals,
    output::Output,
};
use crate::{api::API_VERSION, datapath::Datapath};

pub(super) fn run(globals: &Globals) -> Result<Exit, Failure> {
    let version = env!("CARGO_PKG_VERSION");
    let (layout, has_datapath) = (harbor_common::maps::LAYOUT, Datapath::is_built_in());
    let words = if has_datapath {
        "built in"
    } else {
        "missing: built without the eBPF toolchain"
    };
    let text =
        format!("harbor-ctl {version} (API {API_VERSION}, layout {layout}, datapath {words})\n");
    let data = serde_json::json!({
        "version": version,
        "api_version": API_VERSION,
        "layout": layout,
        "datapath": has_datapath,
    });
    Output::new(globals).text(&text, &data)?;
    Ok(Exit::Ok)
}
