//! The pages of the single ways: each brings a number to its stored key, with 360dialog's npm package as it is.

use serde_json::json;
use tests::browser::Page;
use tests::{Bundle, PARTNER, Secrets};

use super::{TENANT, run};

/// The partner for which the simulated 360dialog takes links without a signature.
const OPEN_PARTNER: &str = "openPA";

/// 360dialog's web component.
const WEB_COMPONENT: &str = "dialog-connect-button";

/// What opens the popup.
#[derive(Clone, Copy)]
enum Button {
    Own,
    WebComponent,
    React,
}

impl Button {
    fn css(self) -> &'static str {
        match self {
            Self::Own => "button.connect:enabled",
            Self::WebComponent => WEB_COMPONENT,
            Self::React => "#connect button.connect",
        }
    }
}

#[tokio::test]
async fn signed_popups_bring_numbers_to_their_stored_keys() {
    let bundle = start().await;
    let page = Page::open_at(&bundle, &address(&bundle, "landing")).await;
    page.says("#alone", "Close it").await;
    let signed = Way::new(&bundle, &page, "popup-signed", Button::Own, PARTNER);
    signed.ends_with_stored_key().await;
    let landing = Way::new(&bundle, &page, "popup-landing", Button::Own, PARTNER);
    landing.ends_with_stored_key().await;
    landing.is_cancelled().await;
}

#[tokio::test]
async fn an_unsigned_popup_brings_a_number_to_its_stored_key_and_takes_its_permission_back() {
    let bundle = start().await;
    let page = Page::open(&bundle).await;
    let unsigned = Way::new(&bundle, &page, "popup-unsigned", Button::Own, OPEN_PARTNER);
    let channel = unsigned.ends_with_stored_key().await;
    unsigned.is_cancelled().await;
    unsigned.is_revoked(&channel).await;
    page.browser.goto(&bundle.url).await.expect("the overview");
    let permission = format!("#channels tr[data-channel='{channel}'] .permission");
    page.says(&permission, "revoked").await;
}

#[tokio::test]
async fn the_web_component_brings_numbers_to_their_stored_keys() {
    let bundle = start().await;
    let page = Page::open_at(&bundle, &address(&bundle, "button-signed")).await;
    let signed = Way::new(
        &bundle,
        &page,
        "button-signed",
        Button::WebComponent,
        PARTNER,
    );
    signed.ends_with_stored_key().await;
    signed.is_cancelled().await;
    let unsigned = Way::new(
        &bundle,
        &page,
        "button-unsigned",
        Button::WebComponent,
        OPEN_PARTNER,
    );
    unsigned.takes_no_claim_of_a_foreign_link().await;
    unsigned.ends_with_stored_key().await;
}

#[tokio::test]
async fn the_react_component_brings_a_number_to_its_stored_key_and_takes_its_permission_back() {
    let bundle = start().await;
    let page = Page::open_at(&bundle, &address(&bundle, "react-signed")).await;
    let signed = Way::new(&bundle, &page, "react-signed", Button::React, PARTNER);
    let channel = signed.ends_with_stored_key().await;
    signed.is_revoked(&channel).await;
}

#[tokio::test]
async fn the_react_component_without_a_signature_brings_a_number_to_its_stored_key() {
    let bundle = start().await;
    let page = Page::open_at(&bundle, &address(&bundle, "react-unsigned")).await;
    let unsigned = Way::new(
        &bundle,
        &page,
        "react-unsigned",
        Button::React,
        OPEN_PARTNER,
    );
    unsigned.takes_no_claim_of_a_foreign_link().await;
    unsigned.ends_with_stored_key().await;
}

/// With `query_parameters` both stock buttons ask for the same as the signed link, but for the parameters that the web
/// component of 1.0.2 has no attribute for; and `sign` gives a parameter the form that the button gives its own attribute.
#[tokio::test]
async fn the_stock_buttons_ask_for_the_same_as_the_signed_link() {
    let bundle = start().await;
    let page = Page::open_at(&bundle, &address(&bundle, "button-signed")).await;
    page.find(WEB_COMPONENT).await;
    let queries = run(
        &page,
        "const asked = { email: 'ada+1@acme.example', name: 'Acme & Söhne', number: '15550100', plan_selection: 'basic', next: 'a/b' };
         const others = { lang: 'de', partner: 'tenant 7' };
         const headers = { authorization: `Bearer ${token}` };
         const link = `${api}/${partnerId}/sign?${new URLSearchParams({ ...asked, ...others })}`;
         const { url, query_parameters } = await (await fetch(link, { headers })).json();
         const query = (address) => Object.fromEntries(new URL(address).searchParams);
         const element = ({ number, state, ...parameters }) => {
           const made = document.createElement('dialog-connect-button');
           made.setAttribute('partner-id', partnerId);
           made.updateConfig({ requestedNumber: number, queryParameters: { ...parameters, state } });
           return query(made.getPermissionUrl());
         };
         // The core is the part that the React component has in common with the web component.
         const core = new Dialog360.Connect({ partnerId, queryParameters: query_parameters });
         return { link: query(url), react: query(core.getPermissionUrl()), element: element(query_parameters), own: element(asked) };",
    )
    .await;
    let mut link = queries["link"].clone();
    assert_eq!(queries["react"], link);
    for (name, value) in queries["own"].as_object().expect("parameters") {
        assert_eq!(&link[name], value, "{name}");
    }
    assert_eq!(queries["own"].as_object().map(|own| own.len()), Some(5));
    let parameters = link.as_object_mut().expect("parameters");
    for missing in ["lang", "partner"] {
        assert!(parameters.remove(missing).is_some(), "{missing}");
    }
    assert_eq!(queries["element"], link);
}

