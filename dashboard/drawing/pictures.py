"""Pictures of pixels with words on them: as an array, PNG, or SVG and PDF in which the words stay text."""

from __future__ import annotations

import base64
import functools
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from PIL import Image, ImageDraw, ImageFont

INK = (205, 211, 214)
QUIET = (140, 148, 152)
FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
ANCHORS = {"l": "start", "m": "middle", "r": "end"}
RISES = {"t": 0.78, "m": 0.36, "s": 0.0}  # from the anchor to the base line, in heights of the text
SHIFTS = {"l": "0", "r": "-100%", "t": "0", "m": "-50%", "s": "-82%"}  # from the anchor to the corner of HTML text
PDF_DPI = 144  # twice the points of a PDF: a picture comes out at the size that it has on the page
ACROSS, UP = {"l": "left", "m": "center", "r": "right"}, {"t": "top", "m": "center", "s": "baseline"}
SMALLEST_PX, LARGEST_PX = 10, 14  # of words on the page
_MINUS = re.compile(r"(?<![\w.])-(?=[\d.])")  # a true minus; the letters of pixels have none
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Text:
    """The words at (x, y) pixels from the top left of a picture.

    `anchor` is as in Pillow: l, m or r across, then t, m or s (top, middle, base line). `upright` words read upwards
    and are centred on their place.
    """

    x: float
    y: float
    words: str
    size: float
    anchor: str = "ls"
    colour: Colour = INK
    upright: bool = False


@dataclass(frozen=True)
class Picture:
    """The pixels of a picture, (height, width, 3) uint8, and the words on them."""

    pixels: np.ndarray
    texts: tuple[Text, ...] = ()

    @property
    def height(self) -> int:
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        return self.pixels.shape[1]

    def moved(self, x: float, y: float) -> tuple[Text, ...]:
        """Return the words for this picture placed at (x, y) of another."""
        return tuple(Text(t.x + x, t.y + y, t.words, t.size, t.anchor, t.colour, t.upright) for t in self.texts)

    def drawn(self) -> np.ndarray:
        """Draw the words into the pixels, (height, width, 3) uint8."""
        image = Image.fromarray(self.pixels)
        draw = ImageDraw.Draw(image)
        for text in self.texts:
            if text.upright:
                _draw_upright(image, text)
            else:
                draw.text((text.x, text.y), text.words, fill=text.colour, font=_font(text.size), anchor=text.anchor)
        return np.asarray(image)

    def png(self) -> bytes:
        """Encode a PNG file with the words in it."""
        return png(self.drawn())

    def svg(self) -> bytes:
        """Return a standalone SVG file: the pixels embedded as PNG, the words as text."""
        data = base64.b64encode(png(self.pixels)).decode()
        size = f'width="{self.width}" height="{self.height}"'
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {self.width} {self.height}">',
            f'<image {size} href="data:image/png;base64,{data}"/>',
            f'<g font-family="{FONTS}">',
            *(_svg_text(text) for text in self.texts),
            "</g></svg>\n",
        ]
        return "\n".join(parts).encode()

    def pdf(self) -> bytes:
        """Return a PDF of one page at 144 pixels an inch: the pixels as an image, the words as text."""
        import matplotlib  # noqa: PLC0415
        from matplotlib.figure import Figure  # noqa: PLC0415

        figure = Figure(figsize=(self.width / PDF_DPI, self.height / PDF_DPI), dpi=PDF_DPI, facecolor="black")
        axes = figure.add_axes((0, 0, 1, 1))
        axes.imshow(self.pixels, extent=(0, self.width, self.height, 0), interpolation="none", aspect="auto")
        axes.set_axis_off()
        for text in self.texts:
            across, up = ("m", "m") if text.upright else tuple(text.anchor)
            axes.text(
                text.x, text.y, _plain(text), fontsize=text.size * 72 / PDF_DPI, color=_hex(text.colour),
                ha=ACROSS[across], va=UP[up], rotation=90 if text.upright else 0, parse_math=False,
            )  # fmt: skip
        stream = io.BytesIO()
        with matplotlib.rc_context({"pdf.fonttype": 42}):  # letters that can be searched and edited
            figure.savefig(stream, format="pdf", dpi=PDF_DPI, facecolor="black", metadata={"CreationDate": None})
        return stream.getvalue()


