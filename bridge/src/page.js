import { createHash } from 'node:crypto';

const STYLE = 'body{font:1.1rem/1.5 system-ui,sans-serif;margin:2rem auto;max-width:24rem;padding:0 1rem;text-align:center}'
  + 'img{width:100%;image-rendering:pixelated;background:#fff;padding:1rem;box-sizing:border-box}';
const REFRESH_SECONDS = 5;
const IMAGE = /^data:image\/png;base64,[A-Za-z0-9+/=]+$/;
/** @type {Record<import('./connection.js').State, string>} */
const SENTENCES = {
  starting: 'WhatsApp Web is being opened.',
  'scan the code': 'Open WhatsApp on your phone, choose “Linked devices”, then “Link a device”, and scan this code.',
  connecting: 'The phone is being connected.',
  connected: 'Connected. Write to this number from another phone.',
  disconnected: 'WhatsApp cannot be reached; it is tried again.',
  stopped: 'The bridge has stopped.',
};

export const PAGE_HEADERS = {
  'content-type': 'text/html; charset=utf-8',
  'content-security-policy': `default-src 'none'; img-src data:; style-src 'sha256-${createHash('sha256').update(STYLE).digest('base64')}'; frame-ancestors 'none'`,
};

/**
 * @param {import('./connection.js').State} state
 * @param {{ image: string } | null} code
 * @returns {string} A page with the code to scan; it loads itself again.
 */
export function page(state, code) {
  const image = code && IMAGE.test(code.image) ? `<img alt="Code to scan" src="${code.image}">` : '';
  return `<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><meta http-equiv="refresh" content="${REFRESH_SECONDS}">
<title>WhatsApp: ${state}</title><style>${STYLE}</style></head>
<body><h1>WhatsApp</h1><p role="status">${SENTENCES[state]}</p>${image}</body></html>`;
}
