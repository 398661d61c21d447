// 360dialog's Connect Button, the web component, without a signature. This page is the redirect URL: in the popup the
// button hands the address's query to the page that opened it, which loads again with it and sends it to the server.
import { claim, follow, refuse, session, tell } from '/_demo/shared.js';

const page = location.origin + location.pathname;
const { unsigned_partner: partner } = await session(); // your partner id, such as aAbBcCPA
await customElements.whenDefined('dialog-connect-button'); // 360dialog's script, which the page loads first
const customer = { email: 'ada@acme.example', name: 'Acme' }; // fills in 360dialog's form

/** Sends 360dialog's answer in, if the visit began in this tab: a link that somebody else wrote must not make a claim. */
async function finish() {
  const [answer, state] = [new URLSearchParams(location.search), sessionStorage.getItem('state')];
  if (!state || answer.get('state') !== state) return;
  answer.delete('state'); // It is ours. The server knows those that it made itself.
  try {
    tell(await claim(partner, `?${answer}`));
    sessionStorage.removeItem('state');
    history.replaceState(null, '', page);
  } catch (error) {
    refuse(error); // Loading the page again sends it again.
  }
}

function mountButton() {
  const state = sessionStorage.getItem('state') ?? crypto.randomUUID();
  sessionStorage.setItem('state', state);
  const button = document.createElement('dialog-connect-button');
  button.setAttribute('partner-id', partner);
  button.setAttribute('env', 'local'); // Leave this out: it leads to the simulated 360dialog.
  button.updateConfig({ queryParameters: { redirect_url: page, ...customer, state } });
  // In the popup the button posts the query to the opener and closes the window when it is inserted.
  document.querySelector('#connect').replaceChildren(button);
}

// The button's own events come in both windows and twice, and not at all after a cancelled visit or one that only takes
// permission back. The address has every result, so the page reads that.
if (!partner) {
  refuse(new Error('Every partner here insists on a signature. Delete .local and start again.'));
} else {
  if (location.search && !window.opener) await finish();
  mountButton();
  follow(partner);
}
