//! Every key of the configuration: what is in force, what is written and by whom, what it means, what it
//! may be. Two who change the same key do not overwrite each other.

use axum::{
    Extension,
    extract::State,
    response::{IntoResponse as _, Redirect, Response},
};
use maud::{Markup, html};

use super::{
    form::{Change, Entered, Field, Fields, alert, refused, token},
    layout::{self, Place},
    port_page::Done,
    query::Of,
    sessions::Session,
    state::{Console, ConsoleState},
};
use crate::{
    config::{find_key, kato_name, valid_values},
    control::Operations,
    model::{ConfigItem, Refusal},
};

/// What people come for.
const FIRST: [&str; 3] = ["ports.range", "public.hostname", "public.address"];

pub(super) async fn page<O: Operations>(
    State(console): ConsoleState<O>,
    Extension(session): Extension<Session>,
    Of(done): Of<Done>,
) -> Response {
    shown(&console, &session, (None, done.note())).await
}

async fn shown<O: Operations>(
    console: &Console<O>,
    session: &Session,
    (wrong, note): (Option<(&str, &str, &Refusal)>, Markup),
) -> Response {
    let read = console.operations.config().await;
    let body = match read {
        Ok(mut items) => {
            let place = |item: &ConfigItem| FIRST.iter().position(|key| *key == item.key);
            items.sort_by_key(|item| place(item).unwrap_or(FIRST.len()));
            html! {
                (note)
                (alert(wrong.map(|(_, _, refusal)| refusal)))
                @if let Some((key, ..)) = wrong { p { a href={ "#" (key) } { "To " (key) } } }
                @for item in &items {
                    (one(item, session, wrong.filter(|(key, ..)| *key == item.key)))
                }
            }
        }
        Err(refusal) => alert(Some(&refusal)),
    };
    let place = Place {
        title: "Settings",
        under: "/settings",
    };
    layout::page(place, session, &body)
}

fn one(item: &ConfigItem, session: &Session, wrong: Option<(&str, &str, &Refusal)>) -> Markup {
    if !session.may_change() {
        return html! {
            div.card.setting { p { strong { (item.key) } " " (item.meaning) } (facts(item)) }
        };
    }
    // Whatever the refusal calls it, it is about this field.
    let refusal = wrong.map(|(_, _, refusal)| refusal.clone().field(&item.key));
    let typed = wrong.map(|(_, value, _)| Fields::from([(item.key.clone(), value.to_owned())]));
    let entered = typed
        .as_ref()
        .map(|typed| Entered::new(typed, refusal.as_ref()));
    let field = Field {
        name: &item.key,
        label: &item.key,
        hint: &item.meaning,
        value: &item.value,
    };
    html! {
        form.card.setting method="post" action="/settings" {
            (token(session))
            input type="hidden" name="key" value=(item.key);
            input type="hidden" name="was" value=(item.value);
            (field.input(entered.unwrap_or_default()))
            (facts(item))
            p { button type="submit" aria-label={ "Change " (item.key) } { "Change" } }
        }
    }
}

/// Why what is written is not in force.
fn waits(item: &ConfigItem) -> &'static str {
    match item.applies.as_str() {
        "at-once" => " was edited in the file, which the agent has not read again",
        _ => " waits for a restart of the agent",
    }
}

fn facts(item: &ConfigItem) -> Markup {
    let allowed = find_key(&item.key).map(valid_values).unwrap_or_default();
    html! {
            dl.facts {
                @if let Some(name) = kato_name(&item.key) { dt { "Also called" } dd { code { (name) } } }
                dt { "In force" } dd { code { (item.in_force) } }
                dt { "Written" } dd { code { (item.value) } @if item.restart_needed { (waits(item)) } }
                dt { "By" } dd { (item.origin) }
                dt { "Default" } dd { code { (item.default) } }
                dt { "Allowed" } dd { (allowed) }
                dt { "Applies" } dd { @if item.applies == "at-once" { "at once" } @else { "after a restart" } }
            }
    }
}

pub(super) async fn set<O: Operations>(
    State(console): ConsoleState<O>,
    Change(posted): Change,
) -> Response {
    let key = posted.text("key").to_owned();
    let value = posted.text(&key).to_owned();
    let seen = posted.text("was").to_owned();
    let set = console
        .operations
        .set_config(key.clone(), value.clone(), Some(seen));
    let done = set.await;
    match done {
        Ok(change) if change.applies == "restart" => {
            Redirect::to(&format!("/settings?done=waits#{key}")).into_response()
        }
        Ok(_) => Redirect::to(&format!("/settings?done=set#{key}")).into_response(),
        Err(refusal) => {
            let wrong = Some((key.as_str(), value.as_str(), &refusal));
            refused(
                &refusal,
                shown(&console, &posted.session, (wrong, html! {})).await,
            )
        }
    }
}
