//! `outbox web`: serves the pages for operators. `outbox hash-password`: makes a user of them.

use std::io::{self, BufRead as _, IsTerminal as _};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::get;
use clap::{ArgMatches, Args, Command, FromArgMatches};
use hyper::body::Incoming;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::http_server;
use super::json::Object;
use super::output::Output;
use super::run::{Failure, run_with};
use crate::config::{Config, FlagGroups, Flags, Group};
use crate::runtime::shutdown::Shutdown;
use crate::web::{Dashboard, WebError, guard, hash_password, routes};

/// How long a page may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

pub(super) enum PageGroups {}

impl FlagGroups for PageGroups {
    const GROUPS: &'static [Group] = &[Group::Web];
}

/// The flags that have a name without `web-` too.
const SHORT: [&str; 3] = ["listen", "path", "read-only"];

/// The settings of the pages, whose flags only this command has.
pub(super) struct Arguments(Flags<PageGroups>);

impl FromArgMatches for Arguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Flags::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

impl Args for Arguments {
    fn augment_args(command: Command) -> Command {
        let arguments = Flags::<PageGroups>::arguments();
        command.args(arguments.map(|argument| {
            // `--listen` for `--web-listen`.
            let short = argument
                .get_long()
                .and_then(|flag| flag.strip_prefix("web-"));
            match short
                .filter(|short| SHORT.contains(short))
                .map(str::to_owned)
            {
                Some(short) => argument.visible_alias(short),
                None => argument,
            }
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

#[derive(Args)]
pub(super) struct HashPassword {
    /// Name of the user
    name: String,
}

/// Prints a user for the setting `web_users`. The password is read from the terminal or from standard input.
pub(super) fn print_user(arguments: &HashPassword, is_json: bool) -> ExitCode {
    let work = async |_| {
        let password = read_password().map_err(Failure::runtime)?;
        let user = hash_password(&arguments.name, &password).map_err(Failure::usage)?;
        let mut out = Output::new(false).with_json(is_json);
        out.result(&user, || Object::new().with("user", &user));
        out.finish()
    };
    run_with(Ok(Config::default()), work)
}

/// A line without its end.
fn read_password() -> io::Result<String> {
    if io::stdin().is_terminal() {
        let terminal = console::Term::stderr();
        terminal.write_str("Password: ")?;
        return terminal.read_secure_line();
    }
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Serves the pages until a signal stops them.
pub(super) fn run<G: FlagGroups>(
    flags: &Flags<G>,
    arguments: &Arguments,
    is_json: bool,
) -> ExitCode {
    let config = Config::builder()
        .file_if_present("outbox.toml")
        .env()
        .flags(flags)
        .flags(&arguments.0)
        .require_database_url()
        .build();
    run_with(config.map_err(Failure::from), async |config| {
        serve(&config, is_json).await
    })
}

impl From<WebError> for Failure {
    fn from(error: WebError) -> Self {
        match error {
            WebError::Config(error) => error.into(),
            other => Self::usage(other),
        }
    }
}

async fn serve(config: &Config, is_json: bool) -> Result<(), Failure> {
    let address = config.web_listen;
    let mut dashboard = Dashboard::new(config)?;
    let mut password = None;
    if !dashboard.has_login() {
        if !address.ip().is_loopback() {
            return Err(Failure::usage(format!(
                "web_listen = {address} can be reached from other machines, and nobody would have to log in: set \
                 web_users (`outbox hash-password NAME` makes a line of it) or web_tokens, or listen at 127.0.0.1"
            )));
        }
        let (with_password, user, secret) = dashboard.with_random_password();
        dashboard = with_password;
        password = Some((user, secret));
    }
    let unusable =
        |error| Failure::usage(format!("cannot listen at web_listen = {address}: {error}"));
    let listener = TcpListener::bind(address).await.map_err(unusable)?;
    let address = listener.local_addr().map_err(unusable)?;
    let site = dashboard.site()?;
    site.check().await?;
    let shutdown = Shutdown::on_signals().map_err(Failure::runtime)?;

    let path = config.web_path.trim_end_matches('/');
    let pages = routes::router(std::sync::Arc::clone(&site));
    let pages = match path {
        "" => pages,
        path => {
            let to = format!("{path}/");
            let start = get(async move || Redirect::temporary(&to));
            Router::new().route("/", start).nest_service(path, pages)
        }
    };
    tracing::info!(%address, path, read_only = config.web_read_only, "serving the pages");
    if !address.ip().is_loopback() {
        tracing::warn!(
            "passwords and rows go over the network in plain text; put a reverse proxy with TLS in front"
        );
    }
    let url = format!("http://{address}{path}/");
    let mut out = Output::new(false).with_json(is_json);
    let (user, secret) = password.unzip();
    let object = || {
        let object = Object::new().with("url", &url).with("user", &user);
        object.with("password", &secret)
    };
    out.result(&url, object);
    if let (Some(user), Some(secret), false) = (&user, &secret, is_json) {
        out.line(format_args!("user {user}, password {secret}"));
        out.line("The password is new at each start; `web_users` sets users that stay.");
    }
    out.finish()?;

    let handler = move |request: hyper::Request<Incoming>, peer: SocketAddr| {
        let pages = pages.clone();
        async move { answer(pages, request, peer).await }
    };
    http_server::serve(listener, shutdown, handler).await;
    let limit = config.shutdown_timeout.unwrap_or(Duration::MAX);
    match timeout(limit, site.finish()).await {
        Ok(()) => Ok(()),
        Err(_) => Err(Failure::Unfinished(
            "a change did not finish in time; the rows that it has changed stay changed".to_owned(),
        )),
    }
}

async fn answer(pages: Router, request: hyper::Request<Incoming>, peer: SocketAddr) -> Response {
    let mut request: Request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(peer));
    let answer = hyper::service::Service::call(&TowerToHyperService::new(pages), request);
    let mut answer = match timeout(ANSWER_TIMEOUT, answer).await {
        Ok(Ok(answer)) => answer,
        Err(_) => StatusCode::GATEWAY_TIMEOUT.into_response(),
    };
    // Those from outside of `web_path` too.
    guard::protect(&mut answer);
    answer
}
