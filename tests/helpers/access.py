"""Can a page be read and used by everyone: contrast of its words, and what the Tab key reaches.

Source of the limits: WCAG 2.2, success criteria 1.4.3 (contrast), 1.4.11 (icons), 2.1.1 and 2.4.7 (keyboard, focus).
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image
from playwright.sync_api import Page

AA, AA_LARGE = 4.5, 3.0
LARGE_PX, LARGE_BOLD_PX, BOLD = 24, 18.66, 700
MOST_STOPS = 500

# To run before the page. Notes what stands behind words on a canvas just before they are drawn there.
WATCH = """
window.__roots = (root = document) => [root, ...[...root.querySelectorAll('*')].flatMap(
    element => element.shadowRoot ? __roots(element.shadowRoot) : [])];
window.__inTheOrderOfThePage = (root, wanted) => [...root.children].flatMap(element => [
    ...(element.matches(wanted) ? [element] : []),
    ...(element.shadowRoot ? __inTheOrderOfThePage(element.shadowRoot, wanted) : []),
    ...__inTheOrderOfThePage(element, wanted)]);
window.__above = element => element.parentElement ?? element.getRootNode().host ?? null;
window.__style = (name, text) => __roots().forEach(root => {
    const style = document.createElement('style');
    [style.className, style.textContent] = [name, text];
    (root === document ? document.head : root).append(style);
});
window.__unstyle = name => __roots().forEach(root => root.querySelectorAll(`style.${name}`).forEach(e => e.remove()));
const one = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
window.__rgba = colour => {
    one.clearRect(0, 0, 1, 1);
    one.fillStyle = colour;
    one.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = one.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
};
window.__drawn = new Map();
const fillText = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (words, x, y, ...rest) {
    const key = [words, this.fillStyle, this.font].join();
    if (String(words).trim() && !__drawn.has(key)) {
        const box = this.measureText(words), here = this.getTransform();
        const corners = [
            [x - box.actualBoundingBoxLeft, y - box.actualBoundingBoxAscent],
            [x + box.actualBoundingBoxRight, y + box.actualBoundingBoxDescent],
        ].map(([x, y]) => here.transformPoint({x, y}));
        const [left, top, right, bottom] = [['min', 'x'], ['min', 'y'], ['max', 'x'], ['max', 'y']].map(
            ([end, side]) => Math.round(Math[end](...corners.map(corner => corner[side]))));
        const pixels = this.getImageData(left, top, Math.max(right - left, 1), Math.max(bottom - top, 1)).data;
        const middle = channel => pixels.filter((_, i) => i % 4 === channel).sort()[pixels.length >> 3];
        const [r, g, b, a] = [0, 1, 2, 3].map(middle), [red, green, blue, alpha] = __rgba(this.fillStyle);
        // Nothing behind it yet: drawn to be measured, or beside the canvas.
        if (a === 255) __drawn.set(key, {
            text: String(words), colour: [red, green, blue, alpha * this.globalAlpha], behind: [r, g, b],
        });
    }
    return fillText.call(this, words, x, y, ...rest);
};
"""
# Every visible word outside canvases: its colour, boxes and font. Then words become transparent, so that a picture
# of the page shows what is behind them.
TAKE_WORDS_AWAY = """() => {
    const opacity = element => element ? Number(getComputedStyle(element).opacity) * opacity(__above(element)) : 1;
    const found = [];
    for (const root of __roots()) {
        const walker = document.createTreeWalker(root === document ? document.body : root, NodeFilter.SHOW_TEXT);
        while (walker.nextNode()) {
            const text = walker.currentNode.textContent.trim(), element = walker.currentNode.parentElement;
            if (!text || !element || element.closest('style, script, option, .unseen, annotation')
                || element.closest(':disabled, [aria-disabled=true]')
                || !element.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
            const range = document.createRange();
            range.selectNodeContents(walker.currentNode);
            const boxes = [...range.getClientRects()].filter(({width, height}) => width > 2 && height > 2);
            const style = getComputedStyle(element), drawn = element instanceof SVGElement;
            const colour = __rgba(drawn ? style.fill : style.color);
            colour[3] *= opacity(element) * (drawn ? Number(style.fillOpacity) : 1);
            if (boxes.length && colour[3]) found.push({
                text: text.slice(0, 60), colour, size: parseFloat(style.fontSize), weight: Number(style.fontWeight),
                icon: style.fontFamily.includes('Material Symbols'),
                boxes: boxes.map(({x, y, width, height}) => [x, y, width, height]),
            });
        }
    }
    __style('wordless', `* {color: transparent !important; transition: none !important}
        text, tspan {fill: transparent !important}`);
    return found;
}"""
# Whether the window is as high as the page, so that nothing has to be scrolled.
IS_WHOLE = """() => [...document.querySelectorAll('[data-testid=stMain], [data-testid=stSidebarContent]')].every(
    part => part.scrollHeight <= innerHeight)"""
# Every control in sight in the order of the page; one of several that share a stop (the arrow keys lead to the others)
# names its group. Remembers how it, what it holds and what holds it look without focus.
FIND_CONTROLS = """() => {
    document.activeElement.blur();
    __style('still', '* {transition: none !important; animation: none !important}');
    const words = element => [element.tagName.toLowerCase(), element.ariaLabel || element.labels?.[0]?.innerText ||
        element.innerText || element.title || ''].join(' ').trim().replace(/\\s+/g, ' ').slice(0, 60);
    const look = element => {
        const around = [element, ...[...element.querySelectorAll('*')].slice(0, 5)];
        for (let one = __above(element), steps = 0; one && steps < 4; one = __above(one), steps++) around.push(one);
        return around.map(one => {
            const style = getComputedStyle(one);
            return [style.outline, style.boxShadow, style.borderColor, style.backgroundColor, style.color];
        }).join('|');
    };
    const wanted = 'a[href], button, input, select, textarea, summary, [tabindex], [role=button], [role=slider]';
    const shared = '[role=radiogroup], [role=toolbar], [data-testid=stSelectbox], [data-testid=stMultiSelect]';
    const isThere = one => one.getBoundingClientRect().width > 1 && one.getBoundingClientRect().height > 1
        && one.checkVisibility({visibilityProperty: true}) && !one.disabled && !one.closest('[inert]');
    const controls = __inTheOrderOfThePage(document, wanted).filter(isThere);
    const looks = controls.map(look), groups = [...document.querySelectorAll(shared)];
    window.__focused = () => {
        let focused = document.activeElement;
        while (focused?.shadowRoot?.activeElement) focused = focused.shadowRoot.activeElement;
        const place = controls.indexOf(focused);
        return {words: words(focused), place, isSeen: place < 0 || look(focused) !== looks[place]};
    };
    return controls.map(one => ({words: words(one), group: groups.indexOf(one.closest(shared))}));
}"""


# -- contrast -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Word:
    """A piece of text on a page: its contrast with what is behind it and what it needs; colours 0 to 255."""

    text: str
    contrast: float
    needed: float
    colour: tuple[int, ...]
    behind: tuple[int, ...]

    @property
    def is_readable(self) -> bool:
        return self.contrast >= self.needed


def words_of(page: Page) -> list[Word]:
    """Every visible word of a page that had WATCH before it, but for canvases; its window is as high as its content.

    Raises:
        ValueError: the window is lower.
    """
    if not page.evaluate(IS_WHOLE):
        raise ValueError(f"{page.url} is higher than {page.viewport_size['height']} pixels: make the window higher")
    found = page.evaluate(TAKE_WORDS_AWAY)
    picture = page.screenshot(animations="disabled", caret="hide")
    page.evaluate("__unstyle('wordless')")
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))
    return [_word(entry, _behind(pixels, entry["boxes"])) for entry in found]


def drawn_words(page: Page) -> list[Word]:
    """What was written on canvases since the page was opened."""
    return [_word(entry, np.array(entry["behind"])) for entry in page.evaluate("[...__drawn.values()]")]


def _behind(pixels: np.ndarray, boxes: list[list[float]]) -> np.ndarray:
    """(3,) the usual colour within boxes of x, y, width, height; white where they lie beside the picture."""
    parts = [
        pixels[max(round(y), 0) : round(y + height), max(round(x), 0) : round(x + width)].reshape(-1, 3)
        for x, y, width, height in boxes
    ]
    every = np.concatenate(parts)
    return np.median(every, axis=0) if len(every) else np.full(3, 255.0)


def _word(entry: dict, behind: np.ndarray) -> Word:
    *colour, alpha = entry["colour"]
    seen = np.array(colour) * alpha + behind * (1 - alpha)
    size, weight = entry.get("size", 0), entry.get("weight", 0)
    is_large = size >= LARGE_PX or (size >= LARGE_BOLD_PX and weight >= BOLD)
    needed = AA_LARGE if is_large or entry.get("icon") else AA
    return Word(entry["text"], contrast(seen, behind), needed, _whole(seen), _whole(behind))


def _whole(colour: np.ndarray) -> tuple[int, ...]:
    return tuple(np.round(colour).astype(int).tolist())


def contrast(first: np.ndarray, second: np.ndarray) -> float:
    """Contrast ratio of two sRGB colours, (3,) of 0 to 255: from 1 to 21. Source: WCAG 2.2, definitions."""
    darker, lighter = sorted(_luminance(np.asarray(colour)) for colour in (first, second))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: np.ndarray) -> float:
    parts = colour / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


# -- keyboard -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tour:
    """What Tab meets on its way through a page.

    Attributes:
        controls: words and group of every control in sight, in the order of the page; group -1: it stands alone.
        stops: words, place among the controls (-1: shown by the focus only) and whether the focus can be seen.
    """

    controls: list[dict]
    stops: list[dict]

    def unreached(self) -> list[str]:
        """Controls where Tab does not stop, nor at another of their group."""
        places = {stop["place"] for stop in self.stops}
        groups = {self.controls[place]["group"] for place in places if place >= 0} - {-1}
        return [c["words"] for place, c in enumerate(self.controls) if place not in places and c["group"] not in groups]

    def unseen(self) -> list[str]:
        """Stops that look the same with and without focus."""
        return [stop["words"] for stop in self.stops if not stop["isSeen"]]

    def jumps(self) -> list[str]:
        """Stops before which Tab went backwards, the start of the page aside."""
        places = [stop["place"] for stop in self.stops if stop["place"] >= 0]
        back = [place for place, before in zip(places[1:], places, strict=False) if place < before]
        return [self.controls[place]["words"] for place in back if place != min(places)]


def tab_through(page: Page) -> Tour:
    """Press Tab until it is back at its first stop. Within a table it goes from cell to cell: one stop here."""
    controls, stops = page.evaluate(FIND_CONTROLS), []
    for _ in range(MOST_STOPS):
        page.keyboard.press("Tab")
        stop = page.evaluate("__focused()")
        if stop["words"].startswith("body") or (stops and stop["place"] == stops[-1]["place"] >= 0):
            continue
        if stop["place"] >= 0 and stop["place"] in [one["place"] for one in stops]:
            return Tour(controls, stops)
        stops.append(stop)
    raise AssertionError(f"Tab does not come round; it stays at {stops[-3:]}")
