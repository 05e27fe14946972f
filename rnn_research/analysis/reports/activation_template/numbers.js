'use strict';
// What stems from data reaches the page by textContent and append alone, so that no text in it can
// become markup. Blocks of text are filled near the visible part only, and emptied behind it.

const $ = id => document.getElementById(id);
const page = JSON.parse($('data').textContent);
$('data').remove(); // megabytes that nothing else reads
const length = page.length, LAST = page.levels - 1;
const BLOCK = 1500; // symbols at least, unless the text ends
let text, cursor = 0, painting = null, guessing = null, told = 0, toldOf = null;
const blocks = [], filled = new Set();

const el = (tag, properties = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
};
const shorter = (value, digits = 2) =>
  value === null ? '–' : value.toFixed(digits).replace('-', '−');
const track = () => page.tracks[$('unit').selectedIndex];
const isEnd = i => page.symbols[text[i]] === '\n';

const unpacked = new Map();
const unpack = packed => {
  if (!unpacked.has(packed)) unpacked.set(packed, inflate(packed));
  return unpacked.get(packed);
};

const unpackGuesses = () =>
  Promise.all([unpack(page.guesses.symbols), unpack(page.guesses.probs)]);

async function inflate({ data, bits }) {
  const characters = atob(data), bytes = new Uint8Array(characters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'));
  const raw = await new Response(stream).arrayBuffer();
  if (bits === 16) return new Uint16Array(raw);
  if (bits === 32) return new Uint32Array(raw);
  const codes = new Uint8Array(raw);
  return bits === 8 ? codes : halves(codes);
}

function halves(bytes) {
  const codes = new Uint8Array(2 * bytes.length);
  for (let i = 0; i < bytes.length; i++) {
    codes[2 * i] = bytes[i] & 15;
    codes[2 * i + 1] = bytes[i] >> 4;
  }
  return codes;
}

const valueOf = ({ low, high, levels }, code) => low + (code * (high - low)) / (levels - 1);
const colourOf = (packed, value) =>
  `c${Math.round((value / Math.max(-packed.low, packed.high) + 1) / 2 * LAST)}`;
const chanceOf = prob => `p${Math.round(prob * LAST)}`;
