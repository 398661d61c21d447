// 360dialog's Connect Button, the React component, with a signed link. At the end the server sends the popup back to this
// page; the button there hands the address's query to the page that opened it, which loads again with it.
import { useEffect, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { ConnectButton } from '360dialog-connect-button';
import { ask, follow, refuse, resultOf, session, tell } from '/_demo/shared.js';

const page = location.origin + location.pathname;
const { signed_partner: partner } = await session(); // your partner id, such as aAbBcCPA
const customer = { email: 'ada@acme.example', name: 'Acme' }; // fills in 360dialog's form

const NO_LINK = {};

/** Each link can be used once, and for 24 hours. */
const askForLink = () => ask(`/${partner}/sign?${new URLSearchParams({ return_to: `${page}?back`, ...customer })}`);

/**
 * Shows the result; the server has recorded it already. The button calls this in both windows, maybe twice, and never after
 * a cancelled visit or one that only takes permission back: so the page calls it as well, and a second call does nothing.
 */
function showResult() {
  if (window.opener || !location.search) return;
  tell(resultOf(location.search));
  history.replaceState(null, '', page);
}

function Connect() {
  const [signed, setSigned] = useState(null);
  const renew = () => askForLink().then(setSigned, refuse);
  useEffect(() => {
    if (window.opener) return undefined;
    if (!signed) renew();
    const renewal = setTimeout(renew, signed ? Date.parse(signed.expires_at) - Date.now() - 10 * 60 * 1000 : 5000);
    return () => clearTimeout(renewal);
  }, [signed]);
  // In the popup the button needs no link: it posts the query to the opener and closes the window.
  const link = window.opener ? NO_LINK : signed?.query_parameters;
  if (!link) return <p>Waiting for a link…</p>;
  // Every click renews the link. The click is heard here, since `onClick` would replace the button's own; and
  // `queryParameters` is the same object at each rendering, or the button would start anew.
  return (
    <div onClick={renew}>
      <ConnectButton className="connect" partnerId={partner} env="local" queryParameters={link} callback={showResult} />
    </div>
  );
}

createRoot(document.querySelector('#connect')).render(<Connect />);
showResult();
follow(partner);
