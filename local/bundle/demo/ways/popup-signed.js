// Your own popup with a signed link. At the end the server's page in the popup posts the result to this page.
import { ask, follow, refuse, resultOf, session, tell } from '/_demo/shared.js';

const { signed_partner: partner } = await session(); // your partner id, such as aAbBcCPA
const customer = { email: 'ada@acme.example', name: 'Acme' }; // fills in 360dialog's form
const button = document.querySelector('#connect');
let popup = null;
let resultOrigin = null;

async function connect() {
  // Before the first await: browsers block a popup that the click itself does not open.
  popup = window.open('', 'onboarding', 'popup,width=600,height=920');
  if (!popup) return refuse(new Error('Your browser blocked the popup. Allow popups for this page.'));
  try {
    // Each link can be used once, so every click asks for one.
    const signed = await ask(`/${partner}/sign?${new URLSearchParams(customer)}`);
    resultOrigin = new URL(signed.query_parameters.redirect_url).origin;
    popup.location.replace(signed.url);
  } catch (error) {
    popup.close();
    refuse(error);
  }
}

addEventListener('message', ({ source, origin, data }) => {
  // A message of a window that has closed since has no source.
  if ((source && source !== popup) || origin !== resultOrigin || typeof data !== 'string') return;
  tell(resultOf(data)); // The server has recorded it already: the page only shows it.
});

button.addEventListener('click', connect);
button.disabled = false; // A click before this line would be lost.
follow(partner);
