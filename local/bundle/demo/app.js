// The demo page: gets signed links, opens the onboarding in two ways, and shows what the server knows of each number.
//
// A model for your own front end: which routes to call, when to open the popup, which messages to trust.
// Values from outside are inserted as text, never as HTML.

const POLL_MS = 1000;
/** A popup posts its message and closes at once: the page may see it closed before it gets the message. */
const LAST_MESSAGE_MS = 1000;
const CLOSED_CHECK_MS = 250;
/** A link is renewed this long before it expires. */
const RENEW_BEFORE_MS = 10 * 60 * 1000;
const RETRY_MS = 5000;
const KEPT_CHANGES = 200;
const POPUP = 'popup,width=600,height=920,left=120,top=80';
/** The window name the stock button gives its popup. */
const STOCK_POPUP = 'connect-360dialog';
/** Fills in 360dialog's form. */
const CUSTOMER = new URLSearchParams({ email: 'ada@acme.example', name: 'Acme' });
const STAGES = ['created', 'ready', 'running', 'live'];

const KEY_TEXTS = {
  'waiting unclaimed': '360dialog has not confirmed yet that this number was shared with you.',
  'waiting not_running': 'It is made as soon as 360dialog has the number running.',
  'waiting awaiting_permission': 'The owner of the number has not permitted it yet.',
  'waiting bad_credentials': '360dialog refused the server’s credentials. Somebody must check the partner secret.',
  'waiting hub_unavailable': '360dialog does not answer. It is tried again.',
  'waiting switched_off': 'Making keys is switched off on the server.',
  'waiting held_for_review': 'An operator must first confirm that the number is yours.',
  'blocked existing_key': 'The number has another key, which a new one would revoke. An operator decides.',
  'blocked keys_unlisted': '360dialog does not list the number’s keys. An operator decides.',
  'blocked wrong_client': 'The number belongs to another client now.',
  'blocked hub_refused': '360dialog refused to make it.',
  'blocked hub_unavailable': '360dialog gave no clear answer, several times. An operator decides.',
  'none cancelled': 'The number was cancelled.',
  none: 'Not asked for yet.',
  minting: 'It is being made.',
  stored: 'Ready to send messages.',
};
const MOODS = {
  stored: 'good', granted: 'good', confirmed: 'good',
  waiting: 'wait', minting: 'wait', pending: 'wait', held: 'wait',
  blocked: 'bad', revoked: 'bad', cancelled: 'bad',
};
/** The fields that the change log compares, each with its label. */
const WATCHED = [
  ['stage', (channel) => channel.stage],
  ['permission', (channel) => channel.permission],
  ['claim', (channel) => channel.claim],
  ['API key', (channel) => [channel.key.status, channel.key.reason].filter(Boolean).join(': ')],
  ['number', (channel) => channel.phone_number],
  ['display name', (channel) => channel.display_name],
  ['quality', (channel) => channel.quality],
  ['limit', (channel) => channel.messaging_limit],
  ['client', (channel) => channel.client_id],
];

const byId = (id) => document.getElementById(id);
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** An element that contains only text. */
function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// ── Asking the server ──────────────────────────────────────────────────────────────────────────────────────────────

/** The server refused; `message` is for people. */
class Refused extends Error {
  constructor(status, detail, retryAfter) {
    super(detail);
    this.status = status;
    this.retryAfter = retryAfter;
  }

  static async fromAnswer(answer) {
    const problem = await answer.json().catch(() => ({}));
    const detail = problem.detail ?? problem.title ?? `The server answered ${answer.status}.`;
    return new Refused(answer.status, detail, Number(answer.headers.get('retry-after')) || 1);
  }
}

let session = { token: '', tenant: '', partners: [] };

async function openSession() {
  const answer = await fetch('/_demo/session', { cache: 'no-store' });
  if (!answer.ok) throw await Refused.fromAnswer(answer);
  session = await answer.json();
}

