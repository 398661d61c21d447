//! The demo page in a real browser: from the click on either button to the stored key.

mod ways;

use super::readme::block;
use serde_json::Value;
use tests::browser::{Page, STOCK_HUB};
use tests::{Bundle, PARTNER, until_seen};

/// The tenant the demo signs in as.
const TENANT: &str = "demo";

#[tokio::test]
async fn the_stock_button_brings_a_number_to_its_stored_key() {
    let bundle = super::start().await;
    let page = Page::open(&bundle).await;
    page.click_stock_button().await;
    let address = page.in_popup("#grant").await;
    let stock = format!("http://{STOCK_HUB}/dashboard/app/{PARTNER}?");
    assert!(address.starts_with(&stock), "{address}");
    ends_with_stored_key(&page, &bundle).await;
}

#[tokio::test]
async fn a_popup_brings_a_number_to_its_stored_key_by_the_other_name_of_this_machine_too() {
    let bundle = super::start().await;
    // It is led to the address whose origin is allowed.
    let page = Page::open_at(
        &bundle,
        &format!("{}/", bundle.url.replace("127.0.0.1", "localhost")),
    )
    .await;
    page.find("dialog-connect-button").await;
    page.click("#connect:enabled").await;
    let address = page.in_popup("#grant").await;
    assert!(address.starts_with(&bundle.hub), "{address}");
    ends_with_stored_key(&page, &bundle).await;
}

#[tokio::test]
async fn a_visit_that_is_cancelled_or_closed_is_told_and_the_next_one_works() {
    let bundle = super::start().await;
    let page = Page::open(&bundle).await;
    page.click_stock_button().await;
    page.in_popup("#cancel").await;
    page.find("#outcome [data-kind=cancelled]").await;
    // After the stock button: its listener for messages must not take those of the page's own popup.
    page.click_stock_button().await;
    page.close_popup().await;
    page.click("#connect:enabled").await;
    page.in_popup("#cancel").await;
    page.find("#outcome [data-kind=cancelled]").await;
    page.click("#connect:enabled").await;
    page.close_popup().await;
    page.find("#outcome [data-kind=closed]").await;
    page.click("#connect:enabled").await;
    page.in_popup("#grant").await;
    ends_with_stored_key(&page, &bundle).await;
}

/// The README's two blocks of JavaScript, on the demo page in place of the page's own code.
#[tokio::test]
async fn the_readmes_code_brings_numbers_to_their_stored_keys() {
    let bundle = super::start().await;
    let page = Page::open(&bundle).await;
    page.find("dialog-connect-button").await;
    let own = block("const popup =");
    run(
        &page,
        &format!(
            "console.log = (data) => sessionStorage.setItem('readme', data);
         document.querySelector('h1').onclick = async () => {{ {own} }};"
        ),
    )
    .await;
    page.click("h1").await;
    page.in_popup("#grant").await;
    ends_with_stored_key(&page, &bundle).await;
    let result = run(&page, "return sessionStorage.getItem('readme');").await;
    let result = result.as_str().expect("a message");
    assert!(result.starts_with("?client="), "{result}");

    page.find("dialog-connect-button").await;
    run(
        &page,
        "document.querySelector('dialog-connect-button').remove();",
    )
    .await;
    run(&page, &block("const page =")).await;
    // The README's button goes to 360dialog itself.
    run(
        &page,
        "document.querySelector('dialog-connect-button').setAttribute('env', 'local');",
    )
    .await;
    page.click_stock_button().await;
    page.in_popup("#cancel").await;
    page.find("#outcome [data-kind=cancelled]").await;
}

/// Runs `script` in the page, where `api`, `partnerId` and `token` are what the README's code expects.
async fn run(page: &Page, script: &str) -> Value {
    let script = format!(
        "const [done] = [...arguments].slice(-1);
         (async () => {{
           const session = await (await fetch('/_demo/session')).json();
           const [api, partnerId, token] = [location.origin, session.partners[0], session.token];
           {script}
         }})().then(done, (error) => done(`failed: ${{error}}`));"
    );
    let done = page.browser.execute_async(&script, Vec::new()).await;
    let done = done.expect("a script that ends");
    let has_failed = done.as_str().is_some_and(|it| it.starts_with("failed: "));
    assert!(!has_failed, "{done}");
    done
}

/// The page tells the result, its one row reaches the stored key, and that key works.
async fn ends_with_stored_key(page: &Page, bundle: &Bundle) {
    page.find("#outcome [data-kind=connected]").await;
    let row = page.find("#channels tr[data-key-status=stored]").await;
    let channel = row.attr("data-channel").await.expect("a row");
    let channel = channel.expect("a channel");
    for (css, wanted) in [(".key", "stored"), (".permission", "granted")] {
        let css = format!("#channels tr[data-channel='{channel}'] {css}");
        page.says(&css, wanted).await;
    }
    page.says("#changes", "stored").await;
    let cleaned = format!("{}/", bundle.url);
    let address = || async { page.browser.current_url().await.map(String::from) };
    let is_cleaned = |seen: &Result<String, _>| seen.as_ref().is_ok_and(|it| *it == cleaned);
    until_seen(address, is_cleaned).await.expect("an address");
    let seen = bundle.stored(PARTNER, TENANT, &channel).await;
    assert_eq!(seen["claim"], "confirmed");
    bundle.can_send(PARTNER, &channel).await;
}
