/**
 * @typedef {import('./types.js').Message} Message
 * @typedef {import('./types.js').Wid} Wid
 */

// Notices and events that look like messages. What the app cannot read it says by itself.
const SILENT = new Set([
  ...['reaction', 'system', 'protocol', 'e2e_notification', 'notification_template', 'gp2', 'call_log'],
  ...['ciphertext', 'revoked', 'notification', 'broadcast_notification', 'group_notification'],
  ...['newsletter_notification', 'pinned_message', 'poll_update', 'keep_in_chat', 'debug', 'oversized'],
]);
const FILES = new Set(['image', 'ptt', 'audio', 'document']);
const PERSON_OR_GROUP = /^[A-Za-z0-9._:+-]{1,80}@(c\.us|g\.us|lid)$/;
const ID = /^[\x21-\x7e]{1,300}$/;

/**
 * @typedef {object} File
 * @property {string} [base64] Its bytes, where they are to be passed on.
 * @property {string} [type] Its MIME type.
 * @property {number | undefined} [size] In bytes; missing where it did not come.
 */

/**
 * @param {unknown} value
 * @returns {string} An id as a text; an empty one where there is none.
 */
export function idOf(value) {
  if (typeof value === 'string') return value;
  const { _serialized, $1 } = /** @type {Wid} */ (value ?? {});
  return typeof _serialized === 'string' ? _serialized : typeof $1 === 'string' ? $1 : '';
}

/** @param {string} chat */
export function isChat(chat) {
  return PERSON_OR_GROUP.test(chat);
}

/**
 * @param {Message} message
 * @returns {number} When it was sent, in seconds since 1970; now where it does not say.
 */
export function timeOf(message) {
  const time = message.timestamp ?? message.t;
  return typeof time === 'number' && time > 0 ? time : Date.now() / 1000;
}

/**
 * @param {Message} message
 * @returns {boolean} Whether it is one that a person has written, alone or in a group.
 */
export function isOfPerson(message) {
  const id = idOf(message.id);
  const isOwn = message.fromMe === true || id.startsWith('true_');
  const isNotice = message.isNotification === true || message.isStatusV3 === true || message.broadcast === true;
  return !isOwn && !isNotice && !SILENT.has(message.type) && ID.test(id) && isChat(idOf(message.from));
}

/** @param {Message} message */
export function hasFile(message) {
  return FILES.has(message.type);
}

/**
 * Returns what the app is sent of a message: nothing that it does not read.
 *
 * @param {Message} message
 * @param {object} more
 * @param {string} more.chat Where the answer goes.
 * @param {string} more.sender Who has written it.
 * @param {string[]} more.own The bridge's own ids, by which groups name it.
 * @param {File} [more.file] Its file.
 * @returns {Buffer}
 */
export function bodyOf(message, { chat, sender, own, file = {} }) {
  const isFile = hasFile(message);
  const fields = {
    id: idOf(message.id),
    from: chat,
    to: idOf(message.to) || undefined,
    me: own,
    sender: { id: sender },
    type: message.type,
    // a file's body is a small picture of it
    body: isFile ? undefined : message.body,
    caption: message.caption,
    timestamp: Math.floor(timeOf(message)),
    isGroupMsg: chat.endsWith('@g.us'),
    mentionedJidList: message.mentionedJidList?.map(idOf),
    quotedStanzaID: message.quotedStanzaID,
    quotedParticipant: idOf(message.quotedParticipant) || undefined,
    listResponse: message.listResponse && { title: message.listResponse.title },
    selectedDisplayText: message.selectedDisplayText,
    ...(message.type === 'location' ? { lat: message.lat, lng: message.lng, loc: message.loc } : {}),
    vcardList: message.vcardList?.map(({ vcard }) => ({ vcard })),
    ...(isFile ? fileFields(message, file) : {}),
  };
  return Buffer.from(JSON.stringify(fields));
}

/**
 * @param {Message} message
 * @param {File} file
 */
function fileFields(message, file) {
  return {
    hasMedia: true,
    mediaSize: file.size,
    mediaBase64: file.base64,
    mediaMimetype: message.mimetype || file.type,
    mediaFilename: message.filename,
  };
}
