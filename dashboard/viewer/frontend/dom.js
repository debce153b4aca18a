// Small helpers to build elements.

export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key in made && key !== "list" && key !== "role") made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

// A canvas that knows its size on the page; `changed` is called when that changes.
export function sizedCanvas(properties, changed) {
  const canvas = element("canvas", properties);
  const size = { width: 0, height: 0 };
  // Asking the page in every frame would make it lay itself out again each time.
  const observer = new ResizeObserver(([{ contentRect }]) => {
    [size.width, size.height] = [contentRect.width, contentRect.height];
    changed();
  });
  observer.observe(canvas);
  return { canvas, context: canvas.getContext("2d"), shown: size, stop: () => observer.disconnect() };
}

// Matches the pixels of a canvas to the screen; returns its size in CSS pixels, null while it is not shown.
export function fit({ canvas, context, shown: { width, height } }, most = 2) {
  const ratio = Math.min(window.devicePixelRatio || 1, most);
  if (width === 0 || height === 0) return null;
  const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== wide || canvas.height !== high) [canvas.width, canvas.height] = [wide, high];
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return { x: 0, y: 0, width, height };
}

// Controls that are folded away under a name; Escape, or a focus that leaves them, folds them again.
export function drawer(name, sheet) {
  const folded = element(
    "details",
    {
      className: "more",
      onkeydown: (event) => {
        if (event.key !== "Escape") return;
        folded.open = false;
        folded.firstChild.focus();
      },
      onfocusout: (event) => {
        if (event.relatedTarget && !folded.contains(event.relatedTarget)) folded.open = false;
      },
    },
    element("summary", {}, name),
    sheet,
  );
  return folded;
}