async fn start() -> Bundle {
    let mut secrets = Secrets::two_hubs();
    secrets.file[OPEN_PARTNER] = json!({
        "platform_secret": "needle-platform-open-0006",
        "partner_token": "needle-token-open-0007",
        "check_signature": false,
    });
    super::super::start_as(secrets, &[]).await
}

fn address(bundle: &Bundle, page: &str) -> String {
    format!("{}/_demo/{page}", bundle.url)
}

/// A page of the demo, and the button on it that opens the popup.
struct Way<'a> {
    bundle: &'a Bundle,
    page: &'a Page,
    address: String,
    button: Button,
    partner: &'static str,
}

impl<'a> Way<'a> {
    fn new(
        bundle: &'a Bundle,
        page: &'a Page,
        name: &str,
        button: Button,
        partner: &'static str,
    ) -> Self {
        let address = address(bundle, name);
        Self {
            bundle,
            page,
            address,
            button,
            partner,
        }
    }

    async fn press(&self) {
        let shown = self.page.browser.goto(&self.address).await;
        shown.expect("the page");
        match self.button {
            Button::Own => self.page.click(self.button.css()).await,
            Button::WebComponent => self.page.click_stock_button().await,
            Button::React => self.page.click_until_popup(self.button.css()).await,
        }
        self.page.switch_to_popup().await;
    }

    /// Presses a button of the simulated 360dialog and comes back with the page's outcome.
    async fn finish(&self, button: &str, outcome: &str) {
        let button = self.page.find(button).await;
        // The popup may be gone before the click is answered.
        let _closing = button.click().await;
        self.page.switch_back().await;
        self.page
            .find(&format!("#outcome [data-kind={outcome}]"))
            .await;
    }

    /// Connects a number; answers its channel.
    async fn ends_with_stored_key(&self) -> String {
        self.press().await;
        let name = self.page.find("#client_name").await;
        let link = self.page.browser.current_url().await.expect("the link");
        let (link, email) = (link.as_str(), "email=ada%40acme.example");
        assert!(link.contains(email), "{link}");
        let name = name.attr("value").await.expect("a field");
        assert_eq!(name.as_deref(), Some("Acme"), "the page has filled it in");
        self.finish("#grant", "connected").await;
        let outcome = self.page.find("#outcome span").await.text().await;
        let outcome = outcome.expect("the outcome");
        let (channel, _) = outcome.split_once(':').expect("a channel");
        let row = format!("#numbers [data-channel='{channel}'][data-key-status=stored]");
        self.page.find(&row).await;
        let seen = self.bundle.stored(self.partner, TENANT, channel).await;
        assert_eq!(seen["claim"], "confirmed");
        self.bundle.can_send(self.partner, channel).await;
        channel.to_owned()
    }

    async fn is_cancelled(&self) {
        self.press().await;
        self.finish("#cancel", "cancelled").await;
    }

    /// Takes back the permission for a number.
    async fn is_revoked(&self, channel: &str) {
        let seen = self.bundle.stored(self.partner, TENANT, channel).await;
        let client = tests::text(&seen["client_id"]).to_owned();
        self.press().await;
        self.page
            .click(&format!("#clients a[href$='={client}']"))
            .await;
        let number = format!("input[name=revoked][value='{channel}']");
        self.page.click(&number).await;
        self.finish("#grant", "revoked").await;
        let row = format!("#numbers [data-channel='{channel}'][data-permission=revoked]");
        self.page.find(&row).await;
    }

    /// A link with a result that somebody else has written makes no claim for who follows it.
    async fn takes_no_claim_of_a_foreign_link(&self) {
        let foreign = format!("{}?client=oneCL&channels=[foreignCH]", self.address);
        let shown = self.page.browser.goto(&foreign).await;
        shown.expect("the page");
        self.page.find(self.button.css()).await;
        let claimed = self.bundle.channel(self.partner, TENANT, "foreignCH");
        assert_eq!(claimed.await, None);
    }
}
