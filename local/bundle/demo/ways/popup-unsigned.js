// Your own popup, without a signature. This page is the redirect URL: shown in the popup it hands 360dialog's answer to
// the page that opened it, and that one sends it to the server.
import { claim, follow, refuse, session, tell } from '/_demo/shared.js';

const page = location.origin + location.pathname;
const customer = { email: 'ada@acme.example', name: 'Acme' }; // fills in 360dialog's form
const button = document.querySelector('#connect');
let popup = null;

async function start() {
  // On your site this is https://hub.360dialog.com/dashboard/app/{your partner id}/permissions.
  const { unsigned_partner: partner, unsigned_onboarding_url: onboarding } = await session();
  if (!partner) return refuse(new Error('Every partner here insists on a signature. Delete .local and start again.'));
  button.addEventListener('click', () => {
    const link = `${onboarding}?${new URLSearchParams({ redirect_url: page, ...customer })}`;
    popup = window.open(link, 'onboarding', 'popup,width=600,height=920');
    if (!popup) refuse(new Error('Your browser blocked the popup. Allow popups for this page.'));
  });
  addEventListener('message', async ({ source, origin, data }) => {
    // Only from this popup, so nobody else's link makes a claim. A window that has closed since is no source.
    if (!popup || (source && source !== popup) || origin !== location.origin || typeof data !== 'string') return;
    try {
      tell(await claim(partner, data));
    } catch (error) {
      refuse(error);
    }
  });
  button.disabled = false; // A click before this line would be lost.
  follow(partner);
}

if (window.opener) {
  // The exact origin: a page of anybody else that opened this one gets nothing.
  window.opener.postMessage(location.search, location.origin);
  window.close();
} else {
  start();
}
