//! Takes pictures of the demo in Chromium: `pictures DIRECTORY` writes `demo-light.png` and `demo-dark.png`, which the
//! README shows; `pictures DIRECTORY every` also takes every page of a single way.

use std::path::{Path, PathBuf};

use tests::Bundle;
use tests::browser::Page;

/// Of the README's pictures, in CSS pixels.
const WIDTH: u32 = 1280;

const WAYS: [&str; 8] = [
    "popup-signed",
    "popup-unsigned",
    "popup-landing",
    "landing",
    "button-signed",
    "button-unsigned",
    "react-signed",
    "react-unsigned",
];

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (directory, pages): (_, &[&str]) = match arguments.as_slice() {
        [directory] => (PathBuf::from(directory), &[]),
        [directory, every] if every == "every" => (PathBuf::from(directory), &WAYS),
        _ => panic!("pictures DIRECTORY [every]"),
    };
    let bundle = Bundle::start_with(&[
        ("SECRETS_FILE", ""), // the demo's own partners
        ("HUB_STAGE_DELAY_MS", "1000"),
    ])
    .await;
    let page = Page::open(&bundle).await;
    page.find("dialog-connect-button").await;
    page.click("#connect:enabled").await;
    page.in_popup("#grant").await;
    page.find("#channels tr[data-key-status=stored] .steps i.done:nth-child(4)")
        .await;
    take(&page, &directory, "demo").await;
    for name in pages {
        let address = format!("{}/_demo/{name}", bundle.url);
        page.browser.goto(&address).await.expect("the page");
        page.find("#numbers [data-key-status=stored], #numbers .empty, #alone")
            .await;
        take(&page, &directory, name).await;
    }
}

async fn take(page: &Page, directory: &Path, name: &str) {
    for scheme in ["light", "dark"] {
        let picture = page.picture(scheme, WIDTH).await;
        let file = directory.join(format!("{name}-{scheme}.png"));
        std::fs::write(&file, picture).expect("the directory");
    }
}
