//! The settings as options of the STOMP client.

use super::Config;
#[cfg(feature = "tls")]
use crate::stomp::Tls;
use crate::stomp::{Limits, Options, UrlError};

impl Config {
    /// The options of the connection to the broker.
    ///
    /// # Errors
    ///
    /// If `stomp_url` is not the address of a broker; [`validate`](Self::validate) finds that too.
    pub fn stomp_options(&self) -> Result<Options, UrlError> {
        let connect_timeout = self.connect_timeout;
        let options = Options::from_url(self.stomp_url.expose())?
            .connect_timeout(connect_timeout)
            .resolve_timeout(self.resolve_timeout.unwrap_or(connect_timeout))
            .tls_timeout(self.tls_timeout.unwrap_or(connect_timeout))
            .connected_timeout(self.connected_timeout.unwrap_or(connect_timeout))
            .receipt_timeout(self.receipt_timeout)
            .heartbeat(self.heartbeat_send, self.heartbeat_receive)
            .broker(self.broker)
            .versions(&self.stomp_versions)
            .receive_budget(self.prefetch_bytes)
            .limits(Limits {
                head: self.maximum_header_size,
                headers: self.maximum_headers,
                body: self.maximum_body_size,
            });
        #[cfg(feature = "tls")]
        let options = options.tls(self.tls());
        Ok(options)
    }

    #[cfg(feature = "tls")]
    pub(crate) fn tls(&self) -> Tls {
        let mut tls = Tls::new();
        if let Some(path) = &self.tls_ca_file {
            tls = tls.ca_file(path);
        }
        if let (Some(certificate), Some(key)) = (&self.tls_cert_file, &self.tls_key_file) {
            tls = tls.client_certificate(certificate, key);
        }
        if let Some(password) = &self.tls_key_password {
            tls = tls.key_password(password.expose());
        }
        if !self.tls_verify {
            tls = tls.accept_any_certificate();
        }
        tls
    }
}
