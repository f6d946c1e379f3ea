// Bundles those of Gradio's scripts and styles that the page uses into one file each.
//
// Gradio's page fetches them in 45 requests, and knows of each round of them only once the one before has
// come. Their names hold hashes of their contents, so what is bundled here is of one version alone:
// cmw_agent/web/page/built_files.py serves it where Gradio's page asks for that very version.
import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { build } from "esbuild";

const COMPONENTS = ["button", "column", "form", "html", "state", "textbox"];
const ENTRY = /<script type="module" crossorigin src="\.\/assets\/index-([\w-]+)\.js"><\/script>\s*<link rel="stylesheet" crossorigin href="\.\/assets\/(index-[\w-]+\.css)">/;
const DEPENDENCIES = /const __vite__mapDeps=.*?\(m\.f=(\[.*?\])\)\)\)=>i\.map\(i=>d\[i\]\);/s;
const LOADED = /import\(`\.\/([\w-]+)\.js`\)[^`]*?(?:__vite__mapDeps\(\[([\d,]*)\]\)|,\[\],import)/g;
// After a status has gone from the page, Gradio's script counts its seconds at each frame for ever.
const ENDLESS = /(\w+)&&(\w+)\(\)\}\)\}(?=let \w+=\w+\(\(\)=>\{let e=null)/g;
// Bundled, the parts that load each other would start in one task, in which a phone takes no key. A message
// ends the task, unlike a timer at once, in a tab that is out of sight too.
const PAUSE = "const gradioPause=()=>new Promise((done)=>{const{port1,port2}=new MessageChannel;port1.onmessage=()=>{port1.close();done()};port2.postMessage(0)});";
const IN_ONE_TASK = "Promise.resolve().then(()=>";
// Which of all locales a browser supports takes a phone 0.15 s to find out; the page's own is always known.
const SUPPORTED = /var (\w+)=Intl\.NumberFormat\.supportedLocalesOf\((\w+)\);return \1\.length>0\?new Intl\.Locale\(\1\[0\]\):/s;
const STATUS_ELEMENT = /,e=>(\w+)=e,\(\)=>\1\);var \w+=\w+\(\$,2\)/g;

function only(text, pattern) {
  const found = [...text.matchAll(new RegExp(pattern.source, "gs"))];
  if (found.length !== 1) throw new Error(`Gradio's scripts have changed: ${pattern} fits ${found.length} times`);
  return found[0];
}

// The file of a component.
function componentOf(text, name) {
  const { index } = only(text, new RegExp(`[{,]${name}:\\{(?=(?:base|component|example):)`));
  return /component:\(\)=>\w+\(\(\)=>import\(`\.\/([\w-]+)\.js`\)/.exec(text.slice(index))[1];
}

// What the page loads by and by, in the order in which it does, and the style sheets that belong to it.
function loaded(read, entry) {
  const files = [];
  const styles = [];
  const take = (from, isWanted) => {
    const text = read(`${from}.js`);
    const names = JSON.parse(DEPENDENCIES.exec(text)?.[1] ?? "[]");
    for (const [, file, indexes] of text.matchAll(LOADED)) {
      if (!isWanted(file, text)) continue;
      files.push(file);
      const needed = (indexes ?? "").split(",").filter(Boolean).map((index) => basename(names[index]));
      styles.push(...needed.filter((name) => name.endsWith(".css")));
    }
  };
  take(entry, (file) => /^(?:Index|core)-/.test(file));
  const [index, core] = ["Index-", "core-"].map((start) => files.find((file) => file.startsWith(start)));
  take(index, (file) => file.startsWith("Blocks-"));
  const component = COMPONENTS.map((name) => componentOf(read(`${core}.js`), name));
  take(core, (file) => component.includes(file));
  return { files: new Set(files.map((file) => `${file}.js`)), styles: [...new Set(styles)] };
}

// Whether a script imports no other.
function isAlone(text) {
  return !/\b(?:import|from)\s*["'`(]/.test(text);
}

// Bundles what lies in `folder`, Gradio's `templates/frontend`. The first style sheet stays a file of its own,
// which Gradio's script looks for by its address.
export async function bundleGradio(folder, common) {
  const read = (name) => readFileSync(join(folder, "assets", name), "utf8");
  const [, version, style] = only(readFileSync(join(folder, "index.html"), "utf8"), ENTRY);
  const { files, styles } = loaded(read, `index-${version}`);
  const gradio = {
    name: "gradio",
    setup({ onResolve, onLoad }) {
      onResolve({ filter: /./ }, ({ path, kind }) => {
        const name = basename(path);
        if (kind !== "dynamic-import" || files.has(name)) return null;
        // Texts in another language come from Gradio's own file. Any other would bring the rest of Gradio's
        // scripts along, a second time.
        return path.startsWith("./") && isAlone(read(name)) ? { path: `../assets/${name}`, external: true } : { path, namespace: "absent" };
      });
      onLoad({ filter: /./, namespace: "absent" }, ({ path }) => ({
        contents: `throw new Error(${JSON.stringify(`${path} is no part of the page`)});`,
      }));
      onLoad({ filter: /\.js$/ }, ({ path }) => {
        let contents = readFileSync(path, "utf8").replace(DEPENDENCIES, "const __vite__mapDeps=()=>[];");
        if (basename(path).startsWith("statustracker-")) {
          const [, element] = only(contents, STATUS_ELEMENT);
          const [whole, isCounting, count] = only(contents, ENDLESS);
          contents = contents.replace(whole, whole.replace(`${isCounting}&&${count}`, `${isCounting}&&${element}&&${count}`));
        }
        return { contents, loader: "js" };
      });
    },
  };
  const { outputFiles: [{ text }] } = await build({
    ...common,
    entryPoints: [join(folder, "assets", `index-${version}.js`)],
    format: "esm",
    plugins: [gradio],
    define: { "import.meta.url": "gradioAssets" },
    banner: { js: `const gradioAssets=new URL("../assets/index.js",import.meta.url).href;${PAUSE}` },
  });
  if (!text.includes(IN_ONE_TASK)) throw new Error("esbuild loads a bundled import in another way than before");
  const [supported] = only(text, SUPPORTED);
  const script = text.replaceAll(IN_ONE_TASK, "gradioPause().then(()=>").replace(supported, "return ");
  const css = styles.filter((name) => name !== style).map(read).join("\n").replace(/url\(\.\//g, "url(../assets/");
  return { version, script, style: css };
}
