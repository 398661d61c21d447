// The parts that all ways share: your own log-in, requests to the server, and showing the outcome.
// Texts from outside are inserted as text, never as HTML.

const POLL_MS = 1000;

let opened = null;

/** Stands for your own log-in. On your site this is the session that your customer already has. */
export function session() {
  opened ??= fetch('/_demo/session', { cache: 'no-store' }).then((answer) => answer.json());
  return opened;
}

/** A request with the tenant's token; answers its JSON, or throws the reason of a refusal. */
export async function ask(path, request = {}) {
  const { token } = await session();
  const headers = { ...request.headers, authorization: `Bearer ${token}` };
  const answer = await fetch(path, { ...request, headers, cache: 'no-store' });
  const body = await answer.json();
  if (answer.ok) return body;
  if (answer.status === 401) opened = null; // The token has expired: the next request gets another.
  throw new Error(body.detail ?? `The server answered ${answer.status}.`);
}

/** Sends 360dialog's answer to the server, which asks 360dialog whether it is true; answers `{client, channels, revoked}`. */
export function claim(partner, query) {
  const headers = { 'content-type': 'application/json' };
  return ask(`/${partner}/redirect`, { method: 'POST', headers, body: JSON.stringify({ query }) });
}

/** Parses `?client=…&channels=[…]&revoked=[…]`; without a client the visit was cancelled. */
export function resultOf(query) {
  const parameters = new URLSearchParams(query);
  const ids = (name) => (parameters.get(name) ?? '').replace(/[[\]'"\s]/g, '').split(',').filter(Boolean);
  return { client: parameters.get('client'), channels: ids('channels'), revoked: ids('revoked') };
}

/** Shows the result of a visit. The list of numbers says what has become of it. */
export function tell({ client, channels, revoked }) {
  if (!client) say('cancelled', 'Cancelled.', 'Nothing was changed. You can start again whenever you like.');
  else if (channels.length) say('connected', 'Connected.', `${channels.join(', ')}: the key is made now.`);
  else if (revoked.length) say('revoked', 'Permission taken back.', `${revoked.join(', ')}: no new key can be made.`);
  else say('refused', 'No number was shared.', 'You can start again whenever you like.');
}

/** Shows why something did not work. */
export const refuse = (error) => say('refused', 'That did not work.', error.message);

function say(kind, title, text) {
  const notice = element('p', 'notice', element('strong', '', title), ' ', element('span', '', text));
  notice.dataset.kind = kind;
  document.querySelector('#outcome').replaceChildren(notice);
}

/** Lists the tenant's numbers, and follows each until its key is stored and after. */
export async function follow(partner) {
  for (;;) {
    try {
      const { channels } = await ask(`/${partner}/channels?limit=100`);
      list(channels);
    } catch {
      // The next round tries again.
    }
    await new Promise((done) => setTimeout(done, POLL_MS));
  }
}

function list(channels) {
  const rows = channels.map(({ id, phone_number, permission, key }) => {
    const phone = element('strong', 'main', phone_number ? `+${phone_number}` : '–');
    const row = element('li', 'number', phone, element('code', 'id', id), badge('permission', permission), badge('key', key.status));
    row.dataset.channel = id;
    row.dataset.permission = permission;
    row.dataset.keyStatus = key.status;
    return row;
  });
  const none = element('li', 'empty', 'No numbers yet.');
  document.querySelector('#numbers').replaceChildren(...(rows.length ? rows : [none]));
}

function badge(name, word) {
  const made = element('span', 'badge', `${name}: ${word}`);
  const moods = { stored: 'good', granted: 'good', waiting: 'wait', minting: 'wait', blocked: 'bad', revoked: 'bad' };
  made.dataset.mood = moods[word] ?? '';
  return made;
}

function element(name, className, ...parts) {
  const made = document.createElement(name);
  made.className = className;
  made.append(...parts);
  return made;
}
