//! The management console: pages for people, on a listener of their own.
//!
//! It shows and changes what [`crate::control::Operations`] answers and takes, in this process, and
//! knows nothing about ports by itself. Every page works without a script; scripts only keep it fresh.
//! Whatever is shown is escaped by the templates, and no page allows inline code.

mod accounts;
mod assets;
mod backend_pages;
mod certificate_page;
mod chart;
mod event_page;
mod explain_page;
mod form;
mod gate;
mod guard;
mod layout;
mod live;
mod node_page;
mod overview;
mod port_forms;
mod port_list;
mod port_page;
mod problem;
mod query;
mod recent;
mod samples;
mod server;
mod session_file;
mod sessions;
mod settings_page;
mod sign_in;
mod state;
mod words;

pub(crate) use accounts::Accounts;
pub(crate) use server::serve;