/** A GET with the session's token, which is renewed once if it has expired. */
async function ask(path) {
  const get = () => fetch(path, { headers: { authorization: `Bearer ${session.token}` }, cache: 'no-store' });
  let answer = await get();
  if (answer.status === 401) {
    await openSession();
    answer = await get();
  }
  if (!answer.ok) throw await Refused.fromAnswer(answer);
  return answer.json();
}

const partner = () => byId('partner').value;

// ── The result of an onboarding ────────────────────────────────────────────────────────────────────────────────────

/** Parses `?client=…&channels=[…]&revoked=[…]`; null if there is no client, as after a cancellation. */
function resultOf(query) {
  const parameters = new URLSearchParams(query);
  const ids = (name) => (parameters.get(name) ?? '').replace(/[[\]'"\s]/g, '').split(',').filter(Boolean);
  const client = parameters.get('client');
  return client ? { client, channels: ids('channels'), revoked: ids('revoked') } : null;
}

function say(kind, title, text) {
  const notice = element('p', 'notice');
  notice.dataset.kind = kind;
  notice.append(element('strong', '', title), ' ', element('span', '', text));
  byId('outcome').replaceChildren(notice);
}

function sayResult(result) {
  if (!result) {
    say('cancelled', 'Cancelled.', 'Nothing was changed. You can start again whenever you like.');
    return;
  }
  const parts = [`Client ${result.client}.`];
  if (result.channels.length) parts.push(`Shared: ${result.channels.join(', ')}.`);
  if (result.revoked.length) parts.push(`No longer shared: ${result.revoked.join(', ')}.`);
  say('connected', 'Done.', `${parts.join(' ')} The list below follows within seconds.`);
}

function sayError(error) {
  if (!(error instanceof Refused)) {
    say('failed', 'The server cannot be reached.', 'Check that it is running, then try again.');
  } else if (error.status === 429) {
    const seconds = error.retryAfter === 1 ? 'a second' : `${error.retryAfter} seconds`;
    say('busy', 'Many people are connecting right now.', `Please try again in ${seconds}.`);
  } else {
    say('failed', 'That did not work.', error.message);
  }
}

// ── A popup of our own ─────────────────────────────────────────────────────────────────────────────────────────────

/** The onboarding that is open in a popup: its window, and the origin that posts the result. */
let onboarding = null;

async function connect() {
  if (onboarding && !onboarding.popup.closed) {
    onboarding.popup.focus();
    return;
  }
  // Opened before the first await: browsers block a popup that the click itself does not open.
  const popup = window.open('', 'demo-onboarding', POPUP);
  if (!popup) {
    say('blocked', 'Your browser blocked the popup.', 'Allow popups for this page, then press the button again.');
    return;
  }
  const current = { popup, origin: null };
  onboarding = current;
  byId('outcome').replaceChildren();
  try {
    const signed = await ask(`/${partner()}/sign?${CUSTOMER}`);
    current.origin = new URL(signed.query_parameters.redirect_url).origin;
    if (!popup.closed) popup.location.replace(signed.url);
    await closed(popup);
    if (onboarding === current) say('closed', 'The window was closed.', 'Nothing was connected. Press the button to start again.');
  } catch (error) {
    popup.close();
    sayError(error);
    if (error.status === 429) holdConnect(error.retryAfter);
  }
  if (onboarding === current) onboarding = null;
}

async function closed(popup) {
  while (!popup.closed) await pause(CLOSED_CHECK_MS);
  await pause(LAST_MESSAGE_MS);
}

async function holdConnect(seconds) {
  byId('connect').disabled = true;
  await pause(seconds * 1000);
  byId('connect').disabled = false;
}

/** Handles messages. Registered before the stock button's listeners, which reload on any text from this origin. */
function onMessage(event) {
  // A message of a window that has closed since has no source.
  const isOurs = onboarding && (event.source === onboarding.popup || (event.source === null && onboarding.popup.closed));
  if (isOurs) {
    event.stopImmediatePropagation();
    if (event.origin !== onboarding.origin || typeof event.data !== 'string') return;
    onboarding = null;
    sayResult(resultOf(event.data));
  } else if (event.origin === location.origin && event.data === '') {
    // The stock button's popup was cancelled: the button now reloads this page, and shows nothing.
    remember('cancelled', true);
  }
}

// ── The stock button ───────────────────────────────────────────────────────────────────────────────────────────────

const stock = { isInstalled: false, button: null, renewAt: Infinity, round: 0 };

/** Loads the stock button; false if the npm package is not installed. */
function loadStockButton() {
  const script = document.createElement('script');
  script.src = '/_demo/connect-button.js';
  return new Promise((done) => {
    script.addEventListener('load', () => done(true));
    script.addEventListener('error', () => done(false));
    document.head.append(script);
  });
}

/** Gives the button a new link, since each can be used once. A later call replaces an earlier one. */
async function renewStockLink() {
  const round = (stock.round += 1);
  stock.renewAt = Infinity;
  const here = location.origin + location.pathname;
  while (round === stock.round) {
    const chosen = partner();
    try {
      const signed = await ask(`/${chosen}/sign?return_to=${encodeURIComponent(here)}&${CUSTOMER}`);
      if (round !== stock.round) return;
      showStockButton(chosen, signed);
      return;
    } catch (error) {
      byId('stock-note').textContent = linkTrouble(error);
      await pause(error.status === 429 ? error.retryAfter * 1000 : RETRY_MS);
    }
  }
}

function linkTrouble(error) {
  if (!(error instanceof Refused)) return 'No link: the server cannot be reached. Trying again…';
  return error.status === 429 ? 'Waiting for a free link…' : `No link: ${error.message}`;
}

function showStockButton(partnerId, signed) {
  const button = stock.button ?? document.createElement('dialog-connect-button');
  button.setAttribute('partner-id', partnerId);
  button.setAttribute('env', 'local');
  button.setAttribute('label', 'Connect 360dialog');
  // The button does not observe the signature: it reads it when the state, which is set last, changes.
  const { state, ...others } = signed.query_parameters;
  button.updateConfig({ queryParameters: { ...others, state } });
  stock.renewAt = Date.parse(signed.expires_at) - RENEW_BEFORE_MS;
  byId('stock-note').textContent = '';
  if (stock.button) return;
  stock.button = button;
  button.addEventListener('click', renewStockLink);
  // The button reads the page's address when it is inserted.
  byId('stock').append(button);
}

async function startStockButton() {
  if (window.opener) {
    byId('stock-note').textContent = 'Not shown: it would close this page, which another page has opened. Open it by its address.';
  } else if (await loadStockButton()) {
    stock.isInstalled = true;
    await renewStockLink();
  } else {
    const note = byId('stock-note');
    note.append('Not installed. Start with ', element('code', '', 'make run'), ', which installs the demo’s npm packages.');
  }
  cleanAddress();
}

/** Removes the stock button's result from the address, so that a reload does not show it again. */
function cleanAddress() {
  history.replaceState(null, '', location.pathname + location.hash);
}

/** Runs in the stock button's popup: the button here passes the result to the page that opened it, and closes. */
async function finishStockPopup() {
  document.documentElement.dataset.mode = 'popup';
  if (!(await loadStockButton())) return;
  const button = document.createElement('dialog-connect-button');
  button.setAttribute('partner-id', 'any');
  document.body.append(button);
}

const isStockPopup = () =>
  window.opener && (window.name === STOCK_POPUP || resultOf(location.search) !== null);

// ── The numbers ────────────────────────────────────────────────────────────────────────────────────────────────────

async function channelsOf(partnerId) {
  const found = [];
  let next = null;
  do {
    const cursor = next ? `&cursor=${encodeURIComponent(next)}` : '';
    const page = await ask(`/${encodeURIComponent(partnerId)}/channels?limit=100${cursor}`);
    found.push(...page.channels);
    next = page.next;
  } while (next);
  return found;
}

async function follow() {
  for (;;) {
    try {
      const channels = [];
      for (const name of session.partners) channels.push(...(await channelsOf(name)));
      show(channels);
      byId('live').dataset.state = 'live';
      byId('live').textContent = 'Live';
    } catch {
      byId('live').dataset.state = 'lost';
      byId('live').textContent = 'No connection, trying again…';
    }
    if (Date.now() > stock.renewAt) renewStockLink();
    await pause(POLL_MS);
  }
}

const keyOf = (channel) => `${channel.partner_id}/${channel.id}`;
const rows = new Map();

function show(channels) {
  const body = byId('channels').tBodies[0];
  const listed = new Set(channels.map(keyOf));
  for (const [key, row] of rows) {
    if (!listed.has(key)) {
      row.remove();
      rows.delete(key);
    }
  }
  channels.forEach((channel, at) => {
    const row = rows.get(keyOf(channel)) ?? newRow(channel);
    if (body.children[at] !== row) body.insertBefore(row, body.children[at] ?? null);
    fill(row, channel);
  });
  byId('no-channels').hidden = channels.length > 0;
  noteChanges(channels);
}

function newRow(channel) {
  const row = element('tr', 'fresh');
  row.setAttribute('role', 'row');
  row.dataset.channel = channel.id;
  rows.set(keyOf(channel), row);
  return row;
}

/** Rebuilds the row only if it changed, so that people and screen readers can read the table. */
function fill(row, channel) {
  const version = JSON.stringify(channel);
  if (row.version === version) return;
  row.version = version;
  row.dataset.keyStatus = channel.key.status;
  row.replaceChildren(
    cell('Number', 'number', main(phone(channel.phone_number)), small(channel.display_name)),
    cell('Channel', 'channel', id(channel.id), small(`client ${channel.client_id}`),
      session.partners.length > 1 && small(`partner ${channel.partner_id}`)),
    cell('Stage', 'stage', channel.stage ?? '–', steps(channel.stage)),
    cell('Permission', 'permission', badge(channel.permission)),
    cell('Claim', 'claim', badge(channel.claim)),
    cell('API key', 'key', badge(channel.key.status), small(keyText(channel.key))),
    cell('Quality, limit', 'quality', channel.quality ?? '–', small(channel.messaging_limit)),
    cell('Updated', 'updated', clock(channel.updated_at)),
  );
}

function cell(label, className, ...parts) {
  const made = element('td', className);
  made.setAttribute('role', 'cell');
  made.dataset.label = label;
  made.append(...parts.filter(Boolean));
  return made;
}

const main = (text) => element('span', 'main', text ?? '–');
const small = (text) => text && element('small', '', text);
const id = (text) => element('code', 'id', text);
const phone = (digits) => (/^\d+$/.test(digits ?? '') ? `+${digits}` : digits);

function badge(word) {
  const made = element('span', 'badge', word);
  if (Object.hasOwn(MOODS, word)) made.dataset.mood = MOODS[word];
  return made;
}

function steps(stage) {
  const reached = STAGES.indexOf(stage);
  if (reached < 0) return null;
  const made = element('span', 'steps');
  made.setAttribute('aria-hidden', 'true');
  made.append(...STAGES.map((_, at) => element('i', at <= reached ? 'done' : '')));
  return made;
}

function keyText({ status, reason }) {
  const known = [`${status} ${reason}`, status].find((key) => Object.hasOwn(KEY_TEXTS, key));
  return known ? KEY_TEXTS[known] : reason;
}

function clock(at) {
  const made = element('time', '', new Date(at).toLocaleTimeString());
  made.dateTime = at;
  made.title = new Date(at).toLocaleString();
  return made;
}

// ── The change log ─────────────────────────────────────────────────────────────────────────────────────────────────

/** The last state and the changes: kept over reloads (the stock button reloads the page), until the tab is closed. */
let log = { tenant: null, seen: null, changes: [] };

function remember(name, value) {
  try {
    sessionStorage.setItem(`demo.${name}`, JSON.stringify(value));
  } catch {
    // Storage is full or forbidden. The page works without it.
  }
}

function recall(name) {
  try {
    return JSON.parse(sessionStorage.getItem(`demo.${name}`));
  } catch {
    return null;
  }
}

function openLog() {
  const kept = recall('log');
  log = kept?.tenant === session.tenant ? kept : { tenant: session.tenant, seen: null, changes: [] };
  for (const change of log.changes.slice().reverse()) showChange(change);
}

function noteChanges(channels) {
  const now = Object.fromEntries(channels.map((channel) => [keyOf(channel), watched(channel)]));
  // The first state is no change.
  const found = log.seen ? differences(log.seen, now) : [];
  if (log.seen && !found.length) return;
  log.seen = now;
  for (const change of found) showChange(change);
  log.changes = [...found.reverse(), ...log.changes].slice(0, KEPT_CHANGES);
  remember('log', log);
}

const watched = (channel) => Object.fromEntries(WATCHED.map(([name, read]) => [name, read(channel) ?? null]));

/** The changes from `before` to `now`, each `{at, channel, what, old, new}`. */
function differences(before, now) {
  const at = new Date().toISOString();
  const found = [];
  for (const [key, values] of Object.entries(now)) {
    const channel = key.slice(key.indexOf('/') + 1);
    if (!before[key]) {
      const first = ['stage', 'permission', 'API key'].filter((what) => values[what]);
      const initial = first.map((what) => `${what} ${values[what]}`).join(', ');
      found.push({ at, channel, what: 'listed', old: null, new: initial });
      continue;
    }
    for (const [what, value] of Object.entries(values)) {
      const old = before[key][what] ?? null;
      if (old !== value) found.push({ at, channel, what, old, new: value });
    }
  }
  for (const key of Object.keys(before)) {
    if (!now[key]) found.push({ at, channel: key.slice(key.indexOf('/') + 1), what: 'listed', old: 'yes', new: 'no' });
  }
  return found;
}

function showChange(change) {
  const row = element('tr', 'fresh');
  row.setAttribute('role', 'row');
  row.dataset.channel = change.channel;
  const arrow = element('span', 'arrow', '→');
  const values = element('td');
  values.setAttribute('role', 'cell');
  values.append(element('span', 'old', change.old ?? '–'), arrow, element('span', 'new', change.new ?? '–'));
  row.append(cell('', '', clock(change.at)), cell('', '', id(change.channel)), cell('', '', change.what), values);
  const body = byId('changes');
  body.prepend(row);
  while (body.children.length > KEPT_CHANGES) body.lastElementChild.remove();
  byId('no-changes').hidden = true;
}

// ── Start ──────────────────────────────────────────────────────────────────────────────────────────────────────────

function showSession() {
  const chosen = recall('partner');
  byId('partner').replaceChildren(...session.partners.map((name) => new Option(name, name, false, name === chosen)));
  for (const part of document.querySelectorAll('[data-several]')) part.hidden = session.partners.length < 2;
  byId('tenant').textContent = `Signed in as ${session.tenant}`;
  byId('tenant').hidden = false;
}

function showWhatCameBack() {
  const result = resultOf(location.search);
  if (result || recall('cancelled')) sayResult(result);
  remember('cancelled', false);
}

async function start() {
  if (isStockPopup()) {
    await finishStockPopup();
    return;
  }
  window.addEventListener('message', onMessage);
  // The stock button's own event is fired in the popup and in this page: it only updates the page, so twice is harmless.
  window.addEventListener('dialog-connect-callback', ({ detail }) => {
    sayResult({ client: detail.client, channels: detail.channels, revoked: detail.revokedChannels ?? [] });
  });
  showWhatCameBack();
  while (!session.token) {
    try {
      await openSession();
    } catch (error) {
      sayError(error);
      await pause(RETRY_MS);
      byId('outcome').replaceChildren();
    }
  }
  showSession();
  openLog();
  byId('connect').disabled = false;
  byId('connect').addEventListener('click', connect);
  byId('partner').addEventListener('change', () => {
    remember('partner', partner());
    if (stock.isInstalled) renewStockLink();
  });
  startStockButton();
  await follow();
}

start();
