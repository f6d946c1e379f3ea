/** The files of a message: pictures are fetched and drawn, a press shows one large. */
import { t } from "../language";
import { icon, make } from "./dom";
import type { AttachedFile } from "./types";

const ID = /^[0-9a-f]{32}$/;
const MOST = 100; // pictures whose bytes are kept while the page is open

const pictures = new Map<string, Promise<string>>(); // file id → object URL

async function loaded(address: string): Promise<string> {
  const answer = await fetch(new URL(address, document.baseURI));
  if (!answer.ok) throw new Error(t("no picture"));
  return URL.createObjectURL(await answer.blob());
}

function picture(address: string): Promise<string> {
  const known = pictures.get(address);
  if (known) return known;
  const made = loaded(address);
  pictures.set(address, made);
  const [oldest] = pictures;
  if (pictures.size > MOST && oldest) {
    pictures.delete(oldest[0]);
    oldest[1].then((url) => URL.revokeObjectURL(url)).catch(() => {});
  }
  return made;
}

function enlarge(image: HTMLImageElement): void {
  const name = image.alt || "Picture";
  const close = make("button", { type: "button" }, t("Close"));
  const save = make("a", { href: image.src, download: name }, t("Save"));
  const dialog = make("dialog", { class: "cmw-picture", "aria-label": name },
    make("img", { src: image.src, alt: image.alt }), make("div", {}, save, close));
  dialog.addEventListener("click", ({ target }) => { if (target !== save) dialog.close(); });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

function drawn(file: AttachedFile): HTMLElement {
  const address = `files/${file.id}`;
  const link = make("a", { href: address, download: file.name, class: "cmw-file" });
  if (!file.picture) {
    link.append(icon("file"), make("bdi", {}, file.name));
    return link;
  }
  const image = make("img", { alt: file.name });
  picture(address).then((url) => { image.src = url; }).catch(() => { image.replaceWith(file.name); });
  link.classList.add("cmw-file-picture");
  link.append(image);
  link.addEventListener("click", (event) => {
    if (!image.src || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    enlarge(image);
  });
  return link;
}

/** A file, and below it what the user must know of it. */
function withNote(file: AttachedFile): HTMLElement {
  const link = drawn(file);
  return file.note ? make("div", { class: "cmw-noted-file" }, link, make("small", {}, file.note)) : link;
}

export function drawFiles(host: HTMLElement, files: readonly AttachedFile[]): void {
  host.replaceChildren(...files.filter(({ id }) => ID.test(id)).map(withNote));
}
