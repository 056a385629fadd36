//! What an app host says of itself and its instances: one JSON document, the same over HTTP and
//! over Redis.
//!
//! A document is an announcement of one instance, a full announcement (all instances of the app
//! host; what it leaves out is withdrawn), or a heartbeat. All are bounded, and checked whole
//! before anything is changed.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::model::{
    PortRef, Protocol, Readiness, Refusal, RefusalKind, Spoken, WEIGHT_LIMIT, check_name,
};

/// The version of the document.
const VERSION: u32 = 1;
/// The longest document, in bytes.
pub(crate) const DOCUMENT_LIMIT: usize = 512 * 1024;
/// The most instances of one app host.
pub(crate) const INSTANCE_LIMIT: usize = 2_000;

/// One instance of one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Instance {
    /// The service's name, id or port.
    pub(crate) service: String,
    pub(crate) instance: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) app: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) index: Option<u32>,
    #[schema(value_type = String)]
    pub(crate) ip: IpAddr,
    pub(crate) port: u16,
    /// What the instance speaks; must be one of the service's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) protocol: Option<Protocol>,
    /// Its share of new flows, 1 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) weight: Option<u8>,
    pub(crate) state: Readiness,
}

impl Instance {
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.port)
    }

    fn check(&self) -> Result<(), Refusal> {
        PortRef::parse(&self.service).map_err(|refusal| refusal.field("service"))?;
        check_name("instance", &self.instance)?;
        if let Some(app) = &self.app {
            check_name("app", app)?;
        }
        if self.port == 0 {
            return Err(Refusal::invalid("port", "port = 0: 1 to 65535 is allowed"));
        }
        match self.weight {
            Some(weight) if !(1..=WEIGHT_LIMIT).contains(&weight) => {
                let text = format!("weight = {weight}: 1 to {WEIGHT_LIMIT} is allowed");
                Err(Refusal::invalid("weight", text))
            }
            _ => Ok(()),
        }
    }
}

/// A document that was read and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) dea: String,
    pub(crate) spoken: Spoken,
    pub(crate) says: Says,
}

/// What a document says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    /// How it is with one instance.
    One(Box<Instance>),
    /// How it is with all of them.
    All(Vec<Instance>),
    /// That the app host lives, and the digest of what it believes is registered.
    Alive { digest: String },
}

impl Message {
    /// Reads a document of any kind; what is wrong with it is refused whole.
    pub(crate) fn parse(document: &[u8]) -> Result<Self, Refusal> {
        if document.len() > DOCUMENT_LIMIT {
            let text = format!("the document is longer than {DOCUMENT_LIMIT} bytes");
            return Err(Refusal::new(RefusalKind::BodyTooLarge, text));
        }
        let mut fields: Map<String, Value> =
            serde_json::from_slice(document).map_err(|error| misread(&error))?;
        let version: u32 = take(&mut fields, "v")?;
        if version != VERSION {
            let text = format!("v = {version}: this version reads v = {VERSION}");
            return Err(Refusal::invalid("v", text));
        }
        let dea: String = take(&mut fields, "dea")?;
        check_name("dea", &dea)?;
        let spoken = Spoken {
            epoch: take(&mut fields, "epoch")?,
            seq: take(&mut fields, "seq")?,
        };
        let says = Says::read(fields)?;
        Ok(Self { dea, spoken, says })
    }

    /// The document that says this.
    pub(crate) fn document(&self) -> Value {
        let mut fields = match &self.says {
            Says::One(instance) => serde_json::to_value(instance),
            Says::All(instances) => Ok(serde_json::json!({ "instances": instances })),
            Says::Alive { digest } => Ok(serde_json::json!({ "digest": digest })),
        }
        .unwrap_or_default();
        let Spoken { epoch, seq } = self.spoken;
        fields["v"] = VERSION.into();
        fields["dea"] = self.dea.as_str().into();
        fields["epoch"] = epoch.into();
        fields["seq"] = seq.into();
        fields
    }
}

