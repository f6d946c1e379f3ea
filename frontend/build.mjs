// Bundles src into the page's static folder, or into the folder that is the argument.
// The same sources and the same lock give the same bytes on every machine.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, rmSync, writeFileSync, mkdirSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = resolve(process.argv[2] ?? join(here, "../cmw_agent/web/page/static/built"));
const ON_DEMAND = ["math", "code", "mermaid"];
const common = {
  absWorkingDir: here,
  bundle: true,
  minify: true,
  target: "es2022",
  charset: "utf8",
  legalComments: "none", // NOTICES.txt has the licences whole
  metafile: true,
  write: false,
  logLevel: "warning",
};
const inputs = new Set();

async function bundle(entry, options) {
  const result = await build({ ...common, entryPoints: [join("src", entry)], ...options });
  for (const input of Object.keys(result.metafile.inputs)) inputs.add(input);
  return result.outputFiles[0].contents;
}

function digest(content) {
  return createHash("sha256").update(content).digest("hex").slice(0, 16);
}

// Gradio's page has rules for elements that are as specific as those of text.css, and come later:
// each selector there gets the weight of an id more, which leaves their order among each other.
function weighty(selectors) {
  if (/^\s*(?:from|to|[\d.]+%)/.test(selectors)) return selectors; // of keyframes
  const each = selectors.split(/,(?![^(]*\))/);
  return each.map((one) => one.trimEnd().replace(/(?=::[\w-]+$)|(?<!::[\w-]+)$/, ":not(#cmw-pane)")).join(", ");
}

const stronger = {
  name: "stronger",
  setup({ onLoad }) {
    onLoad({ filter: /text\.css$/ }, ({ path }) => ({
      contents: readFileSync(path, "utf8").replace(/\/\*[^]*?\*\//g, "")
        .replace(/(@?)([^{};@]+)\{/g, (rule, at, selectors) => (at ? rule : `${weighty(selectors)} {`)),
      loader: "css",
    }));
  },
};

function read(folder, name) {
  return readFileSync(join(here, folder, name), "utf8").replace(/\r\n?/g, "\n").trim();
}

// A package's licence: its own files, or what its readme says of it.
function licence(folder) {
  const names = readdirSync(join(here, folder)).sort();
  const files = names.filter((name) => /^(licen[cs]e|copying|notice)/i.test(name));
  if (files.length > 0) return files.map((name) => read(folder, name)).join("\n\n");
  const readme = names.find((name) => /^readme/i.test(name));
  const found = readme && /^#+ *licen[cs]e\b[^]*/im.exec(read(folder, readme));
  if (!found) throw new Error(`${folder} holds no licence`);
  return found[0];
}

// The licence of each package of which something was bundled.
function notices() {
  const packages = new Set();
  for (const input of inputs) {
    const found = /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(input);
    if (found) packages.add(found[1]);
  }
  const parts = [...packages].sort().map((folder) => {
    const about = JSON.parse(read(folder, "package.json"));
    return `${about.name} ${about.version} (${about.license ?? "see below"})\n\n${licence(folder)}\n`;
  });
  return `The scripts in this folder contain these packages.\n\n${parts.join(`\n${"-".repeat(80)}\n\n`)}`;
}

const files = new Map();
const versions = {};
for (const name of ON_DEMAND) {
  // Formulas within diagrams are left out: KaTeX would stand in two files.
  const external = name === "mermaid" ? ["katex"] : [];
  const content = await bundle(`${name}.ts`, { format: "esm", external });
  files.set(`${name}.js`, content);
  versions[name] = digest(content);
}
files.set("pane.js", await bundle("index.ts", {
  format: "iife",
  globalName: "cmwPane",
  define: { BUILT_VERSIONS: JSON.stringify(versions) },
}));
files.set("pane.css", await bundle("style.css", { plugins: [stronger] }));
files.set("text.css", await bundle("text/text.css", {}));
files.set("NOTICES.txt", notices());

rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
for (const [name, content] of files) writeFileSync(join(out, name), content);
