//! What a page is made of, and the rules that hold for every answer.

use scraper::{ElementRef, Html, Node, Selector};

use crate::client::Answer;

/// A form of a page.
#[derive(Debug, Clone)]
pub(crate) struct Form {
    pub(crate) action: String,
    pub(crate) fields: Vec<(String, String)>,
    /// The values of the buttons with the name `do`.
    buttons: Vec<String>,
}

impl Form {
    /// Presses the button with this value.
    #[track_caller]
    pub(crate) fn press(self, button: &str) -> Self {
        assert!(
            self.buttons.iter().any(|known| known == button),
            "no button {button}: {self:#?}"
        );
        self.with("do", button)
    }

    pub(crate) fn has_button(&self, button: &str) -> bool {
        self.buttons.iter().any(|known| known == button)
    }

    /// Sets a field.
    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.fields.retain(|(known, _)| known != name);
        self.with(name, value)
    }

    /// Adds a value, as a box does that is checked.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }
}

fn selector(text: &str) -> Selector {
    Selector::parse(text).unwrap()
}

fn attribute(element: &ElementRef<'_>, name: &str) -> String {
    element.attr(name).unwrap_or_default().to_owned()
}

/// An attribute of all elements that are selected.
pub(crate) fn attributes(document: &Html, selected: &str, name: &str) -> Vec<String> {
    let elements = document.select(&selector(selected)).collect::<Vec<_>>();
    elements.iter().map(|it| attribute(it, name)).collect()
}

/// The texts of all elements that are selected.
pub(crate) fn texts(document: &Html, selected: &str) -> Vec<String> {
    let elements = document.select(&selector(selected)).collect::<Vec<_>>();
    elements.iter().map(text_of).collect()
}

/// The texts and addresses of all links.
pub(crate) fn links(document: &Html) -> Vec<(String, String)> {
    let links = document.select(&selector("a[href]")).collect::<Vec<_>>();
    let pair = |link: &ElementRef<'_>| (text_of(link), attribute(link, "href"));
    links.iter().map(pair).collect()
}

fn text_of(element: &ElementRef<'_>) -> String {
    one_space(&element.text().collect::<String>())
}

/// The text with a space between elements: the page has none.
fn spaced(element: &ElementRef<'_>) -> String {
    one_space(&element.text().collect::<Vec<_>>().join(" "))
}

/// The text of the body.
pub(crate) fn text(document: &Html) -> String {
    let body = document.select(&selector("body")).next();
    body.map(|body| spaced(&body)).unwrap_or_default()
}

fn one_space(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The forms of a page, with what is filled in.
pub(crate) fn forms(document: &Html) -> Vec<Form> {
    let forms = document.select(&selector("form")).collect::<Vec<_>>();
    let form = |form: &ElementRef<'_>| Form {
        action: attribute(form, "action"),
        fields: form
            .select(&selector("input[type=hidden], input[type=text]"))
            .map(|input| (attribute(&input, "name"), attribute(&input, "value")))
            .collect(),
        buttons: form
            .select(&selector("button[name=do]"))
            .map(|button| attribute(&button, "value"))
            .collect(),
    };
    forms.iter().map(form).collect()
}

/// Characters that control a terminal or move other characters.
pub(crate) fn is_unsafe(character: char) -> bool {
    let is_space = matches!(character, '\n' | '\t');
    (character.is_control() && !is_space)
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
        || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Fails if an answer breaks a rule that holds for all of them.
pub(crate) fn check(answer: &Answer, method: &str) {
    let header = |name: &str| answer.header(name).unwrap_or_default().to_owned();
    let place = format!("{method} {}", answer.url);
    let policy = header("content-security-policy");
    for part in [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "frame-ancestors 'none'",
        "form-action 'self'",
        "base-uri 'none'",
    ] {
        assert!(policy.contains(part), "{place}: no {part} in {policy:?}");
    }
    assert!(!policy.contains("unsafe"), "{place}: {policy}");
    assert_eq!(header("x-content-type-options"), "nosniff", "{place}");
    assert_eq!(header("x-frame-options"), "DENY", "{place}");
    assert_eq!(header("referrer-policy"), "same-origin", "{place}");
    let is_asset = answer.status == 200
        && [".css", ".js"]
            .iter()
            .any(|end| answer.url.path().ends_with(end));
    let cached = header("cache-control");
    match is_asset {
        true => assert!(cached.starts_with("private"), "{place}: {cached}"),
        false => assert_eq!(cached, "no-store", "{place}"),
    }
    if header("content-type").starts_with("text/html") && method != "HEAD" {
        assert_eq!(header("content-type"), "text/html; charset=utf-8");
        check_page(&answer.body, &place);
    }
}

/// Fails if a page has something inline, something of another host, or characters that are not to be shown.
fn check_page(page: &str, place: &str) {
    let document = Html::parse_document(page);
    // The values of fields are what they are, so that a form sends them unchanged.
    let errors = document.errors.iter();
    let errors: Vec<_> = errors
        .filter(|error| !error.starts_with("Bad character"))
        .collect();
    assert!(errors.is_empty(), "{place}: {errors:?}");
    for node in document.tree.nodes() {
        if let Node::Text(text) = node.value() {
            let found = text.chars().find(|character| is_unsafe(*character));
            assert_eq!(found, None, "{place}: {text:?}");
        }
        let Node::Element(element) = node.value() else {
            continue;
        };
        let name = element.name();
        assert!(
            !matches!(
                name,
                "style" | "base" | "iframe" | "object" | "embed" | "img"
            ),
            "{place}: <{name}>"
        );
        if name == "script" {
            assert_eq!(element.attr("src"), Some("script.js"), "{place}");
            assert!(!node.has_children(), "{place}: a script inline");
        }
        for (attribute, value) in element.attrs() {
            let is_inline = attribute.starts_with("on") || attribute == "style";
            assert!(!is_inline, "{place}: <{name} {attribute}={value:?}>");
            let is_field = name == "input" && attribute == "value";
            let is_shown = !is_field && value.contains(is_unsafe);
            assert!(!is_shown, "{place}: <{name} {attribute}={value:?}>");
            if matches!(attribute, "href" | "src" | "action" | "formaction") {
                let is_relative = !value.starts_with('/') && url::Url::parse(value).is_err();
                assert!(is_relative, "{place}: <{name} {attribute}={value:?}>");
            }
        }
    }
    let titles = texts(&document, "title");
    assert!(
        titles.len() == 1 && titles[0].ends_with("outbox"),
        "{place}: {titles:?}"
    );
}
