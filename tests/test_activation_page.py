"""Pages of coloured text: what travels in the file, and what a browser makes of it."""

import base64
import csv
import html
import html.parser
import json
import re
import shutil
import time
import zlib

import numpy as np
import pytest
from scipy.signal import lfilter

from rnn_research import errors
from rnn_research.analysis.reports import activation_colours, plots
from rnn_research.analysis.reports.activation_figure import activation_figure, saturation_figure
from rnn_research.analysis.reports.activation_html import show_activations
from rnn_research.analysis.reports.activation_page import (
  ActivationPage,
  Finding,
  Guesses,
  Saturation,
  UnitTrack,
  write_page,
)

NASTY = (
  '</script><script>alert(1)</script> <!-- &lt;b&gt; &amp; {{data}} {{js}} ]]> '
  '\u2028\u2029\x00\x1b\x7f\t\r\n\ud83d \ude00\ud83d\ude00 \U0001f600 \u202eabc\u200b $x^2$ \\ "\'\n'
)


def smooth(rng, count, length):
  """Returns [count, length] numbers in (-1, 1) that change from symbol to symbol as states do."""
  steps = rng.standard_normal((count, length), np.float32)
  return np.tanh(lfilter([0.6], [1, -0.8], steps)).astype(np.float32)


def make_page(text, units=3, title='Units of a small network'):
  rng, length = np.random.default_rng(1), len(text)
  states = smooth(rng, 5 * units, length).reshape(units, 5, length)
  tracks = tuple(
    UnitTrack(
      f'c{u} of layer 1',
      unit[0],
      {'i': (unit[1] + 1) / 2, 'f': (unit[2] + 1) / 2, 'o': (unit[3] + 1) / 2, 'g': unit[4]},
      ('inside quotes',) if u == 0 else (),
    )
    for u, unit in enumerate(states)
  )
  names = tuple(dict.fromkeys(text))
  probs = -np.sort(-rng.dirichlet(np.full(6, 0.5), length), 1)
  symbols = (np.arange(length)[:, None] + np.arange(6)) % len(names)
  return ActivationPage(
    title,
    text,
    tracks,
    Guesses(symbols.astype(np.int32), probs.astype(np.float32), names),
    (
      Finding('inside <quotes>', tracks[0].name, 'AUC', 0.97, 1e-4, 0.6, 0.99, 0.4),
      Finding('depth', tracks[-1].name, 'correlation', 0.8, 0.02, 0.3, 0.9, float('nan')),
      Finding('a unit that is not shown', 'c99', 'AUC', 0.7, 0.03, 0.6, 0.8, 0.1),
    ),
    (Saturation(1, 'f', rng.uniform(0, 0.5, 8), rng.uniform(0, 0.5, 8)),),
    ('A note </script><script>alert(3)</script> <!-- <script> with <b>signs</b>.',),
  )


class Scripts(html.parser.HTMLParser):
  """Collects the elements of a page and the text of its scripts, as a browser would split it."""

  def __init__(self, text):
    super().__init__()
    self.scripts, self.tags = [], []
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))
    if tag == 'script':
      self.scripts.append('')

  def handle_data(self, data):
    if self.tags and self.tags[-1][0] == 'script':
      self.scripts[-1] += data


def data_of(path):
  return json.loads(Scripts(path.read_text('utf-8')).scripts[0])


