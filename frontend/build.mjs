// Bundles src into the page's static folder, and the widget into the embed's; or all into the folder
// that is the argument.
// The same sources and the same lock give the same bytes on every machine.
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync, mkdirSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { build, transform } from "esbuild";
import { bundleGradio } from "./gradio.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const out = resolve(process.argv[2] ?? join(here, "../cmw_agent/web/page/static/built"));
const widgetOut = process.argv[2] ? out : join(here, "../cmw_agent/channels/embed/static");
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

// A style sheet that a script brings with it, as text.
const asText = {
  name: "as-text",
  setup({ onLoad }) {
    onLoad({ filter: /\.css$/ }, async ({ path }) => {
      const { code } = await transform(readFileSync(path, "utf8"), { loader: "css", minify: true, target: common.target });
      return { contents: code.trim(), loader: "text" };
    });
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

// Where the virtual environment has its packages.
function sitePackages() {
  const lib = join(here, "../.venv/lib");
  const places = existsSync(lib) ? readdirSync(lib).map((name) => join(lib, name, "site-packages")) : [];
  const found = [...places, join(here, "../.venv/Lib/site-packages")].find((place) => existsSync(join(place, "gradio")));
  if (!found) throw new Error("Gradio is not installed in .venv");
  return found;
}

function gradioNotice(packages) {
  const about = readdirSync(packages).find((name) => /^gradio-[\d.]+\.dist-info$/.test(name));
  const text = readFileSync(join(packages, about, "licenses/LICENSE"), "utf8").replace(/\r\n?/g, "\n").trim();
  return `gradio ${/[\d.]+(?=\.dist)/.exec(about)[0]} (Apache-2.0; of its frontend, with the changes of frontend/gradio.mjs)\n\n${text}\n`;
}

// The licence of each package of which something was bundled.
function notices(gradio) {
  const packages = new Set();
  for (const input of inputs) {
    const found = /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(input);
    if (found) packages.add(found[1]);
  }
  const parts = [...packages].sort().map((folder) => {
    const about = JSON.parse(read(folder, "package.json"));
    return `${about.name} ${about.version} (${about.license ?? "see below"})\n\n${licence(folder)}\n`;
  });
  parts.push(gradio);
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
const define = { BUILT_VERSIONS: JSON.stringify(versions) };
files.set("pane.js", await bundle("index.ts", {
  format: "iife",
  globalName: "cmwPane",
  define: { ...define, BUILT_URL: "document.currentScript.src" },
}));
files.set("pane.css", await bundle("style.css", { plugins: [stronger] }));
files.set("text.js", await bundle("text.ts", {
  format: "esm",
  banner: { js: "const BUILT_URL=import.meta.url;" },
  define,
  plugins: [asText],
}));
const widget = await bundle("widget/index.ts", {
  format: "iife",
  define: { TEXT_VERSION: JSON.stringify(digest(files.get("text.js"))) },
  plugins: [asText],
});
const packages = sitePackages();
const gradio = await bundleGradio(join(packages, "gradio/templates/frontend"), common);
files.set(`gradio-${gradio.version}.js`, gradio.script);
files.set(`gradio-${gradio.version}.css`, gradio.style);
files.set("NOTICES.txt", notices(gradioNotice(packages)));

rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
for (const [name, content] of files) writeFileSync(join(out, name), content);
writeFileSync(join(widgetOut, "widget.js"), widget);
