// The table, the plots, keys and mouse.

function drawFindings() {
  const cell = (value, digits) =>
    el('td', { className: 'number', textContent: shorter(value, digits) });
  for (const found of page.findings) {
    const place = page.tracks.findIndex(one => one.name === found.unit);
    const go = place < 0 ? found.unit : el('button', { type: 'button', textContent: found.unit });
    const score = cell(found.score);
    score.prepend(el('small', { textContent: found.kind }));
    const q = cell(found.q, 3);
    if (found.q !== null && found.q < 0.001) q.textContent = '< 0.001';
    const concept = el('td', { textContent: found.concept });
    const row = el('tr', { unit: found.unit }, concept, el('td', {}, go), score, q,
      cell(found.untrained), cell(found.probe), cell(found.selectivity));
    if (place >= 0) row.addEventListener('click', () => pick(place));
    $('findings').append(row);
  }
  $('found').hidden = !page.findings.length;
}

const SVG = 'http://www.w3.org/2000/svg';
const svg = (tag, attributes, words = '') => {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(words);
  return node;
};

function drawPlot({ layer, gate, left, right }) {
  const mean = values => values.reduce((sum, value) => sum + value, 0) / values.length;
  const label = `layer ${layer}, gate ${gate}`;
  const [shut, open] = [left, right].map(shares => shorter(mean(shares)));
  const words = `${label}: ${left.length} units, shut ${shut} and open ${open} of the time`;
  const points = left.map((x, n) => `M${100 * x} ${100 - 100 * right[n]}h0`).join('');
  const plot = svg('svg', { viewBox: '-20 -6 130 126', role: 'img', 'aria-label': words });
  plot.append(
    svg('path', { class: 'frame', d: 'M0 0V100H100L0 0' }),
    svg('path', { class: 'points', d: points }),
    svg('text', { x: -3, y: 3, 'text-anchor': 'end' }, '1'),
    svg('text', { x: -3, y: 103, 'text-anchor': 'end' }, '0'),
    svg('text', { x: 100, y: 110, 'text-anchor': 'middle' }, '1'),
    svg('text', { x: 50, y: 112, 'text-anchor': 'middle' }, 'shut'),
    svg('text', { x: -8, y: 50, 'text-anchor': 'middle', transform: 'rotate(-90 -8 50)' }, 'open'));
  return el('figure', {}, el('figcaption', { textContent: label }), plot);
}

const KEYS = {
  ArrowLeft: () => moveTo(cursor - 1), ArrowRight: () => moveTo(cursor + 1),
  ArrowUp: () => moveTo(beside(-1)), ArrowDown: () => moveTo(beside(1)),
  Home: () => moveTo(lineEdge(-1)), End: () => moveTo(lineEdge(1)),
  n: () => pick($('unit').selectedIndex + 1), p: () => pick($('unit').selectedIndex - 1),
  g: () => page.guesses && $('guesses').click(),
};

function listen() {
  $('unit').addEventListener('change', () => pick($('unit').selectedIndex));
  $('previous').addEventListener('click', () => pick($('unit').selectedIndex - 1));
  $('next').addEventListener('click', () => pick($('unit').selectedIndex + 1));
  $('view').addEventListener('change', show);
  $('guesses').addEventListener('change', toggleGuesses);
  $('lowest').addEventListener('click', () => strongest(-1));
  $('highest').addEventListener('click', () => strongest(1));
  $('text').addEventListener('keydown', event => {
    const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  });
  const under = event => event.target.closest?.('.s');
  $('text').addEventListener('pointerover', event => under(event) && tell(under(event)));
  $('text').addEventListener('pointerleave', hide);
  $('text').addEventListener('click', event => under(event) && moveTo(under(event).index));
  $('text').addEventListener('focus', () => $('text').matches(':focus-visible') && moveTo(cursor));
  $('text').addEventListener('blur', hide);
  document.addEventListener('scroll', follow, true);
  document.addEventListener('keydown', event => event.key === 'Escape' && hide());
}

async function start() {
  $('notes').append(...page.notes.map(note => el('li', { textContent: note })));
  $('unit').append(...page.tracks.map(({ name, concepts }) =>
    new Option(name + (concepts.length ? `: ${concepts.join(', ')}` : ''))));
  $('guessing').hidden = !page.guesses;
  $('chances').hidden = true;
  drawScale($('chance-scale'), 0, 1, chanceOf);
  drawFindings();
  $('plots').append(...page.saturation.map(drawPlot));
  $('gates').hidden = !page.saturation.length;
  if (!window.DecompressionStream) {
    $('text').textContent = 'The text cannot be unpacked: this needs a browser of 2023 or later.';
    return;
  }
  text = await unpack(page.text);
  makeBlocks();
  listen();
  await pick(0);
  estimate();
  watchAgain();
  let width = $('text').clientWidth;
  new ResizeObserver(() => {
    if ($('text').clientWidth !== width) estimate();
    width = $('text').clientWidth;
  }).observe($('text'));
}

start();
