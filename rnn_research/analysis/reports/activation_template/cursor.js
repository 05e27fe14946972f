// The cursor, and the box that tells what is under it.

function cellAt(i) {
  const block = blockOf(i);
  fill(block);
  return block.cells[i - block.start];
}

function bring(i, where) {
  const place = blocks.indexOf(blockOf(i));
  blocks.slice(Math.max(0, place - 1), place + 2).forEach(fill);
  const cell = cellAt(i), at = cell.getBoundingClientRect();
  const box = $('text').getBoundingClientRect();
  // Only the text scrolls, not the page under it.
  if (where === 'start') $('text').scrollTop += at.top - box.top - 12;
  else if (where === 'center') $('text').scrollTop += at.top - box.top - box.height / 2;
  else if (at.top < box.top + 8) $('text').scrollTop += at.top - box.top - 8;
  else if (at.bottom > box.bottom - 8) $('text').scrollTop += at.bottom - box.bottom + 8;
  return cell;
}

function moveTo(i, where = 'near') {
  const old = blockOf(cursor);
  old.cells?.[cursor - old.start].classList.remove('at');
  cursor = Math.min(Math.max(i, 0), length - 1);
  const cell = bring(cursor, where);
  cell.classList.add('at');
  return tell(cell, true);
}

// One row up or down of the lines as they are wrapped.
function beside(step) {
  const from = cellAt(cursor).getBoundingClientRect(), middle = (from.left + from.right) / 2;
  let best = cursor, row = null;
  for (let i = cursor + step; i >= 0 && i < length; i += step) {
    const at = cellAt(i).getBoundingClientRect();
    if (Math.abs(at.top - from.top) < 2) continue;
    row ??= at.top;
    if (Math.abs(at.top - row) >= 2) break;
    best = i;
    if (step < 0 ? at.left <= middle : at.right >= middle) break;
  }
  return best;
}

function lineEdge(step) {
  let i = cursor;
  while (step < 0 ? i > 0 && !isEnd(i - 1) : i < length - 1 && !isEnd(i)) i += step;
  return i;
}

async function tell(cell, aloud = false) {
  const ticket = ++told, i = cell.index, { name, values, gates } = track();
  const codes = await unpack(values);
  const gateCodes = await Promise.all(Object.values(gates).map(unpack));
  const guesses = page.guesses && (await unpackGuesses());
  if (ticket !== told) return;
  const symbol = page.glyphs[text[i]], known = page.names[text[i]];
  const head = el('p', {}, el('span', { className: 'glyph', textContent: symbol }));
  const [position, all] = [i + 1, length].map(number => number.toLocaleString('en'));
  head.append(` ${known === symbol ? '' : `${known}, `}symbol ${position} of ${all}`);
  const value = valueOf(values, codes[i]);
  const rows = el('table', {}, meterRow(name, value, values.low, values.high, 'value'));
  Object.entries(gates).forEach(([gate, packed], g) => {
    const open = valueOf(packed, gateCodes[g][i]);
    rows.append(meterRow(`gate ${gate}`, open, packed.low, packed.high));
  });
  const columns = el('div', { className: 'columns' }, rows);
  if (guesses) columns.append(nextTable(i, ...guesses));
  $('tip').replaceChildren(head, columns);
  toldOf = cell;
  place(cell.getBoundingClientRect());
  if (aloud) $('status').textContent = `${known}, ${shorter(value)}`;
}

function meterRow(label, value, low, high, className = '') {
  const share = number => (100 * (number - low)) / (high - low);
  const [left, right] = [share(Math.min(0, value)), share(Math.max(0, value))];
  const bar = el('i');
  Object.assign(bar.style, { left: `${left}%`, width: `${right - left}%` });
  return el('tr', { className }, el('th', { scope: 'row', textContent: label }),
    el('td', { className: 'number', textContent: shorter(value) }),
    el('td', {}, el('span', { className: 'meter' }, bar)));
}

function nextTable(i, codes, probs) {
  const caption = el('caption', { className: 'unseen', textContent: 'expected next' });
  const table = el('table', { className: 'next' }, caption);
  for (let k = 0; k < page.guesses.count; k++) {
    const guess = codes[k * length + i], prob = probs[k * length + i] / 255;
    const percent = `${(100 * prob).toFixed(0)} %`;
    table.append(el('tr', {}, el('th', { scope: 'row', textContent: page.glyphs[guess] }),
      el('td', { className: `number ${chanceOf(prob)}`, textContent: percent }),
      el('td', { className: 'comes', textContent: guess === text[i + 1] ? 'comes' : '' })));
  }
  return table;
}

function place(at) {
  const tip = $('tip');
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const below = at.bottom + 8, above = at.top - height - 8;
  tip.style.left = `${Math.max(8, Math.min(at.left - 16, innerWidth - width - 8))}px`;
  tip.style.top = `${below + height < innerHeight || above < 8 ? below : above}px`;
}

function hide() {
  told++;
  toldOf = null;
  $('tip').hidden = true;
}

// The box goes with its symbol, and hides where that has left the text's frame.
function follow() {
  if (!toldOf) return;
  const at = toldOf.getBoundingClientRect(), box = $('text').getBoundingClientRect();
  if (toldOf.isConnected && at.bottom > box.top && at.top < box.bottom) place(at);
  else hide();
}

// From the cursor on, so that pressing again goes to the next of several places that are as high.
async function strongest(sign) {
  const { codes } = painting;
  let extreme = codes[0], i = cursor;
  for (let n = 0; n < length; n++) if (sign * codes[n] > sign * extreme) extreme = codes[n];
  do i = (i + 1) % length;
  while (codes[i] !== extreme);
  $('text').focus({ preventScroll: true });
  return moveTo(i, 'center');
}
