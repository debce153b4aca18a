// How numbers are written: three significant digits, without exponents.

const MINUS = "\u2212";
export const NONE = "\u2013";

export function three(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  if (value === 0) return "0";
  // Rounding may add a digit: 9.996 is 10.0.
  const rounded = Number(value.toPrecision(3));
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(rounded))));
  const [units, decimals] = Math.abs(rounded).toFixed(Math.min(digits, 20)).split(".");
  const text = units.replace(/\B(?=(\d{3})+$)/g, ",") + (decimals ? `.${decimals}` : "");
  return rounded < 0 ? MINUS + text : text;
}

// What a scale's numbers are multiplied by and what its unit says, so that they have few digits: 2.58 of "10⁻⁴ margin".
export function powerOfTen(top) {
  const size = Math.abs(top);
  if (!(size > 0) || (size >= 0.01 && size < 10000)) return { factor: 1, prefix: "" };
  const power = Math.floor(Math.log10(size));
  const digits = String(power).replace(/./g, (one) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(one)]);
  return { factor: 10 ** -power, prefix: `10${digits} ` };
}

export function percent(share) {
  return share === null || share === undefined ? NONE : `${three(100 * share)}\u00A0%`;
}

export function whole(value) {
  const text = String(Math.abs(Math.round(value * 10) / 10));
  return value < 0 && text !== "0" ? MINUS + text : text;
}

export function position(mm) {
  return `(${mm.map(whole).join(", ")}) mm`;
}

export function ordinal(number) {
  const n = Math.round(number);
  const tens = n % 100;
  const ending = tens >= 11 && tens <= 13 ? "th" : ["th", "st", "nd", "rd"][n % 10] ?? "th";
  return `${n}${ending}`;
}