@dataclass(frozen=True)
class ScreenPicture:
    """A picture for the page: its pixels as JPEG, and its words as text to be laid over them.

    Words stay sharp at any size this way, as pixels do not: the browser shrinks a picture to its column.
    """

    jpeg: bytes
    width: int
    height: int
    texts: tuple[Text, ...]

    @classmethod
    def of(cls, picture: Picture) -> ScreenPicture:
        """Encode the pixels of a picture."""
        return cls(jpeg(picture.pixels), picture.width, picture.height, picture.texts)

    @property
    def bytes(self) -> int:
        """The size of the picture; a text is counted as 100 bytes."""
        return len(self.jpeg) + 100 * len(self.texts)

    def overlay(self, description: str) -> str:
        """Return HTML of the words, to be put right before the image, which it covers without taking any room.

        Args:
            description: what the picture shows, for those who do not see it.
        """
        said = escape(description, quote=True)
        return "".join((
            '<div style="position:relative;height:0;z-index:1;pointer-events:none;container-type:inline-size;',
            f'font-family:{FONTS.replace(chr(39), "")}">',
            f'<div class="picture-words" role="img" aria-label="{said}" ',
            f'style="position:absolute;top:0;left:0;width:100%;aspect-ratio:{self.width}/{self.height}">',
            *(self._placed(text) for text in self.texts),
            "</div></div>",
        ))  # fmt: skip

    def _placed(self, text: Text) -> str:
        """Return HTML of one text: its place and size as shares of the picture's, but never too small to be read."""
        across, up = tuple("mm" if text.upright else text.anchor)
        turned = ";writing-mode:vertical-rl" if text.upright else ""
        return (
            f'<span aria-hidden="true" style="position:absolute;left:{100 * text.x / self.width:.3f}%;'
            f"top:{100 * text.y / self.height:.3f}%;line-height:1;white-space:nowrap;color:{_hex(text.colour)};"
            "background:#0009;border-radius:2px;"  # letters may stand on a bright brain
            f"font-size:clamp({SMALLEST_PX}px,{100 * text.size / self.width:.3f}cqw,{LARGEST_PX}px);"
            f"transform:translate({SHIFTS[across]},{SHIFTS[up]}){' rotate(180deg)' if text.upright else ''}{turned}"
            f'">{_written(text)}</span>'
        )


def png(pixels: np.ndarray) -> bytes:
    """Encode pixels as a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def jpeg(pixels: np.ndarray) -> bytes:
    """Encode pixels as a JPEG file for the screen: hardly told from PNG, made in a tenth of its time."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=96, subsampling=0)
    return stream.getvalue()


def beside(pictures: Sequence[Picture]) -> Picture:
    """Put pictures from left to right; the lower ones end in black."""
    return _joined(pictures, across=True)


def below(pictures: Sequence[Picture]) -> Picture:
    """Put pictures from top to bottom; the narrower ones end in black."""
    return _joined(pictures, across=False)


def titled(picture: Picture, title: str, size: float, note: str = "") -> Picture:
    """Put a heading above a picture and a quiet note below; either may be empty."""
    bars = [_line(title, size, picture.width, INK)] if title else []
    bars.append(picture)
    bars += [_line(note, 0.7 * size, picture.width, QUIET)] if note else []
    return below(bars)


def text_width(words: str, size: float) -> float:
    """Return the pixels that words take as drawn."""
    return _font(size).getlength(words)


def _line(words: str, size: float, width: int, colour: Colour) -> Picture:
    height = round(1.8 * size)
    text = Text(0.5 * size, height / 2, words, size, "lm", colour)
    return Picture(np.zeros((height, max(width, round(text_width(words, size) + size)), 3), np.uint8), (text,))


def _joined(pictures: Sequence[Picture], *, across: bool) -> Picture:
    along, other = (1, 0) if across else (0, 1)
    longest = max(p.pixels.shape[other] for p in pictures)
    padded: list[np.ndarray] = []
    texts: list[Text] = []
    place = 0
    for picture in pictures:
        missing = longest - picture.pixels.shape[other]
        edges = ((0, missing), (0, 0), (0, 0)) if across else ((0, 0), (0, missing), (0, 0))
        padded.append(np.pad(picture.pixels, edges))
        texts.extend(picture.moved(place, 0) if across else picture.moved(0, place))
        place += picture.pixels.shape[along]
    return Picture(np.concatenate(padded, axis=along), tuple(texts))


def _draw_upright(image: Image.Image, text: Text) -> None:
    width, height = round(text_width(text.words, text.size)) + 2, round(1.4 * text.size)
    strip = Image.new("L", (width, height))
    ImageDraw.Draw(strip).text((width / 2, height / 2), text.words, fill=255, font=_font(text.size), anchor="mm")
    turned = strip.rotate(90, expand=True)
    place = (round(text.x - turned.width / 2), round(text.y - turned.height / 2))
    image.paste(Image.new("RGB", turned.size, text.colour), place, turned)


def _svg_text(text: Text) -> str:
    if text.upright:
        place = f'transform="translate({text.x:g} {text.y:g}) rotate(-90)" x="0" y="{0.36 * text.size:.4g}"'
        anchor = "middle"
    else:
        place = f'x="{text.x:g}" y="{text.y + RISES[text.anchor[1]] * text.size:.6g}"'
        anchor = ANCHORS[text.anchor[0]]
    look = f'font-size="{text.size:g}" text-anchor="{anchor}" fill="{_hex(text.colour)}"'
    return f"<text {place} {look}>{_written(text)}</text>"


def _hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _written(text: Text) -> str:
    return escape(_plain(text))


def _plain(text: Text) -> str:
    """Return words with a true minus and a raised 3, which the letters of pixels lack."""
    return _MINUS.sub("−", text.words).replace("cm3", "cm³")


@functools.lru_cache(maxsize=32)
def _font(size: float) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)
