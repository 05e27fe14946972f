// The text in blocks, which are filled near the visible part only, and emptied behind it.

function makeBlocks() {
  let start = 0, rows = [0];
  const close = end => {
    const block = { start, end, rows, node: el('div', { className: 'block' }), cells: null };
    block.node.block = block;
    blocks.push(block);
    [start, rows] = [end, [0]];
  };
  for (let i = 0; i < length; i++) {
    const size = i + 1 - start;
    rows[rows.length - 1]++;
    if (isEnd(i) ? size >= BLOCK : size >= 4 * BLOCK) close(i + 1);
    else if (isEnd(i)) rows.push(0);
  }
  if (start < length) close(length);
  $('text').append(...blocks.map(block => block.node));
}

function blockOf(i) {
  let low = 0, high = blocks.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (blocks[middle].start <= i) low = middle;
    else high = middle - 1;
  }
  return blocks[low];
}

function fill(block) {
  if (block.cells) return;
  let word = el('span', { className: 'w' });
  const words = [word];
  block.cells = [];
  for (let i = block.start; i < block.end; i++) {
    const symbol = page.symbols[text[i]], cell = document.createElement('span');
    cell.textContent = symbol === ' ' ? ' ' : page.glyphs[text[i]];
    cell.index = i;
    block.cells.push(cell);
    word.append(cell);
    const parts = symbol === ' ' || symbol === '\t' || word.childElementCount >= 24;
    if (symbol === '\n') words.push(document.createElement('br'));
    if (parts || symbol === '\n') words.push((word = el('span', { className: 'w' })));
  }
  filled.add(block);
  if (guessing) addGuesses(block);
  paint(block);
  block.node.replaceChildren(...words);
  block.node.style.height = '';
}

function empty(block) {
  if (!block.cells) return;
  block.node.style.height = `${block.node.offsetHeight}px`;
  block.node.replaceChildren();
  block.cells = null;
  filled.delete(block);
}

function paint(block) {
  for (const cell of block.cells) {
    const colour = painting ? painting.classes[painting.codes[cell.index]] : '';
    cell.className = `s ${colour}`;
    cell.classList.toggle('end', isEnd(cell.index));
    cell.classList.toggle('at', cell.index === cursor);
  }
}

function addGuesses(block) {
  const { codes, probs } = guessing;
  for (const cell of block.cells) {
    for (let k = 0; k < page.guesses.count; k++) {
      const place = k * length + cell.index, guess = codes[place];
      const row = document.createElement('i');
      row.textContent = page.glyphs[guess];
      row.className = chanceOf(probs[place] / 255);
      if (guess === text[cell.index + 1]) row.classList.add('comes');
      cell.append(row);
    }
  }
}

// Heights of what is not filled are estimates: rows times the height of a row.
function estimate() {
  const probe = el('span', { className: 's', textContent: 'm' });
  for (let k = 0; guessing && k < page.guesses.count; k++) {
    probe.append(el('i', { textContent: 'm' }));
  }
  const twice = el('div', {}, probe, el('br'), probe.cloneNode(true));
  $('text').append(twice);
  const per = Math.max(1, Math.floor(twice.offsetWidth / probe.getBoundingClientRect().width));
  const height = twice.offsetHeight / 2;
  twice.remove();
  for (const block of blocks) {
    if (block.cells) continue;
    const rows = block.rows.reduce((sum, size) => sum + Math.max(1, Math.ceil(size / per)), 0);
    block.node.style.height = `${rows * height}px`;
  }
}

const watch = new IntersectionObserver(
  entries => {
    for (const { target, isIntersecting } of entries) (isIntersecting ? fill : empty)(target.block);
  },
  { root: $('text'), rootMargin: '600px 0px' });

// It reports changes only, so it begins anew after blocks were emptied in its place.
function watchAgain() {
  watch.disconnect();
  blocks.forEach(block => watch.observe(block.node));
}

// What the text shows: a unit's state or gate, and guesses.

async function show() {
  const { name, concepts, values, gates } = track(), view = $('view').value;
  const packed = gates[view] ?? values, codes = await unpack(packed);
  if (track().name !== name || $('view').value !== view) return; // another was picked meanwhile
  const shown = Array.from({ length: packed.levels }, (_, code) => valueOf(packed, code));
  const classes = shown.map(value => colourOf(packed, value));
  painting = { codes, classes, packed };
  filled.forEach(paint);
  const what = gates[view] ? `gate ${view} of ${name}` : name;
  $('shown').textContent = what + (concepts.length ? `: ${concepts.join(', ')}` : '');
  drawScale($('scale'), packed.low, packed.high, value => colourOf(packed, value));
  for (const row of $('findings').rows) {
    row.classList.toggle('current', row.unit === name);
    row.querySelector('button')?.setAttribute('aria-pressed', row.unit === name);
  }
  if (document.activeElement === $('text')) return tell(cellAt(cursor), true);
  hide();
}

function drawScale(node, low, high, classOf) {
  const steps = Array.from({ length: 25 }, (_, i) => low + ((high - low) * i) / 24);
  const patches = steps.map(value => el('i', { className: classOf(value) }));
  const bar = el('span', { className: 'bar' }, ...patches);
  node.replaceChildren(shorter(low), bar, shorter(high));
}

function pick(place) {
  const view = $('view').value;
  $('unit').selectedIndex = (place + page.tracks.length) % page.tracks.length;
  const names = Object.keys(track().gates);
  const gates = names.map(name => new Option(`gate ${name}`, name));
  $('view').replaceChildren(new Option('its state', ''), ...gates);
  $('view').value = names.includes(view) ? view : '';
  return show();
}

async function toggleGuesses() {
  const wanted = $('guesses').checked;
  const [codes, probs] = await unpackGuesses();
  if ($('guesses').checked !== wanted) return;
  const first = firstVisible();
  guessing = wanted ? { codes, probs } : null;
  $('text').classList.toggle('guessing', wanted);
  $('chances').hidden = !wanted;
  [...filled].forEach(empty);
  estimate();
  bring(first, 'start');
  watchAgain();
  hide();
}

function firstVisible() {
  const edge = $('text').getBoundingClientRect().top;
  for (const block of blocks) {
    if (!block.cells || block.node.getBoundingClientRect().bottom < edge) continue;
    const cell = block.cells.find(one => one.getBoundingClientRect().bottom > edge);
    if (cell) return cell.index;
  }
  return 0;
}
