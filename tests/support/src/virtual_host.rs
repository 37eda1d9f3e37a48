//! A virtual host of RabbitMQ for one case, by its management API.

use crate::http;

/// A virtual host. It is deleted at the end, with its users.
pub struct VirtualHost {
    address: String,
    pub name: String,
    users: Vec<String>,
}

impl VirtualHost {
    /// With queues of this type as its default, which RabbitMQ has from 3.11 on.
    pub fn new(name: &str, queue_type: &str) -> Option<Self> {
        let url = crate::server(
            "OUTBOX_TEST_RABBITMQ_MANAGEMENT",
            "RabbitMQ's management API",
        )?;
        let address = url.trim_end_matches('/').rsplit('@').next().unwrap();
        let host = Self {
            address: address.to_owned(),
            name: name.to_owned(),
            users: Vec::new(),
        };
        let body = format!(r#"{{"default_queue_type":"{queue_type}"}}"#);
        host.put(&format!("vhosts/{name}"), &body);
        host.put(
            &format!("permissions/{name}/guest"),
            r#"{"configure":".*","write":".*","read":".*"}"#,
        );
        Some(host)
    }

    /// The address of the API for a new user with the tag `management`, who has no rights.
    pub fn add_user(&mut self, name: &str) -> String {
        self.put(
            &format!("users/{name}"),
            r#"{"password":"secret","tags":"management"}"#,
        );
        self.users.push(name.to_owned());
        format!("http://{name}:secret@{}/", self.address)
    }

    /// Lets a user see this virtual host, and change nothing in it.
    pub fn show_to(&self, user: &str) {
        self.put(
            &format!("permissions/{}/{user}", self.name),
            r#"{"configure":"^$","write":"^$","read":"^$"}"#,
        );
    }

    /// Sets a policy for the queues of this name.
    pub fn set_policy(&self, queue: &str, definition: &str) {
        let answer = self.try_policy(queue, definition);
        assert!(matches!(answer.status, 201 | 204), "{answer:?}");
    }

    /// The same for a policy that the broker may refuse.
    pub fn try_policy(&self, queue: &str, definition: &str) -> http::Answer {
        let body =
            format!(r#"{{"pattern":"^{queue}$","apply-to":"queues","definition":{definition}}}"#);
        self.request("PUT", &format!("policies/{}/{queue}", self.name), &body)
    }

    /// Declares a durable queue of this type.
    pub fn declare(&self, queue: &str, queue_type: &str) {
        let body = format!(r#"{{"durable":true,"arguments":{{"x-queue-type":"{queue_type}"}}}}"#);
        self.put(&format!("queues/{}/{queue}", self.name), &body);
    }

    /// A queue as the API describes it; `None` if it does not exist.
    pub fn queue(&self, queue: &str) -> Option<serde_json::Value> {
        let answer = self.request("GET", &format!("queues/{}/{queue}", self.name), "");
        (answer.status == 200).then(|| serde_json::from_str(&answer.body).unwrap())
    }

    /// Deletes a queue.
    pub fn delete_queue(&self, queue: &str) {
        let answer = self.request("DELETE", &format!("queues/{}/{queue}", self.name), "");
        assert_eq!(answer.status, 204, "{answer:?}");
    }

    /// From now on there may be this many, or any number: `max-queues`, `max-connections`.
    pub fn limit(&self, name: &str, most: Option<usize>) {
        let path = format!("vhost-limits/{}/{name}", self.name);
        match most {
            Some(most) => self.put(&path, &format!(r#"{{"value":{most}}}"#)),
            None => drop(self.request("DELETE", &path, "")),
        }
    }

    fn put(&self, path: &str, body: &str) {
        let answer = self.request("PUT", path, body);
        assert!(matches!(answer.status, 201 | 204), "{path}: {answer:?}");
    }

    fn request(&self, method: &str, path: &str, body: &str) -> http::Answer {
        let length = body.len();
        // guest:guest
        let request = format!(
            "{method} /api/{path} HTTP/1.0\r\nhost: test\r\nauthorization: Basic Z3Vlc3Q6Z3Vlc3Q=\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        http::request(&self.address, &request)
    }
}

impl Drop for VirtualHost {
    fn drop(&mut self) {
        self.request("DELETE", &format!("vhosts/{}", self.name), "");
        for user in &self.users {
            self.request("DELETE", &format!("users/{user}"), "");
        }
    }
}