impl Says {
    fn read(mut fields: Map<String, Value>) -> Result<Self, Refusal> {
        let is_digest = fields.contains_key("digest");
        let says = if is_digest {
            let digest: String = take(&mut fields, "digest")?;
            let is_hex = digest
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            if digest.len() != 64 || !is_hex {
                let text = "digest is not a SHA-256 in 64 lower-case hexadecimal digits";
                return Err(Refusal::invalid("digest", text));
            }
            Self::Alive { digest }
        } else if fields.contains_key("instances") {
            let instances: Vec<Instance> = take(&mut fields, "instances")?;
            if instances.len() > INSTANCE_LIMIT {
                let text = format!("more than {INSTANCE_LIMIT} instances");
                return Err(Refusal::invalid("instances", text));
            }
            instances.iter().try_for_each(Instance::check)?;
            Self::All(instances)
        } else {
            let instance: Instance =
                serde_json::from_value(fields.into()).map_err(|error| misread(&error))?;
            instance.check()?;
            return Ok(Self::One(Box::new(instance)));
        };
        match fields.keys().next() {
            Some(unknown) => {
                let shown: String = unknown.chars().take(80).collect();
                let text = format!("unknown field {shown:?}");
                Err(Refusal::new(RefusalKind::UnknownField, text).field(&shown))
            }
            None => Ok(says),
        }
    }
}

fn take<T: DeserializeOwned>(fields: &mut Map<String, Value>, name: &str) -> Result<T, Refusal> {
    let missing = || Refusal::invalid(name, format!("missing field {name:?}"));
    let value = fields.remove(name).ok_or_else(missing)?;
    serde_json::from_value(value).map_err(|error| misread(&error).field(name))
}

fn misread(error: &serde_json::Error) -> Refusal {
    let text: String = error.to_string().chars().take(400).collect();
    let kind = match text.contains("unknown field") {
        true => RefusalKind::UnknownField,
        false => RefusalKind::Invalid,
    };
    Refusal::new(kind, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = r#"{"v":1,"dea":"dea1","epoch":7,"seq":3,"service":"web","instance":"i-0",
        "app":"shop","index":0,"ip":"10.0.0.5","port":4100,"protocol":"tcp","weight":2,"state":"up"}"#;

    #[test]
    fn every_kind_of_document_is_read_and_written() {
        let one = Message::parse(ONE.as_bytes()).unwrap();
        assert_eq!(one.spoken, Spoken { epoch: 7, seq: 3 });
        let Says::One(instance) = one.says.clone() else {
            panic!("{one:?}");
        };
        assert_eq!(instance.address().to_string(), "10.0.0.5:4100");
        let digest = "0".repeat(64);
        let says = [one.says, Says::All(vec![*instance]), Says::Alive { digest }];
        for says in says {
            let message = Message { says, ..one_host() };
            let document = message.document().to_string();
            assert_eq!(Message::parse(document.as_bytes()).unwrap(), message);
        }
    }

    fn one_host() -> Message {
        Message {
            dea: "dea1".into(),
            spoken: Spoken { epoch: 7, seq: 3 },
            says: Says::All(Vec::new()),
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            ("\"v\":1", "\"v\":2", "v"),
            ("\"epoch\":7,", "", "epoch"),
            ("\"seq\":3", "\"seq\":-3", "seq"),
            ("dea1", "dea 1", "dea"),
            ("\"web\"", "\"web\\n\"", "service"),
            ("\"i-0\"", "\"\"", "instance"),
            ("\"weight\":2", "\"weight\":0", "weight"),
            ("4100", "0", "port"),
        ];
        for (from, to, field) in cases {
            let refusal = Message::parse(ONE.replacen(from, to, 1).as_bytes()).unwrap_err();
            assert_eq!(refusal.field.as_deref(), Some(field), "{refusal:?}");
        }
        for bad in [
            ONE.replace("\"index\":0", "\"color\":0"),
            ONE.replace("10.0.0.5", "10.0.0"),
            ONE.replace("\"up\"", "\"ready\""),
            r#"{"v":1,"dea":"d","epoch":1,"seq":1,"digest":"ab"}"#.into(),
            r#"{"v":1,"dea":"d","epoch":1,"seq":1,"instances":[],"x":1}"#.into(),
            "[]".into(),
            "{".into(),
            String::new(),
        ] {
            assert!(Message::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
