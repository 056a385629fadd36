//! What a platform can ask of the agent; the server knows nothing else about it.

use std::future::Future;

use super::parameters::Parameters;
use crate::model::{Credentials, Happening, Plan, Protocols, Refusal};

/// The outcome of a request.
pub(crate) type Answer<T> = Result<T, Refusal>;

/// Whether a request made something, or found it made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Novelty {
    New,
    Known,
}

/// What is to be provisioned.
#[derive(Clone, Debug)]
pub(crate) struct ProvisionRequest {
    pub(crate) plan: Plan,
    pub(crate) organization: String,
    pub(crate) space: String,
    /// Empty: the platform did not say.
    pub(crate) platform: String,
    /// The instance's name; empty: the platform did not say.
    pub(crate) name: String,
    pub(crate) parameters: Parameters,
}

/// What is to be changed of an instance.
#[derive(Clone, Debug)]
pub(crate) struct Update {
    /// `None`: as it is.
    pub(crate) plan: Option<Plan>,
    pub(crate) parameters: Parameters,
}

/// An instance as it is.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    pub(crate) plan: Plan,
    pub(crate) parameters: Parameters,
}

/// A binding as it is now.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    pub(crate) plan: Plan,
    pub(crate) credentials: Credentials,
    pub(crate) protocols: Protocols,
}

/// Every operation of the platform API. Changes are durable before they are answered. A kind of
/// [`crate::model::RefusalKind::InstanceTaken`] says that the id exists with other attributes.
pub(crate) trait Broker: Clone + Send + Sync + 'static {
    /// Tells of a request.
    fn note(&self, happening: Happening);
    fn provision(
        &self,
        id: String,
        order: ProvisionRequest,
    ) -> impl Future<Output = Answer<Novelty>> + Send;
    fn instance(&self, id: String) -> impl Future<Output = Answer<Instance>> + Send;
    fn update(&self, id: String, update: Update) -> impl Future<Output = Answer<()>> + Send;
    fn deprovision(&self, id: String, plan: Plan) -> impl Future<Output = Answer<()>> + Send;

    /// `app`: whom it is for; `None`: a key that belongs to no app.
    fn bind(
        &self,
        names: (String, String),
        plan: Plan,
        app: Option<String>,
    ) -> impl Future<Output = Answer<(Novelty, Bound)>> + Send;
    /// The names of instance and binding.
    fn bound(&self, names: (String, String)) -> impl Future<Output = Answer<Bound>> + Send;
    fn unbind(
        &self,
        names: (String, String),
        plan: Plan,
    ) -> impl Future<Output = Answer<()>> + Send;
}
