/** What the bridge uses of `@wppconnect-team/wppconnect`: as its own declarations have it, and no more. */

export interface Wid {
  _serialized?: string;
  $1?: string;
}

/** A message as the library's events and `getMessages` give it. */
export interface Message {
  id: string | Wid;
  type: string;
  from: string | Wid;
  to?: string | Wid;
  author?: string | Wid;
  sender?: { id?: string | Wid } | null;
  body?: string;
  caption?: string;
  timestamp?: number;
  t?: number;
  fromMe?: boolean;
  isGroupMsg?: boolean;
  isNotification?: boolean;
  isStatusV3?: boolean;
  broadcast?: boolean;
  mimetype?: string;
  filename?: string;
  size?: number;
  mentionedJidList?: (string | Wid)[];
  quotedStanzaID?: string;
  quotedParticipant?: string | Wid;
  listResponse?: { title?: string };
  selectedDisplayText?: string;
  lat?: number;
  lng?: number;
  loc?: string;
  vcardList?: { vcard?: string }[];
}

export interface Listening {
  dispose(): void;
}

/** A session of WhatsApp Web in a browser. */
export interface Client {
  onMessage(callback: (message: Message) => void): Listening;
  onStateChange(callback: (state: string) => void): Listening;
  waitForLogin(): Promise<boolean>;
  getConnectionState(): Promise<string>;
  getWid(): Promise<string | undefined>;
  getPnLidEntry(id: string): Promise<{ lid?: Wid; phoneNumber?: Wid }>;
  listChats(options: {
    onlyWithUnreadMessage: boolean;
    ignoreGroupMetadata: boolean;
    count: number;
  }): Promise<{ id: string | Wid; unreadCount?: number }[]>;
  getMessages(chat: string, options: { count: number }): Promise<(Message | null | undefined)[]>;
  downloadMedia(message: string): Promise<string>;
  sendText(chat: string, text: string): Promise<{ id: string | Wid }>;
  sendFile(
    chat: string,
    dataUrl: string,
    options: { type: 'auto-detect'; filename: string; caption?: string },
  ): Promise<{ id: string | Wid }>;
  sendSeen(chat: string): Promise<unknown>;
  startTyping(chat: string): Promise<void>;
  stopTyping(chat: string): Promise<void>;
}

export interface CreateOptions {
  session: string;
  catchQR(image: string, ascii: string, attempt: number, code?: string): void;
  statusFind(status: string): void;
  waitForLogin: boolean;
  autoClose: number;
  deviceSyncTimeout: number;
  logQR: boolean;
  disableWelcome: boolean;
  updatesLog: boolean;
  whatsappVersion: string | undefined;
  deviceName: string;
  poweredBy: string;
  browser: Browser;
}

export type Create = (options: CreateOptions) => Promise<Client>;

/** A running Chromium. */
export interface Browser {
  close(): Promise<void>;
  process(): { kill(signal: 'SIGKILL'): boolean } | null;
}

export type Launch = (options: {
  executablePath: string;
  userDataDir: string;
  hasSandbox: boolean;
}) => Promise<Browser>;
