//! The pages in a browser.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use diesel::SqliteConnection;
use fantoccini::key::Key;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

use crate::access::hashed;
use crate::paths::proxy;
use crate::served::{Served, web};
use crate::subject::{NewRow, PARKED, ROW, connect, count, id, write, write_calls};
use crate::support;
use crate::support::TestDatabase;

const PASSWORD: &str = "p w";
/// The box of a row; the filter for ids has the same name.
const BOX: &str = "input[type=checkbox][name=id]";
/// Time between two renewals of a page.
const INTERVAL: Duration = Duration::from_secs(5);

/// The first of these programs in `PATH`.
fn program(names: &[&str]) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&paths).collect();
    let mut candidates = names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    let name = names[0];
    let found = candidates.find(|path| path.is_file());
    if found.is_none() {
        let required = std::env::var_os("OUTBOX_TEST_REQUIRE_ALL").is_some();
        assert!(!required, "{name} is not installed; run `scripts/tools`");
        eprintln!("skipped: a browser ({name} is not installed; run `scripts/tools`)");
    }
    found
}

/// A process that ends with the test.
struct Driver(Child);

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A browser with pages of parked rows, and who is logged in there.
struct Browser {
    client: Client,
    served: Served,
    database: TestDatabase,
    // Dropped after the client's session.
    _driver: Driver,
}

