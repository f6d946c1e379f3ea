// What the bridge uses of packages that are installed where it runs, and not where it is checked.

declare module '@wppconnect-team/wppconnect' {
  const library: {
    create: import('./types.js').Create;
    defaultLogger: { transports: { silent?: boolean }[] };
  };
  export default library;
}

declare module 'puppeteer-core' {
  const puppeteer: object;
  export default puppeteer;
}

declare module 'puppeteer-extra' {
  export function addExtra(puppeteer: object): {
    use(plugin: object): void;
    launch(options: Record<string, unknown>): Promise<import('./types.js').Browser>;
  };
}

declare module 'puppeteer-extra-plugin-stealth' {
  export default function stealth(): object;
}
