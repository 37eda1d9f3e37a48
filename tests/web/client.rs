//! A browser without eyes: it requests pages, checks the rules of each answer, and sends their forms.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use scraper::Html;
use url::Url;

use crate::document::{self, Form};

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// What was requested.
    pub(crate) url: Url,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(given, _)| given == name);
        let (_, value) = found.next()?;
        assert!(found.next().is_none(), "{name} is there twice: {self:#?}");
        Some(value)
    }

    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}: {}", self.url, self.text());
        self
    }

    /// Contains this text, among what a reader sees.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        let shown = self.text();
        assert!(shown.contains(text), "no {text:?} in {}: {shown}", self.url);
        self
    }

    #[track_caller]
    pub(crate) fn lacks(self, text: &str) -> Self {
        let is_there = self.body.contains(text) || self.text().contains(text);
        assert!(!is_there, "{text:?} in {}: {}", self.url, self.body);
        self
    }

    pub(crate) fn document(&self) -> Html {
        Html::parse_document(&self.body)
    }

    /// What a reader sees, with one space for white space.
    pub(crate) fn text(&self) -> String {
        document::text(&self.document())
    }

    /// The form that is sent to this address.
    #[track_caller]
    pub(crate) fn form(&self, action: &str) -> Form {
        let found = document::forms(&self.document());
        let found = found.into_iter().find(|form| form.action == action);
        found.unwrap_or_else(|| panic!("no form {action} in {}: {}", self.url, self.body))
    }

    /// The addresses of all links.
    pub(crate) fn links(&self) -> Vec<Url> {
        let links = document::attributes(&self.document(), "a[href]", "href");
        links.iter().map(|link| self.join(link)).collect()
    }

    /// The address of a link by its text.
    #[track_caller]
    pub(crate) fn link(&self, text: &str) -> Url {
        let links = document::links(&self.document());
        let found = links.iter().find(|(shown, _)| shown == text);
        let Some((_, link)) = found else {
            panic!("no link {text:?} in {}: {}", self.url, self.body)
        };
        self.join(link)
    }

    fn join(&self, link: &str) -> Url {
        self.url.join(link).unwrap()
    }

    /// The address to which the browser is sent.
    #[track_caller]
    pub(crate) fn location(&self) -> Url {
        let location = self.header("location");
        self.join(location.unwrap_or_else(|| panic!("no location in {self:#?}")))
    }
}

/// Requests pages of one server.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    /// The address of the first page, which ends with `/`.
    pub(crate) start: Url,
    /// The value of the header `authorization`.
    pub(crate) credentials: Option<String>,
}

impl Client {
    /// A client that is not logged in.
    pub(crate) fn new(start: &str) -> Self {
        Self {
            start: Url::parse(start).unwrap(),
            credentials: None,
        }
    }

    pub(crate) fn with(&self, credentials: String) -> Self {
        Self {
            credentials: Some(credentials),
            ..self.clone()
        }
    }

    pub(crate) fn with_token(&self, token: &str) -> Self {
        self.with(format!("Bearer {token}"))
    }

    pub(crate) fn with_password(&self, user: &str, password: &str) -> Self {
        use base64::Engine as _;
        let text = format!("{user}:{password}");
        let encoded = base64::engine::general_purpose::STANDARD.encode(text);
        self.with(format!("Basic {encoded}"))
    }

    /// The address of a page, which is relative to the first one.
    pub(crate) fn url(&self, page: &str) -> Url {
        self.start.join(page).unwrap()
    }

    pub(crate) fn get(&self, page: &str) -> Answer {
        self.visit(&self.url(page))
    }

    /// Requests a page, and the one to which it leads.
    pub(crate) fn follow(&self, page: &str) -> Answer {
        let answer = self.get(page);
        match answer.status {
            303 | 307 | 308 => self.visit(&answer.location()),
            _ => answer,
        }
    }

    pub(crate) fn visit(&self, url: &Url) -> Answer {
        self.request("GET", url, &[], b"")
    }

    /// Sends a form of this page with this button.
    pub(crate) fn send(&self, page: &Answer, form: &Form) -> Answer {
        let origin = page.url.origin().ascii_serialization();
        let headers = [
            ("origin", origin.as_str()),
            ("sec-fetch-site", "same-origin"),
        ];
        self.post(&page.join(&form.action), &headers, &form.fields)
    }

    /// Sends a form, and requests the page to which it leads.
    #[track_caller]
    pub(crate) fn send_and_follow(&self, page: &Answer, form: &Form) -> Answer {
        let answer = self.send(page, form).is(303);
        self.visit(&answer.location())
    }

    pub(crate) fn post(
        &self,
        url: &Url,
        headers: &[(&str, &str)],
        fields: &[(String, String)],
    ) -> Answer {
        let mut encoded = url::form_urlencoded::Serializer::new(String::new());
        // As browsers do: https://html.spec.whatwg.org/multipage/form-control-infrastructure.html
        for (name, value) in fields {
            let lines = value.replace("\r\n", "\n").replace('\n', "\r\n");
            encoded.append_pair(name, &lines);
        }
        let body = encoded.finish();
        let mut all = vec![("content-type", "application/x-www-form-urlencoded")];
        all.extend_from_slice(headers);
        self.request("POST", url, &all, body.as_bytes())
    }

    /// Sends a request, and checks what holds for all answers.
    pub(crate) fn request(
        &self,
        method: &str,
        url: &Url,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let answer = self.unchecked(method, url, headers, body);
        document::check(&answer, method);
        answer
    }

    fn unchecked(&self, method: &str, url: &Url, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let address = &url[url::Position::BeforeHost..url::Position::AfterPort];
        let mut stream = TcpStream::connect(address).unwrap();
        let patience = Some(Duration::from_secs(60));
        stream.set_read_timeout(patience).unwrap();
        let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
        let mut head =
            format!("{method} {target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
        let credentials = self.credentials.as_deref();
        let credentials = credentials.map(|value| ("authorization", value));
        for (name, value) in credentials.iter().chain(headers) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if method == "POST" || !body.is_empty() {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
        // The answer may come before the whole body was read.
        let _ = stream.write_all(body);
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_lowercase(), value.trim().to_owned())
        });
        Answer {
            status: status.parse().unwrap(),
            headers: headers.collect(),
            body: body.to_owned(),
            url: url.clone(),
        }
    }
}
