// 360dialog's Connect Button, the web component, with a signed link. At the end the server sends the popup back to this
// page; the button there hands the address's query to the page that opened it, which loads again with it.
import { ask, follow, refuse, resultOf, session, tell } from '/_demo/shared.js';

const page = location.origin + location.pathname;
const { signed_partner: partner } = await session(); // your partner id, such as aAbBcCPA
await customElements.whenDefined('dialog-connect-button'); // 360dialog's script, which the page loads first
const customer = { email: 'ada@acme.example', name: 'Acme' }; // fills in 360dialog's form
const button = document.createElement('dialog-connect-button');
let renewal = null;

/** Gives the button a link of its own. Each can be used once, and for 24 hours. */
async function renewLink() {
  try {
    const query = new URLSearchParams({ return_to: `${page}?back`, ...customer });
    const signed = await ask(`/${partner}/sign?${query}`);
    // The state last: the button reads the signature, which it does not observe, when the state changes.
    const { state, ...others } = signed.query_parameters;
    button.updateConfig({ queryParameters: { ...others, state } });
    clearTimeout(renewal);
    renewal = setTimeout(renewLink, Date.parse(signed.expires_at) - Date.now() - 10 * 60 * 1000);
  } catch (error) {
    refuse(error);
  }
}

button.setAttribute('partner-id', partner);
button.setAttribute('env', 'local'); // Leave this out: it leads to the simulated 360dialog.
if (!window.opener) {
  await renewLink();
  button.addEventListener('click', renewLink);
}
// In the popup the button posts the query to the opener and closes the window when it is inserted.
document.querySelector('#connect').replaceChildren(button);

// The button's own events come in both windows and twice, and not at all after a cancelled visit or one that only takes
// permission back. The address has every result; the server has recorded it already, so the page only shows it.
if (location.search) {
  tell(resultOf(location.search));
  history.replaceState(null, '', page);
}
follow(partner);
