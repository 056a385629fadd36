//! `harbor-ctl bindings`: the credentials that platforms' apps were given.

use clap::Subcommand;

use super::{
    failure::{Exit, Failure},
    output::Row,
    session::Session,
};
use crate::{
    api::BindingItem,
    control::{Client, segment},
    model::variables,
};

#[derive(Debug, Subcommand)]
pub(crate) enum BindingsVerb {
    /// List every binding
    #[command(after_help = "Examples:\n  harbor-ctl bindings list -o json")]
    List,
    /// Show one binding with its credentials as they are now
    #[command(
        after_help = "Examples:\n  harbor-ctl bindings show 2f1c3d44-5c0e-4b7e-9d5a-0a9d1f7e8b21 --env"
    )]
    Show {
        /// The binding's id
        binding: String,
        /// Print the variables that the app is started with
        #[arg(long)]
        env: bool,
    },
}

pub(super) async fn run(session: &Session, verb: BindingsVerb) -> Result<Exit, Failure> {
    let client = session.client()?;
    match verb {
        BindingsVerb::List => session
            .output
            .list(&client.list::<BindingItem>("/v1/bindings", None).await?)?,
        BindingsVerb::Show { binding, env } => {
            let item: BindingItem = client
                .get(&format!("/v1/bindings/{}", segment(&binding)))
                .await?;
            match env {
                true => environment(session, &client, &item).await?,
                false if session.output.is_for_people() => super::output::print(&details(&item))?,
                false => session.output.item(&item)?,
            }
        }
    }
    Ok(Exit::Ok)
}

/// The variables of the app that the binding belongs to: of all its bindings.
async fn environment(
    session: &Session,
    client: &Client,
    item: &BindingItem,
) -> Result<(), Failure> {
    let mut all = client
        .list::<BindingItem>("/v1/bindings", None)
        .await?
        .items;
    all.retain(|other| other.id == item.id || (item.app.is_some() && other.app == item.app));
    let services: Vec<(&str, u16)> = all
        .iter()
        .map(|item| (item.credentials.name.as_str(), item.credentials.int_port))
        .collect();
    let variables = variables(&services);
    let text: String = variables
        .iter()
        .map(|(name, value)| format!("{name}={value}\n"))
        .collect();
    let map: std::collections::BTreeMap<_, _> = variables.into_iter().collect();
    session.output.text(&text, &map)
}

fn details(item: &BindingItem) -> String {
    let told = &item.credentials;
    let mut lines = vec![
        ("Binding", item.id.clone()),
        ("Instance", item.instance.clone()),
        ("App", item.app.clone().unwrap_or_else(|| "-".into())),
        ("hostname", told.place.hostname.clone()),
        ("host", told.place.host.clone()),
    ];
    let public = [
        ("ext_hostname", &told.place.ext_hostname),
        ("ext_host", &told.place.ext_host),
    ];
    lines.extend(
        public
            .into_iter()
            .filter_map(|(key, value)| Some((key, value.clone()?))),
    );
    lines.extend([
        ("port", told.port.to_string()),
        ("name", told.name.clone()),
        ("node_id", told.node_id.clone()),
        ("int_port", told.int_port.to_string()),
        ("protocol", told.protocol.clone()),
        ("uri", told.uri.clone()),
    ]);
    let line =
        |(key, value): &(&str, String)| format!("{key:<13} {}\n", crate::model::escaped(value));
    lines.iter().map(line).collect()
}

impl Row for BindingItem {
    const HEADINGS: &'static [&'static str] = &["BINDING", "PORT", "NAME", "INT_PORT", "APP"];
    const WIDE: &'static [&'static str] = &["INSTANCE", "URI"];

    fn cells(&self) -> Vec<String> {
        let told = &self.credentials;
        vec![
            self.id.clone(),
            told.port.to_string(),
            told.name.clone(),
            told.int_port.to_string(),
            self.app.clone().unwrap_or_else(|| "-".into()),
        ]
    }

    fn wide_cells(&self) -> Vec<String> {
        vec![self.instance.clone(), self.credentials.uri.clone()]
    }

    fn name(&self) -> String {
        self.id.clone()
    }
}
