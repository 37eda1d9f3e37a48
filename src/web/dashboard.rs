//! The pages as a part of an application.

use std::sync::Arc;

use axum::Router;
use diesel::r2d2::{ConnectionManager, Pool};

use super::access::{Access, Login, Users};
use super::error::WebError;
use super::routes;
use super::site::Site;
use super::store::Store;
use crate::backend::{Backend, databases};
use crate::config::Config;
use crate::db::{Address, AddressError, Db};

/// Connections to the database that the pages use at the same time, at most.
const CONNECTIONS: u32 = 4;

/// Pages for operators, as a router of axum.
///
/// They need `web_users` or `web_tokens`, or an application that checks itself who sees them
/// ([`without_login`](Self::without_login)). Nest the router as a service, below any path: all its links are relative.
///
/// ```no_run
/// # #[cfg(feature = "sqlite")]
/// # fn application() -> Result<axum::Router, Box<dyn std::error::Error>> {
/// use diesel_outbox::config::Config;
/// use diesel_outbox::web::Dashboard;
///
/// let config = Config::builder().env().require_database_url().build()?;
/// let pages = Dashboard::new(&config)?.router()?;
/// let application = axum::Router::new().nest_service("/outbox", pages);
/// # Ok(application)
/// # }
/// ```
pub struct Dashboard {
    store: Arc<dyn Store>,
    config: Config,
    access: Option<Access>,
    is_read_only: bool,
}

impl std::fmt::Debug for Dashboard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dashboard")
            .field("access", &self.access)
            .field("is_read_only", &self.is_read_only)
            .finish_non_exhaustive()
    }
}

impl Dashboard {
    /// Pages on the database of the settings. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// [`WebError::Config`] if the settings are invalid or have no `database_url`, [`WebError::Address`] if no database
    /// that is compiled in has such an address.
    pub fn new(config: &Config) -> Result<Self, WebError> {
        let address = Address::parse(config.require_database_url()?)?;
        Self::on(store(config, &address)?, config)
    }

    /// Pages on a pool of the application, of which they borrow up to four connections. Its `max_size` must leave
    /// room for the application.
    ///
    /// # Errors
    ///
    /// [`WebError::Pool`] if the pool's `max_size` is too small, [`WebError::Config`] if the settings are invalid.
    pub fn with_pool<C: Backend>(
        pool: Pool<ConnectionManager<C>>,
        config: &Config,
    ) -> Result<Self, WebError> {
        let db = Db::borrowed_for_pages(config, pool, CONNECTIONS)?;
        Self::on(Arc::new(db), config)
    }

    fn on(store: Arc<dyn Store>, config: &Config) -> Result<Self, WebError> {
        config.validate()?;
        let text = config.web_users.as_ref().map(|users| users.expose());
        // The settings are valid, so that they can be parsed.
        let users = text.and_then(|text| Users::parse(text).ok());
        let tokens = config.web_tokens.as_ref().map(|tokens| tokens.expose());
        let has_login = users.is_some() || tokens.is_some();
        Ok(Self {
            store,
            access: has_login.then(|| Access::Login(Login::new(users, tokens))),
            is_read_only: config.web_read_only,
            config: config.clone(),
        })
    }

    /// Shows the pages to everybody who reaches them: the application checks who may. It can name the user by a
    /// [`User`](super::User) among the extensions of a request.
    #[must_use]
    pub fn without_login(mut self) -> Self {
        self.access = Some(Access::Everybody);
        self
    }

    /// Shows the pages only: nothing can be changed.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.is_read_only = true;
        self
    }

    /// Whether somebody can log in.
    #[cfg(feature = "cli")]
    pub(crate) fn has_login(&self) -> bool {
        self.access.is_some()
    }

    /// Lets in one user with a random password. Returns the name and the password.
    #[cfg(feature = "cli")]
    pub(crate) fn with_random_password(mut self) -> (Self, String, String) {
        let (login, name, password) = Login::random();
        self.access = Some(Access::Login(login));
        (self, name, password)
    }

    /// The pages. Call it in a tokio runtime, so that they record their numbers from now on and not from the first
    /// request on.
    ///
    /// # Errors
    ///
    /// [`WebError::NoLogin`] if there is neither a login nor [`without_login`](Self::without_login).
    pub fn router(self) -> Result<Router, WebError> {
        Ok(routes::router(self.site()?))
    }

    /// What the pages share.
    pub(crate) fn site(self) -> Result<Arc<Site>, WebError> {
        let access = self.access.ok_or(WebError::NoLogin)?;
        let site = Arc::new(Site::new(
            self.store,
            self.config,
            access,
            self.is_read_only,
        ));
        if tokio::runtime::Handle::try_current().is_ok() {
            site.start_sampling();
        }
        Ok(site)
    }
}

/// The pages on the database of the settings: [`Dashboard::new`] and [`Dashboard::router`].
///
/// # Errors
///
/// As these two.
pub fn router(config: &Config) -> Result<Router, WebError> {
    Dashboard::new(config)?.router()
}

macro_rules! store_of {
    ($module:ident: $connection:ty, $config:ident, $address:ident) => {
        if $address.is_for::<$connection>() {
            return Ok(Arc::new(Db::<$connection>::for_pages(
                $config,
                $address,
                CONNECTIONS,
            )));
        }
    };
}

fn store(config: &Config, address: &Address) -> Result<Arc<dyn Store>, WebError> {
    databases!(store_of, config, address);
    // Only in a build without a database: `Address::parse` refuses the others.
    Err(WebError::Address(AddressError::NotBuilt {
        database: address.database(),
        feature: "postgres, mysql or sqlite",
    }))
}
