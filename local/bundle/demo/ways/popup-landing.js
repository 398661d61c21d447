// Your own popup with a signed link that comes back to a page of yours, /_demo/landing, where no button is.
import { ask, follow, refuse, resultOf, session, tell } from '/_demo/shared.js';

const { signed_partner: partner } = await session(); // your partner id, such as aAbBcCPA
const customer = { email: 'ada@acme.example', name: 'Acme' }; // fills in 360dialog's form
const landing = `${location.origin}/_demo/landing`;
const button = document.querySelector('#connect');
let popup = null;

async function connect() {
  // Before the first await: browsers block a popup that the click itself does not open.
  popup = window.open('', 'onboarding', 'popup,width=600,height=920');
  if (!popup) return refuse(new Error('Your browser blocked the popup. Allow popups for this page.'));
  try {
    // Each link can be used once, so every click asks for one.
    const signed = await ask(`/${partner}/sign?${new URLSearchParams({ return_to: landing, ...customer })}`);
    popup.location.replace(signed.url);
  } catch (error) {
    popup.close();
    refuse(error);
  }
}

addEventListener('message', ({ source, origin, data }) => {
  // A message of a window that has closed since has no source.
  if (!popup || (source && source !== popup) || origin !== location.origin || typeof data !== 'string') return;
  tell(resultOf(data)); // The server has recorded it already: the page only shows it.
});

button.addEventListener('click', connect);
button.disabled = false; // A click before this line would be lost.
follow(partner);