def decoded(packed):
  """Returns numbers, or integers, as the format says they are kept."""
  raw = zlib.decompress(base64.b64decode(packed['data']))
  if packed['bits'] == 4:
    codes = [half for byte in raw for half in (byte % 16, byte // 16)]
  else:
    width = packed['bits'] // 8
    codes = [int.from_bytes(raw[i : i + width], 'little') for i in range(0, len(raw), width)]
  if 'low' not in packed:
    return codes
  step = (packed['high'] - packed['low']) / (packed['levels'] - 1)
  return np.array([packed['low'] + code * step for code in codes])


def text_of(data):
  return [data['symbols'][i] for i in decoded(data['text'])]


@pytest.fixture
def nasty(tmp_path):
  page = make_page(NASTY * 3, title='</title><script>alert(2)</script>\ud83d & so on')
  write_page(tmp_path / 'page.html', page)
  return page, tmp_path / 'page.html'


def test_no_text_becomes_markup(nasty):
  page, path = nasty
  parsed = Scripts(path.read_text('utf-8'))
  assert [tag for tag, _ in parsed.tags].count('script') == 2
  assert not any(name.startswith('on') for _, attrs in parsed.tags for name in attrs)
  assert text_of(json.loads(parsed.scripts[0])) == list(page.text)
  assert 'innerHTML' not in parsed.scripts[1] and 'document.write' not in parsed.scripts[1]


def test_a_page_asks_for_nothing_from_outside(nasty):
  parsed = Scripts(nasty[1].read_text('utf-8'))
  sources = [
    attrs[name] for _, attrs in parsed.tags for name in ('src', 'href', 'srcset') if name in attrs
  ]
  assert sources == ['data:,']
  policies = [attrs['content'] for _, attrs in parsed.tags if 'http-equiv' in attrs]
  assert len(policies) == 1 and policies[0].startswith("default-src 'none';")


def test_numbers_come_back(tmp_path):
  page = make_page('He said "no".\n' * 7 + 'x')  # an odd number of symbols
  loud = page.tracks[2]._replace(
    values=page.tracks[2].values * 3, gates={'g': page.tracks[2].gates['g'] * 4}
  )
  silent = page.tracks[1]._replace(values=np.zeros(len(page.text), np.float32))
  page = page._replace(tracks=(page.tracks[0], silent, loud))
  write_page(tmp_path / 'page.html', page)
  data = data_of(tmp_path / 'page.html')
  for track, kept in zip(page.tracks, data['tracks'], strict=True):
    half = np.abs(track.values).max() / 254 + 1e-6
    np.testing.assert_allclose(decoded(kept['values']), track.values, rtol=0, atol=half)
    for name, gate in track.gates.items():
      half = max(1.0, np.abs(gate).max()) * (1 / 14 if name == 'g' else 1 / 30) + 1e-6
      back = decoded(kept['gates'][name])[: len(gate)]
      np.testing.assert_allclose(back, gate, rtol=0, atol=half)
  assert not decoded(data['tracks'][1]['values']).any()
  guessed = np.reshape(decoded(data['guesses']['symbols']), (5, -1)).T
  names = np.array(page.guesses.names)[page.guesses.symbols[:, :5]]
  assert [[data['symbols'][i] for i in row] for row in guessed] == names.tolist()
  probs = decoded(data['guesses']['probs']).reshape(5, -1).T
  np.testing.assert_allclose(probs, page.guesses.probs[:, :5], rtol=0, atol=0.5 / 255 + 1e-6)


def test_many_symbols_come_back(tmp_path):
  text = [chr(0x4E00 + i) for i in range(300)]
  write_page(tmp_path / 'page.html', make_page(text))
  assert text_of(data_of(tmp_path / 'page.html')) == text


def test_what_is_no_number_has_none(tmp_path):
  write_page(tmp_path / 'page.html', make_page('abc')._replace(guesses=None, saturation=()))
  data = data_of(tmp_path / 'page.html')
  assert data['guesses'] is None and data['findings'][1]['selectivity'] is None


def test_pages_are_the_same_every_time(tmp_path):
  for name in 'ab':
    write_page(tmp_path / name, make_page('One and the same.\n' * 9))
  assert (tmp_path / 'a').read_bytes() == (tmp_path / 'b').read_bytes()


@pytest.fixture(scope='module')
def large(tmp_path_factory):
  """Returns a page of 200,000 characters and 24 units."""
  words = np.random.default_rng(2).choice(['the', 'old', 'count', '"said"', 'a', 'field\n'], 60_000)
  path = tmp_path_factory.mktemp('large') / 'page.html'
  write_page(path, make_page(' '.join(words)[:200_000], 24))
  return path


def test_a_large_page_is_not_too_large(large):
  assert len(text_of(data_of(large))) == 200_000
  assert large.stat().st_size < 20e6


@pytest.mark.parametrize(
  'change, words',
  [
    ({'text': ''}, '0 symbols'),
    ({'tracks': ()}, '0 units'),
    ({'tracks': (UnitTrack('c7', np.zeros(2), {}, ()),)}, r'states of c7 are \[2\]'),
    ({'tracks': (UnitTrack('c7', np.zeros(3), {'f': np.full(3, np.nan)}, ()),)}, 'f of c7'),
    ({'guesses': Guesses(np.zeros((2, 1), int), np.ones((2, 1)), ('a',))}, 'guesses after 2'),
  ],
)
def test_what_does_not_fit_is_refused(tmp_path, change, words):
  with pytest.raises(errors.InputError, match=words):
    write_page(tmp_path / 'page.html', make_page('abc')._replace(**change))
  assert not list(tmp_path.iterdir())


def contrast(one, other):
  """Returns the contrast of WCAG 2.2 of two colours."""

  def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    parts = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

  high, low = sorted((luminance(one), luminance(other)), reverse=True)
  return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize('scheme', [activation_colours.LIGHT, activation_colours.DARK])
def test_text_can_be_read_on_every_colour(scheme):
  for share in np.linspace(-1.2, 1.2, 49):
    for colour in (
      activation_colours.of_activation(share, scheme),
      activation_colours.of_probability(min(abs(share), 1), scheme),
    ):
      ink = activation_colours.ink(colour)
      assert contrast(ink, colour) == max(contrast('#000000', colour), contrast('#ffffff', colour))
      assert contrast(ink, colour) >= 4.5
  assert activation_colours.of_activation(0.0, scheme) == scheme.paper
  assert activation_colours.of_activation(-2.0, scheme) == scheme.lowest
  assert activation_colours.of_activation(1.0, scheme) == scheme.highest


def test_symbols_that_cannot_be_seen_have_signs():
  shown = [activation_colours.glyph(c) for c in 'aé\n\t \x00\x1f\x7f\u202e\ud83d\u2028\xa0']
  assert shown == ['a', 'é', '↵', '→', '␣', '␀', '␟', '␡', '□', '□', '□', '□']
  assert activation_colours.glyph('<unk>') == '<unk>'
  names = [activation_colours.name(c) for c in ('a', '\n', ' ', '\u202e', '\x00')]
  assert names == ['a', 'line end', 'space', 'U+202E', 'U+0000']


def test_a_figure_shows_a_stretch(tmp_path):
  text, track = NASTY * 3, make_page(NASTY * 3).tracks[0]
  figure = activation_figure(text, track, 5, 100, 20)
  plots.save(figure, tmp_path / 'stretch.png')
  rows = list(csv.DictReader((tmp_path / 'stretch.csv').read_text('utf-8').splitlines()))
  assert [int(row['position']) for row in rows] == list(range(5, 105))
  np.testing.assert_allclose(
    [float(row[track.name]) for row in rows], track.values[5:105], rtol=1e-6
  )
  axes = figure.figure.axes[0]
  drawn = {(t.get_position()[0], round(t.get_position()[1], 2)): t.get_text() for t in axes.texts}
  assert drawn[0.5, 0.52] == text[5] and drawn[0.5, 1.52] == text[25]
  bound = np.abs(track.values).max()
  for patch, value in zip(axes.patches, track.values[5:105], strict=True):
    red, _, blue, _ = patch.get_facecolor()
    assert (
      np.sign(np.round(red - blue, 2)) == np.sign(np.round(value / bound, 1)) or abs(value) < 0.05
    )


def test_a_line_end_ends_a_row():
  track = UnitTrack('c1', np.linspace(-1, 1, 7), {}, ('lines',))
  axes = activation_figure('ab\nc\n\nd', track, 0, 99, 3).figure.axes[0]
  assert [patch.get_xy()[0] for patch in axes.patches] == [0, 1, 2, 0, 1, 0, 0]
  assert [int(patch.get_xy()[1]) for patch in axes.patches] == [0, 0, 0, 1, 1, 2, 3]


@pytest.mark.parametrize(
  'start, length, field', [(3, 1, 'start'), (-1, 1, 'start'), (0, 0, 'length')]
)
def test_an_empty_stretch_is_refused(start, length, field):
  track = UnitTrack('c1', np.zeros(3), {}, ())
  with pytest.raises(errors.InputError, match=field):
    activation_figure('abc', track, start, length)


def test_saturation_is_drawn():
  left, right = np.array([0.1, 0.2]), np.array([0.3, 0.4])
  plot = saturation_figure([Saturation(2, 'f', left, right), Saturation(2, 'o', right, left)])
  assert plot.table['cell'] == ['layer 2'] * 4 and plot.table['gate'] == ['f', 'f', 'o', 'o']
  assert plot.table['right-saturated'] == [0.3, 0.4, 0.1, 0.2]


def visible_text(markup):
  return html.unescape(re.sub(r'<[^>]*>', '', markup))


def test_a_notebook_shows_text_as_text():
  values = np.linspace(-0.5, 0.5, len(NASTY))
  shown = show_activations(NASTY, values, '<i>c1</i>')
  markup = shown._repr_html_()
  assert '<script' not in markup and '<i>' not in markup
  signs = ''.join(' ' if c == ' ' else activation_colours.glyph(c) for c in NASTY)
  assert visible_text(markup).endswith(signs)
  assert '0.50' in visible_text(markup) and '0.50' in repr(shown)
  assert f'title="&lt;: {values[0]:.2f}"' in markup


def test_a_notebook_shows_guesses_and_only_the_first_symbols():
  page = make_page('To be, or not.\n' * 400)
  markup = show_activations(page.text, page.tracks[0].values, 'c1', page.guesses)._repr_html_()
  assert 'The first 5,000 of 6,000 symbols.' in markup
  first = page.guesses.names[page.guesses.symbols[0, 0]]
  assert f'title="{first} {page.guesses.probs[0, 0]:.0%}"' in markup
  assert markup.count('%"') == 5 * 5000


# In a browser


@pytest.fixture(scope='module')
def browser():
  webdriver = pytest.importorskip('selenium.webdriver', reason='no selenium: pages are not opened')
  binary, driver = shutil.which('chromium'), shutil.which('chromedriver')
  if not binary or not driver:
    pytest.skip('no chromium and chromedriver on the path: pages are not opened in a browser')
  options = webdriver.ChromeOptions()
  options.binary_location = binary
  for flag in (
    '--headless=new',
    '--no-sandbox',
    '--disable-dev-shm-usage',
    '--window-size=1300,900',
  ):
    options.add_argument(flag)
  options.set_capability('goog:loggingPrefs', {'browser': 'ALL', 'performance': 'ALL'})
  opened = webdriver.Chrome(options, webdriver.ChromeService(driver))
  yield opened
  opened.quit()


def wait(browser, script):
  """Returns what a script returns as soon as that is true."""
  end = time.monotonic() + 20
  while not (found := browser.execute_script(f'return {script}')):
    assert time.monotonic() < end, script
    time.sleep(0.01)
  return found


def colours(browser):
  return browser.execute_script('return [...document.querySelectorAll(".s")].map(s => s.className)')


def open_page(browser, path):
  """Opens a page and returns the seconds until its text is coloured."""
  browser.get_log('browser'), browser.get_log('performance')
  start = time.monotonic()
  browser.get(path.as_uri())
  wait(browser, 'document.querySelector(\'.s[class*=" c"]\') !== null')
  return time.monotonic() - start


def quiet(browser):
  """Checks that there were no errors, and that nothing but the page was asked for."""
  assert browser.get_log('browser') == []
  events = [json.loads(entry['message'])['message'] for entry in browser.get_log('performance')]
  asked = [
    e['params']['request']['url'] for e in events if e['method'] == 'Network.requestWillBeSent'
  ]
  assert len(asked) >= 1 and all(url.startswith(('file:', 'data:', 'blob:')) for url in asked), (
    asked
  )


@pytest.mark.slow
def test_a_browser_shows_text_as_text(browser, nasty):
  page, path = nasty
  open_page(browser, path)
  shown = browser.execute_script(
    'return [...document.querySelectorAll(".s")].map(s => s.textContent)'
  )
  assert shown == [' ' if c == ' ' else activation_colours.glyph(c) for c in page.text]
  assert browser.title.startswith('</title><script>alert(2)')
  assert browser.execute_script('return document.scripts.length') == 1  # the data are read and gone
  assert (
    browser.execute_script('return document.querySelector("#notes").textContent') == page.notes[0]
  )
  quiet(browser)


@pytest.mark.slow
def test_a_page_is_used_by_mouse_and_keys(browser, tmp_path):
  from selenium.webdriver import ActionChains
  from selenium.webdriver.common.keys import Keys

  page = make_page('He said "no" to <that>.\n' * 200)
  write_page(tmp_path / 'page.html', page)
  open_page(browser, tmp_path / 'page.html')
  find = lambda selector: browser.find_element('css selector', selector)
  first = colours(browser)
  assert len(first) < len(page.text)  # the rest is filled in later

  # Each cell has the colour of its number.
  bound = np.abs(page.tracks[0].values).max()
  level = [int(re.search(r' c(\d+)', name)[1]) for name in first]
  exact = (page.tracks[0].values[: len(level)] / bound + 1) / 2 * (activation_colours.LEVELS - 1)
  assert np.abs(level - exact).max() <= 0.5 + 0.5 * (activation_colours.LEVELS - 1) / 254 + 1e-3

  find('#next').click()
  wait(browser, "document.getElementById('shown').textContent.startsWith('c1 ')")
  assert colours(browser) != first

  text = find('#text')
  browser.execute_script('arguments[0].focus({preventScroll: true})', text)
  text.send_keys('p')
  wait(browser, "document.getElementById('shown').textContent.startsWith('c0 ')")
  for key in (Keys.HOME, Keys.ARROW_DOWN, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT):
    text.send_keys(key)
  cursor = 24 + 2
  wait(browser, f"document.querySelector('.at').index === {cursor}")
  wait(browser, f"document.getElementById('tip').textContent.includes('symbol {cursor + 1} of')")
  tip = find('#tip').text
  told = float(re.search(r'c0 of layer 1 (\S+)', tip)[1].replace('\u2212', '-'))
  assert abs(told - page.tracks[0].values[cursor]) < 0.01
  for gate in page.tracks[0].gates:
    assert f'gate {gate}' in tip
  assert f'{100 * page.guesses.probs[cursor, 0]:.0f} %' in tip
  text.send_keys(Keys.ESCAPE)
  wait(browser, "document.getElementById('tip').hidden")
  ActionChains(browser).move_to_element(browser.find_elements('css selector', '.s')[4]).perform()
  wait(browser, "document.getElementById('tip').textContent.includes('symbol 5 of')")

  text.send_keys('g')
  wait(browser, "document.querySelectorAll('.s i').length")
  cell = browser.execute_script("return document.querySelector('.s').innerText.split('\\n')")
  best = [page.guesses.names[k] for k in page.guesses.symbols[0, :5]]
  assert cell == ['H', *map(activation_colours.glyph, best)]
  find('#guesses').click()
  wait(browser, "!document.querySelector('.s i')")

  find('#findings tr:nth-child(2)').click()
  wait(browser, "document.getElementById('shown').textContent.startsWith('c2 ')")
  assert 'current' in find('#findings tr:nth-child(2)').get_attribute('class')
  browser.execute_script("document.getElementById('view').value = 'f'")
  browser.execute_script("document.getElementById('view').dispatchEvent(new Event('change'))")
  wait(browser, "document.getElementById('shown').textContent.startsWith('gate f of c2')")
  find('#view').send_keys('its')
  wait(browser, "document.getElementById('shown').textContent.startsWith('c2 ')")
  find('#highest').click()
  values = page.tracks[2].values  # several may be the highest as they are kept
  highest = np.flatnonzero(values >= values.max() - np.abs(values).max() / 127).tolist()
  wait(browser, f"{highest}.includes(document.querySelector('.at')?.index)")
  quiet(browser)


@pytest.mark.slow
def test_a_large_page_opens_at_once(browser, large):
  seconds = min(open_page(browser, large) for _ in range(3))
  assert seconds < 2.0
  assert browser.execute_script("return document.querySelectorAll('.s').length") < 20_000
  # The end of the text, and no more of it than can be seen, is there after a jump.
  browser.execute_script("document.getElementById('text').scrollTop = 1e9")
  wait(browser, '[...document.querySelectorAll(".s")].some(s => s.index === 199999)')
  wait(browser, 'document.querySelectorAll(".s").length < 20000')
  quiet(browser)
