//! Forms of a page, as whoever fills them in finds them: fields with their values, and what is said of
//! each.

use super::stored::attributes;

/// A form.
#[derive(Clone, Debug)]
pub(super) struct SeenForm {
    pub(super) action: String,
    pub(super) method: String,
    pub(super) fields: Vec<SeenField>,
    /// What is said at its button.
    pub(super) told: String,
}

/// A field of a form.
#[derive(Clone, Debug)]
pub(super) struct SeenField {
    pub(super) name: String,
    /// `hidden`, `text`, `select` and so on.
    pub(super) kind: String,
    pub(super) value: String,
    pub(super) is_invalid: bool,
    /// What describes it.
    pub(super) told: String,
}

impl SeenForm {
    /// What a browser would send.
    pub(super) fn sent(&self) -> Vec<(String, String)> {
        let fields = self.fields.iter();
        let sent = fields.map(|field| (field.name.clone(), field.value.clone()));
        sent.collect()
    }

    pub(super) fn field(&self, name: &str) -> Option<&SeenField> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// What tells forms of one action apart: the hidden values that no field says again.
    pub(super) fn key(&self) -> Vec<&str> {
        let names = ["key", "id", "backend"];
        let fields = self.fields.iter();
        let own = fields.filter(|field| names.contains(&&*field.name));
        own.map(|field| &*field.value).collect()
    }
}

/// One value out of what an element's attributes say.
fn value<'a>(attributes: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = attributes.iter().find(|(own, _)| own == name);
    found.map(|(_, value)| &**value)
}

/// Every form of a page.
pub(super) fn forms(page: &str) -> Vec<SeenForm> {
    let mut found = Vec::new();
    for piece in page.split("<form").skip(1) {
        let own = attributes(piece);
        let text = |name| unescaped(value(&own, name).unwrap_or_default());
        let whole = piece.split("</form>").next().unwrap();
        let buttons = whole.split("<button").skip(1);
        let told = buttons.map(|button| described(page, &attributes(button)));
        found.push(SeenForm {
            action: text("action"),
            method: text("method"),
            fields: fields(page, whole),
            told: told.collect(),
        });
    }
    found
}

fn fields(page: &str, form: &str) -> Vec<SeenField> {
    let mut found = Vec::new();
    for piece in form.split('<').skip(1) {
        let (element, rest) = piece.split_at(piece.find([' ', '>']).unwrap_or(piece.len()));
        let own = attributes(rest);
        let text = |name| unescaped(value(&own, name).unwrap_or_default());
        let is_chosen = value(&own, "selected").is_some();
        match element {
            "input" | "select" => found.push(SeenField {
                name: text("name"),
                kind: match element {
                    "select" => "select".to_owned(),
                    _ => text("type"),
                },
                value: text("value"),
                is_invalid: value(&own, "aria-invalid") == Some("true"),
                told: described(page, &own),
            }),
            // The first option is chosen where no other is.
            "option" => {
                let field = found.last_mut().unwrap();
                if is_chosen || field.value.is_empty() {
                    field.value = text("value");
                }
            }
            _ => {}
        }
    }
    found
}

/// The text of the element that describes another.
fn described(page: &str, of: &[(String, String)]) -> String {
    match value(of, "aria-describedby") {
        Some(id) => element_text(page, &format!("id=\"{id}\"")),
        None => String::new(),
    }
}

/// The text of the refusal that stands above everything.
pub(super) fn alert(page: &str) -> String {
    element_text(page, "role=\"alert\"")
}

/// The note that says what was done.
pub(super) fn note(page: &str) -> String {
    element_text(page, "class=\"note\"")
}

/// The text of the first element with this mark: a small one, within which no other of its kind stands.
fn element_text(page: &str, mark: &str) -> String {
    let Some(place) = page.find(mark) else {
        return String::new();
    };
    let begin = page[..place].rfind('<').unwrap() + 1;
    let element = page[begin..].split([' ', '>']).next().unwrap();
    let inner = &page[place..][page[place..].find('>').unwrap() + 1..];
    let inner = inner.split(&format!("</{element}>")).next().unwrap();
    let mut text = String::new();
    for (number, piece) in inner.split('<').enumerate() {
        text += match number {
            0 => piece,
            _ => piece.split_once('>').map_or("", |(_, text)| text),
        };
    }
    unescaped(&text)
}

fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&amp;", "&")
}

#[test]
fn what_stands_in_a_form_is_found() {
    let page = "<form class=\"card\" method=\"post\" action=\"/x\"><input type=\"hidden\" name=\"id\" \
                value=\"a&amp;b\"><input type=\"text\" name=\"n\" value=\"&lt;\" aria-invalid=\"true\" \
                aria-describedby=\"n-hint\"><small id=\"n-hint\"><strong>no</strong> hint</small>\
                <select name=\"s\"><option value=\"1\">1</option><option value=\"2\" selected>2</option>\
                </select><button type=\"submit\" aria-describedby=\"why\">Do</button></form>\
                <small id=\"why\">because</small>";
    let form = &forms(page)[0];
    let sent = form.sent();
    let sent: Vec<(&str, &str)> = sent.iter().map(|(n, v)| (&**n, &**v)).collect();
    assert_eq!(sent, [("id", "a&b"), ("n", "<"), ("s", "2")]);
    let field = form.field("n").unwrap();
    assert!(field.is_invalid);
    assert_eq!((&*field.told, &*form.told), ("no hint", "because"));
    assert_eq!((form.key(), &*form.action), (vec!["a&b"], "/x"));
}