impl Browser {
    /// `None` if there is no browser on this machine.
    async fn open(arguments: &[&str], options: Value) -> Option<Self> {
        let (driver, browser) = (
            program(&["chromedriver"])?,
            program(&["chromium", "google-chrome"])?,
        );
        let database = support::sqlite::<SqliteConnection>();
        let mut conn = connect::<SqliteConnection>(&database);
        let ids: Vec<String> = (0..4).map(id).collect();
        let long = format!("'/queue/{}'", "x".repeat(240));
        let error = format!("'{}'", "no such queue ".repeat(40));
        let rows: Vec<NewRow<'_>> = ids
            .iter()
            .map(|id| NewRow {
                id,
                destination: &long,
                error: &error,
                stream: "'mail'",
                key: "'k'",
                ..PARKED
            })
            .collect();
        write(&mut conn, &rows);
        write_calls(&mut conn, &rows);
        let mut command = web(&database.url, &["--web-trail"]);
        command.env("OUTBOX_WEB_USERS", hashed("ann", PASSWORD));
        let served = Served::spawn(&mut command);
        let mut driver = Command::new(driver)
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(driver.stdout.take().unwrap()).lines();
        let driver = Driver(driver);
        let port = output.find_map(|line| {
            let line = line.unwrap();
            let (_, port) = line.split_once("started successfully on port ")?;
            Some(port.trim_end_matches('.').to_owned())
        });
        std::thread::spawn(move || output.for_each(drop));
        let mut all = vec![
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
        ];
        all.extend(arguments);
        let mut chrome = json!({"binary": browser, "args": all});
        chrome
            .as_object_mut()
            .unwrap()
            .extend(options.as_object().unwrap().clone());
        let capabilities = json!({"goog:chromeOptions": chrome});
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities.as_object().unwrap().clone())
            .connect(&format!("http://127.0.0.1:{}", port.unwrap()))
            .await
            .unwrap();
        let browser = Self {
            client,
            served,
            database,
            _driver: driver,
        };
        Some(browser)
    }

    fn conn(&self) -> SqliteConnection {
        connect(&self.database)
    }

    /// Opens a page, with the login in the address.
    async fn goto(&self, page: &str) {
        let mut url = self.served.stranger.url(page);
        url.set_username("ann").unwrap();
        url.set_password(Some(PASSWORD)).unwrap();
        self.client.goto(url.as_str()).await.unwrap();
    }

    async fn text(&self) -> String {
        let body = self.client.find(Locator::Css("body")).await.unwrap();
        body.text().await.unwrap()
    }

    /// Waits until a text is on the page. Returns how long it took.
    async fn wait_for(&self, text: &str, patience: Duration) -> Option<Duration> {
        let start = Instant::now();
        while start.elapsed() < patience {
            // The page may be replaced at this moment.
            let body = self.client.find(Locator::Css("body")).await;
            if let Ok(body) = body
                && body.text().await.is_ok_and(|shown| shown.contains(text))
            {
                return Some(start.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        None
    }

    async fn says(&self, text: &str) {
        let found = self.wait_for(text, Duration::from_secs(10)).await;
        assert!(found.is_some(), "no {text:?} in {}", self.text().await);
    }

    async fn click(&self, selector: &str) {
        let found = self.client.find(Locator::Css(selector)).await.unwrap();
        found.click().await.unwrap();
    }

    async fn click_link(&self, text: &str) {
        let found = self.client.find(Locator::LinkText(text)).await.unwrap();
        found.click().await.unwrap();
    }

    /// The value of a script of the test, which is none of the page.
    async fn value(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.unwrap()
    }

    /// Waits until a script of the test says true.
    async fn wait_until(&self, script: &str) {
        let start = Instant::now();
        while self.value(script).await != true {
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "in vain: {script}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn press(&self, key: Key) {
        let focused = self.client.active_element().await.unwrap();
        let key = char::from(key).to_string();
        focused.send_keys(&key).await.unwrap();
    }

    async fn close(self) {
        self.client.clone().close().await.unwrap();
    }
}

fn phone() -> Value {
    let metrics = json!({"width": 360, "height": 800, "pixelRatio": 1.0, "mobile": true});
    json!({"mobileEmulation": {"deviceMetrics": metrics}})
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_retried_by_clicks_and_by_keys() {
    let Some(browser) = Browser::open(&["--window-size=1200,900"], json!({})).await else {
        return;
    };
    let mut conn = browser.conn();
    browser.goto("").await;
    browser
        .click_link("4 messages are parked: not tried again automatically")
        .await;
    browser.says("Parked messages").await;
    // The first box selects all.
    browser.click("input[data-all]").await;
    let checked = "return document.querySelectorAll('input[name=id]:checked').length";
    assert_eq!(browser.value(checked).await, 4);
    browser.click("input[data-all]").await;
    assert_eq!(browser.value(checked).await, 0);
    browser.click("button[value='retry.all']").await;
    browser.says("Retry 4 parked rows?").await;
    assert_eq!(count(&mut conn, "status = 1"), 0);
    browser.click("form.confirm button").await;
    browser.says("4 to be sent again").await;
    assert_eq!(count(&mut conn, "status = 1"), 4);
    browser.click_link("Back to the list").await;
    browser.says("No such rows.").await;

    // By keys only: the link that skips the navigation, a box, a button, and the confirmation.
    browser.goto("calls?state=parked").await;
    browser.press(Key::Tab).await;
    assert_eq!(
        browser
            .value("return document.activeElement.className")
            .await,
        "skip"
    );
    let tab_to = async |selector: &str| {
        let script = format!("return document.activeElement.matches(\"{selector}\")");
        for _ in 0..60 {
            if browser.value(&script).await == true {
                // Where the focus is can be seen.
                let outline = "return getComputedStyle(document.activeElement).outlineStyle";
                assert_ne!(browser.value(outline).await, "none", "{selector}");
                return;
            }
            browser.press(Key::Tab).await;
        }
        panic!("no way to {selector}");
    };
    tab_to(BOX).await;
    browser.press(Key::Space).await;
    assert_eq!(browser.value(checked).await, 1);
    tab_to("button[value='retry.selected']").await;
    browser.press(Key::Enter).await;
    browser.says("Retry 1 parked row?").await;
    // The confirmation has the focus.
    assert_eq!(
        browser
            .value("return document.activeElement.className")
            .await,
        "primary"
    );
    browser.press(Key::Enter).await;
    browser.says("1 to be executed again").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_renew_themselves_while_nobody_works_in_them() {
    let Some(browser) = Browser::open(&["--window-size=1200,900"], json!({})).await else {
        return;
    };
    let mut conn = browser.conn();
    let mut write_row = |number: u64| {
        let new = id(number);
        write(&mut conn, &[NewRow { id: &new, ..ROW }]);
        new
    };
    browser.goto("messages").await;
    let new = write_row(10);
    let took = browser.wait_for(&new, 2 * INTERVAL).await;
    assert!(took.is_some(), "it is renewed: {}", browser.text().await);
    browser.says("Live").await;
    // A box is checked.
    browser.click(BOX).await;
    let second = write_row(11);
    let took = browser
        .wait_for(&second, INTERVAL + Duration::from_secs(1))
        .await;
    assert_eq!(took, None, "the box would be lost");
    browser.click(BOX).await;
    browser.value("document.activeElement.blur()").await;
    assert!(browser.wait_for(&second, 2 * INTERVAL).await.is_some());
    // Another tab is in front.
    let window = browser.client.window().await.unwrap();
    let fetched = "return performance.getEntriesByType('resource')
        .filter((it) => it.initiatorType === 'fetch').length";
    let other = browser.client.new_window(true).await.unwrap();
    browser.client.switch_to_window(other.handle).await.unwrap();
    browser.client.switch_to_window(window).await.unwrap();
    let third = write_row(12);
    if browser.value("return document.hidden").await == true {
        let before = browser.value(fetched).await;
        tokio::time::sleep(INTERVAL + Duration::from_secs(1)).await;
        assert_eq!(browser.value(fetched).await, before, "it is hidden");
    }
    // Somebody stops it.
    browser.client.close_window().await.unwrap();
    let rest = browser.client.windows().await.unwrap();
    browser
        .client
        .switch_to_window(rest[0].clone())
        .await
        .unwrap();
    browser.goto("messages").await;
    assert!(browser.text().await.contains(&third));
    browser.click("#live").await;
    browser.says("Stopped").await;
    // The server goes away, and the page says so.
    browser.click("#live").await;
    browser.says("Live").await;
    browser.served.program.signal("TERM");
    assert!(
        browser
            .wait_for("Not renewed", 2 * INTERVAL)
            .await
            .is_some()
    );
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_work_without_their_script_and_fit_a_phone() {
    let Some(mut browser) = Browser::open(&[], phone()).await else {
        return;
    };
    // The test's own scripts run.
    let server = browser.served.stranger.start.authority().to_owned();
    let address = proxy(server, "", "/script.js");
    browser.served.stranger.start = format!("http://{address}/").parse().unwrap();
    let mut conn = browser.conn();
    let parked = format!("message?id={}&show=body&show=headers", id(0));
    for page in [
        "",
        "messages?state=parked",
        "messages?state=done",
        "calls?state=parked",
        &parked,
        "inbox",
        "dead-letters",
        "trail",
        "nothing",
        "messages?older-than=x",
    ] {
        browser.goto(page).await;
        let widths = "return [document.documentElement.scrollWidth, innerWidth]";
        assert_eq!(browser.value(widths).await, json!([360, 360]), "{page}");
        let has_script = "return document.documentElement.classList.contains('has-script')";
        assert_eq!(browser.value(has_script).await, false, "{page}");
        // What needs the script is not there.
        let live = browser.client.find(Locator::Css("#live")).await;
        if let Ok(live) = live {
            assert!(!live.is_displayed().await.unwrap(), "{page}");
        }
    }
    browser.goto("messages?state=parked").await;
    browser.click(BOX).await;
    browser.click("button[value='retry.selected']").await;
    browser.says("Retry 1 parked row?").await;
    let width = "return document.documentElement.scrollWidth";
    assert_eq!(browser.value(width).await, 360);
    browser.click("form.confirm button").await;
    browser.says("1 to be sent again").await;
    assert_eq!(browser.value(width).await, 360);
    assert_eq!(count(&mut conn, "status = 1"), 1);
    browser.close().await;
}

/// The contrast of texts and grounds: WCAG 2.2, 1.4.3 asks for 4.5.
const LEAST_CONTRAST: &str = "
    const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    function channels(color, under) {
        canvas.fillStyle = `rgb(${under.join(' ')})`;
        canvas.fillRect(0, 0, 1, 1);
        canvas.fillStyle = color;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
    }
    function luminance(color) {
        const linear = color.map((it) => {
            const part = it / 255;
            return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
    }
    function ground(element) {
        const under = element.parentElement ? ground(element.parentElement) : [255, 255, 255];
        return channels(getComputedStyle(element).backgroundColor, under);
    }
    let least = [21, ''];
    for (const element of document.querySelectorAll('body *')) {
        const has_text = [...element.childNodes].some((it) => it.nodeType === 3 && it.data.trim());
        if (!has_text || !element.checkVisibility()) continue;
        const under = ground(element);
        const [a, b] = [luminance(channels(getComputedStyle(element).color, under)), luminance(under)];
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (contrast < least[0]) least = [contrast, element.outerHTML.slice(0, 200)];
    }
    return [luminance(ground(document.body)), ...least];";

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_dark_or_light_as_the_system_is() {
    for (scheme, is_dark) in [("0", true), ("1", false)] {
        let argument = format!("--blink-settings=preferredColorScheme={scheme}");
        let arguments = [argument.as_str(), "--window-size=1200,900"];
        let Some(browser) = Browser::open(&arguments, json!({})).await else {
            return;
        };
        for page in [
            "",
            "messages?state=parked",
            &format!("message?id={}&show=body", id(0)),
            "inbox",
        ] {
            browser.goto(page).await;
            browser
                .wait_until("return document.readyState === 'complete'")
                .await;
            let media = "return matchMedia('(prefers-color-scheme: dark)').matches";
            assert_eq!(browser.value(media).await, is_dark);
            let found = browser.value(LEAST_CONTRAST).await;
            let (ground, contrast) = (found[0].as_f64().unwrap(), found[1].as_f64().unwrap());
            assert_eq!(ground < 0.1, is_dark, "{page}: {found}");
            assert!(contrast >= 4.5, "{page}, dark: {is_dark}: {found}");
        }
        browser.close().await;
    }
}
