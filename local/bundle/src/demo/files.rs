//! The files of the demo: pages, scripts and the style. They are part of the program; what npm brings is not.

pub(super) const HTML: &str = "text/html; charset=utf-8";
pub(super) const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
pub(super) const CSS: &str = "text/css; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// A page or a file: the path it is served at, its content type, its text.
pub(super) type File = (&'static str, &'static str, &'static str);

/// The page of one way.
macro_rules! page {
    ($name:literal) => {
        (
            concat!("/_demo/", $name),
            HTML,
            include_str!(concat!("../../demo/ways/", $name, ".html")),
        )
    };
}

/// A file of the folder `ways`.
macro_rules! file {
    ($name:literal, $content_type:expr) => {
        (
            concat!("/_demo/", $name),
            $content_type,
            include_str!(concat!("../../demo/ways/", $name)),
        )
    };
}

/// The pages. A popup comes back to them, so each is served at the allowed origin only.
pub(super) const PAGES: [File; 9] = [
    ("/", HTML, include_str!("../../demo/index.html")),
    page!("popup-signed"),
    page!("popup-landing"),
    page!("landing"),
    page!("popup-unsigned"),
    page!("button-signed"),
    page!("button-unsigned"),
    page!("react-signed"),
    page!("react-unsigned"),
];

/// The style, the overview's script, the script of each way, and the sources of the React pages, for reading.
pub(super) const FILES: [File; 11] = [
    (
        "/_demo/style.css",
        CSS,
        include_str!("../../demo/style.css"),
    ),
    (
        "/_demo/app.js",
        JAVASCRIPT,
        include_str!("../../demo/app.js"),
    ),
    file!("shared.js", JAVASCRIPT),
    file!("popup-signed.js", JAVASCRIPT),
    file!("popup-landing.js", JAVASCRIPT),
    file!("landing.js", JAVASCRIPT),
    file!("popup-unsigned.js", JAVASCRIPT),
    file!("button-signed.js", JAVASCRIPT),
    file!("button-unsigned.js", JAVASCRIPT),
    file!("react-signed.jsx", TEXT),
    file!("react-unsigned.jsx", TEXT),
];

/// Scripts that `make packages` installs or bundles, each with its path in the demo's folder `node_modules`: 360dialog's
/// own web component, of which this repository holds no copy, and the React pages.
pub(super) const PACKAGES: [(&str, &str); 3] = [
    (
        "/_demo/connect-button.js",
        "360dialog-connect-button/dist/dialog-connect-button.umd.js",
    ),
    ("/_demo/react-signed.js", ".demo/react-signed.js"),
    ("/_demo/react-unsigned.js", ".demo/react-unsigned.js"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_load_nothing_from_elsewhere_and_write_no_html() {
        for (path, _, text) in PAGES.iter().chain(&FILES) {
            // Comments name 360dialog's addresses; nothing else does.
            let is_comment = |line: &&str| line.trim_start().starts_with("//");
            for line in text.lines().filter(|line| !is_comment(line)) {
                for foreign in [
                    "https://",
                    "@import",
                    "innerHTML",
                    "outerHTML",
                    "insertAdjacentHTML",
                    "eval(",
                    "'*'",
                ] {
                    assert!(!line.contains(foreign), "{path} holds {foreign}: {line}");
                }
            }
        }
    }

    #[test]
    fn every_script_of_a_page_has_an_address_that_is_served() {
        // The policy forbids inline scripts and handlers.
        let served = |script: &str| {
            FILES.iter().any(|(path, ..)| *path == script)
                || PACKAGES.iter().any(|(path, _)| *path == script)
        };
        for (page, _, text) in PAGES {
            for script in text.split("<script").skip(1) {
                let address = script
                    .split_once("src=\"")
                    .and_then(|(_, it)| it.split_once('"'));
                let (address, _) = address.unwrap_or_else(|| panic!("{page}: an inline script"));
                assert!(served(address), "{page}: {address}");
            }
            assert!(!text.contains(" onclick="), "{page}");
        }
    }

    #[test]
    fn a_page_is_read_in_a_minute() {
        for (path, content_type, text) in FILES {
            let is_of_one_way =
                content_type != CSS && !path.ends_with("app.js") && !path.ends_with("shared.js");
            if is_of_one_way {
                assert!(text.lines().count() <= 60, "{path}");
            }
        }
    }
}
