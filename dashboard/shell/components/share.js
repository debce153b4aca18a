// Copies a link that opens this view again; where the browser forbids it, shows the link to be copied by hand.
export default function ({ parentElement, data }) {
  const button = parentElement.querySelector("button");
  const field = parentElement.querySelector("input");
  const said = parentElement.querySelector("[role=status]");
  const here = ["localhost", "127.0.0.1", "[::1]"].includes(window.location.hostname);
  const alone = here ? ", for this computer only" : "";
  const link = () => `${window.location.origin}${window.location.pathname}?${button.dataset.query}`;
  button.dataset.query = data.query;
  if (button.dataset.ready) return;
  button.dataset.ready = "yes";
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(link());
      said.textContent = `Link copied${alone}`;
      setTimeout(() => (said.textContent = ""), here ? 8000 : 2500);
    } catch {
      field.hidden = false;
      field.value = link();
      field.focus();
      field.select();
      said.textContent = `Copy with Ctrl+C${alone}`;
    }
  });
}
