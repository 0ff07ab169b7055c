"use strict";
// Numbers as people read them. Every text that leaves here goes through textContent.
const NO_VALUE = "–";

function digits(value, places) {
  return value.toLocaleString("en-US", { minimumFractionDigits: places, maximumFractionDigits: places });
}

function usd(value) {
  if (value == null) return NO_VALUE;
  const size = Math.abs(value);
  if (size < 5e-7) return "$0";
  if (size >= 1000) return "$" + digits(value, 0);
  if (size >= 0.0995) return "$" + digits(value, 2);
  if (size >= 0.00995) return "$" + digits(value, 3);
  return "$" + Number(value.toPrecision(2)).toFixed(size >= 0.0001 ? 4 : 6);
}

function count(value) {
  if (value == null) return NO_VALUE;
  for (const [size, letter] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (Math.abs(value) >= size) return digits(value / size, Math.abs(value) >= 100 * size ? 0 : 1) + "\u00a0" + letter;
  }
  return digits(value, 0);
}

function percent(value) {
  return value == null ? NO_VALUE : digits(100 * value, value > 0.99 && value < 1 ? 1 : 0) + "\u00a0%";
}

function seconds(value) {
  if (value == null) return NO_VALUE;
  if (value === 0) return "0\u00a0s";
  if (value < 1) return digits(1000 * value, 0) + "\u00a0ms";
  if (value < 120) return digits(value, value < 10 ? 1 : 0) + "\u00a0s";
  return digits(value / 60, 1) + "\u00a0min";
}

function clockTime(epochSeconds) {
  return new Date(1000 * epochSeconds).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
}

function minuteTime(epochSeconds) {
  return new Date(1000 * epochSeconds).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });
}

// Elements: make("p", { class: "quiet" }, "text", child, ...)
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
  element.append(...children.filter((child) => child != null));
  return element;
}

const byId = (id) => document.getElementById(id);
