// Copies a link that opens this view again; where the browser forbids it, shows the link to be copied by hand.
const SECONDS = { short: 8, local: 25, failed: 60 };

async function copy(text) {
  // The browser allows copying only right after the click, so it is told of the text before the server has answered.
  if (window.ClipboardItem && navigator.clipboard?.write) {
    const blob = text.then((words) => new Blob([words], { type: "text/plain" }));
    try {
      return await navigator.clipboard.write([new ClipboardItem({ "text/plain": blob })]);
    } catch {
      // Some browsers want the text itself.
    }
  }
  await navigator.clipboard.writeText(await text);
}

async function kept({ path, token, page }, query) {
  const headers = { "Content-Type": "application/json" };
  const signal = AbortSignal.timeout(4000);
  const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify({ page, query, token }), signal });
  if (!answer.ok) throw new Error(String(answer.status));
  return `${window.location.origin}${path}/${token}`;
}

function sorted(query) {
  const found = new URLSearchParams(query);
  found.sort();
  return found.toString();
}

export default function ({ parentElement, data }) {
  const [button, more] = parentElement.querySelectorAll("button");
  const field = parentElement.querySelector("input");
  const box = parentElement.querySelector(".said");
  const said = parentElement.querySelector("[role=status]");
  button.brainwhy = data;
  if (button.dataset.ready) return;
  button.dataset.ready = "yes";
  let timer;
  const hide = () => (box.hidden = true);
  const say = (words, seconds, offersLong = false) => {
    clearTimeout(timer);
    [said.textContent, box.hidden, more.hidden] = [words, false, !offersLong];
    timer = setTimeout(hide, 1000 * seconds);
  };
  // The address has what was changed since the page ran, too: looks of maps are changed in the browser.
  const address = () => {
    const now = window.location.search.slice(1);
    return new URLSearchParams(now).has("v") ? now : button.brainwhy.query;
  };
  const long = () => `${window.location.origin}${window.location.pathname}?${address()}`;
  const give = async (text, words, seconds, offersLong) => {
    field.hidden = true;
    try {
      await copy(text);
      say(words(), seconds, offersLong);
    } catch {
      field.value = await text;
      field.hidden = false;
      say(`Copy with Ctrl+C. ${button.brainwhy.local}`, SECONDS.failed, offersLong);
      field.focus();
      field.select();
    }
  };
  button.addEventListener("click", () => {
    const { short, query, local } = button.brainwhy;
    // A short link is signed for the view of the page's last pass alone.
    if (!short || sorted(address()) !== sorted(query)) {
      const words = local ? `Link copied. It opens on this computer only. ${local}` : "Link copied.";
      return give(Promise.resolve(long()), () => words, local ? SECONDS.local : SECONDS.short, false);
    }
    let words = "Short link copied.";
    const text = kept(short, query).catch(() => {
      words = "Long link copied: the server keeps no short one now.";
      return long();
    });
    return give(text, () => words, SECONDS.short, true);
  });
  more.addEventListener("click", () => give(Promise.resolve(long()), () => "Long link copied.", SECONDS.short, false));
  parentElement.addEventListener("keydown", (event) => event.key === "Escape" && hide());
}
