/* The page that asks what becomes of a visitor's conversations at sign-in: sends the choice. */
(() => {
  "use strict";
  const main = document.querySelector("main");
  const failure = main.querySelector("[role=alert]");
  const buttons = [...main.querySelectorAll("button")];

  for (const time of main.querySelectorAll("time")) {
    time.textContent = new Date(time.dateTime).toLocaleString(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });
  }

  async function choose(choice) {
    for (const button of buttons) button.disabled = true;
    failure.textContent = "";
    try {
      const answer = await fetch(location.pathname, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ choice, shown: main.dataset.shown }),
      });
      const content = await answer.json().catch(() => ({}));
      if (answer.ok) {
        location.replace(content.next);
        return;
      }
      failure.textContent = content.detail || main.dataset.failed;
      if (answer.status === 409) {
        const again = document.createElement("a");
        again.href = location.pathname;
        again.textContent = main.dataset.again;
        failure.append(" ", again);
        return;
      }
    } catch {
      failure.textContent = main.dataset.unreachable;
    }
    for (const button of buttons) button.disabled = false;
  }

  for (const button of buttons) {
    button.addEventListener("click", () => choose(button.dataset.choice));
    button.disabled = false;
  }
})();
