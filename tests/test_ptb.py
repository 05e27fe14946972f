"""Tokens of captions against what the real tokenizer, a Java program, makes of them."""

import hashlib
import re
import shutil
import zipfile

import pytest

from rnn_research.metrics.captions.ptb import caption_tokens

# (caption, its tokens as pycocoevalcap 1.2 gives them, separated by spaces)
TRICKY = [
  ("A man's dog can't jump (yet).", "a man 's dog ca n't jump -lrb- yet -rrb-"),
  ("It's the boys' ball; they've lost James's.", "it 's the boys ball they 've lost james 's"),
  ("I'm sure he'd say we're late, she'll come.", "i 'm sure he 'd say we 're late she 'll come"),
  ("He shouldn't've, I'd've.", "he should n't 've i 'd 've"),
  ('We cannot go. Cannot we?', 'we can not go can not we'),
  (
    "I'm gonna run, I wanna, I gotta, lemme, gimme!",
    "i 'm gon na run i wan na i got ta lem me gim me",
  ),
  ("'Tis late and 'twas dark.", "'t is late and 't was dark"),
  ("rock'n'roll, rock 'n' roll and o'clock", "rock 'n' roll rock 'n' roll and o'clock"),
  (
    "y'all, ma'am, c'mon, O'Brien, o'brien, d'artagnan",
    "y' all ma'am c'mon o'brien o'brien d'artagnan",
  ),
  ("'em 'til 'cause '90s 90's '50 cars", "'em 'til 'cause '90s 90 's '50 cars"),
  ("a 's-eye-view of 'slide' and \"quotes\"", "a 's eye-view of slide and quotes"),
  ('"hello" she said "ok."', 'hello she said ok'),
  (
    '\u201ccurly\u201d \u2018single\u2019 it\u2019s don\u2019t o\u2019clock \u201990s',
    "curly single it 's do n't o\u2019clock \u201990s",
  ),
  ("``latex'' `left' \u00abfrench\u00bb \u201egerman\u201c", 'latex left french \u201e german'),
  (
    'a t-shirt, red-and-white, 3-year-old, x-ray, -foo foo-',
    'a t-shirt red-and-white 3-year-old x-ray foo foo',
  ),
  ('pro- and anti-war, semi-circle, a-b-c', 'pro- and anti-war semi-circle a-b-c'),
  ('a -- b --- c ---- d - e ----- f', 'a b c d e ----- f'),
  ('one\u2014two three\u2013four', 'one two three four'),
  ('wait... what\u2026 so . . . then .. end .....', 'wait what so then end'),
  ('what?! no!! yes? hey! end.Start hi!there', 'what ?! no !! yes hey end.start hi!there'),
  (
    '(round) [square] {curly} < > <b>bold</b> <br/>',
    '-lrb- round -rrb- -lsb- square -rsb- -lcb- curly -rcb- < > <b> bold </b> <br/>',
  ),
  (
    'Mr. Smith met Dr. No and Mrs. Jones at St. Louis vs. Mt. Everest.',
    'mr. smith met dr. no and mrs. jones at st. louis vs. mt. everest',
  ),
  (
    'the U.S. flag at 5 p.m. in the U.S. The J.F.K. team',
    'the u.s. flag at 5 p.m. in the u.s. the j.f.k. team',
  ),
  ('e.g. a dog, i.e. a cat, etc. and so on', 'e.g. a dog i.e. a cat etc. and so on'),
  ('plan B. The dog ran to plan C. and A. Dog', 'plan b the dog ran to plan c. and a. dog'),
  ('a dog., a cat; foo-bar., OK: a.b., end.', 'a dog. a cat foo-bar. ok a.b. end'),
  (
    'Inc. Ltd. Jr. Sr. Ave. Blvd. Feb. Tues. Ph.D.',
    'inc. ltd. jr. sr. ave. blvd. feb. tues. ph.d.',
  ),
  ('no. 5, fig. 3, no. we said, Tex. and tex.', 'no. 5 fig. 3 no we said tex. and tex'),
  ('lb. ft. in. min. tel. sq. oz.', 'lb ft. in min tel. sq. oz'),
  (
    '$5 $5.50 5% \u00a35 \u20ac5 \u00a55 5\u00a2 US$5 C$ 1.5m',
    '$ 5 $ 5.50 5 % # 5 $ 5 \u00a5 5 5 cents us$ 5 c$ 1.5 m',
  ),
  ('#1 # 1 #tag @name @ 5', '# 1 # 1 #tag @name @ 5'),
  ('1,000 10.5 3:30 3:30pm 1990s 2nd 4x4 K9', '1,000 10.5 3:30 3:30 pm 1990s 2nd 4x4 k9'),
  ('1/2 cup, 5 1/2 feet, 3-4 men, -5 or +5, 5+3', '1/2 cup 5\xa01/2 feet 3-4 men -5 or +5 5 +3'),
  ('1.2.3 and 1/2/2013 or 12-25-2012, 24/7', '1.2.3 and 1/2/2013 or 12-25-2012 24/7'),
  ('555-1234 (555) 555-1234 555-555-1234', '555-1234 -lrb-555-rrb-\xa0555-1234 555-555-1234'),
  (
    '\u00bd \u00bc \u00be \u2153 x\u00b2 H\u2082O \u00b2 \u00b0',
    '1/2 1/4 3/4 1/3 x \u00b2 h \u2082 o \u00b2 \u00b0',
  ),
  (
    'and/or he/she AT&T R&B black&white a & b H&M',
    'and/or he/she at&t r&b black & white a & b h&m',
  ),
  ('&amp; &lt; &gt; &quot;x&quot; &nbsp;y', '& < > x y'),
  ('C++ and C# and 5\'10" tall', 'c++ and c# and 5 10 tall'),
  (
    'http://example.com/path?x=1 www.example.com example.com me@example.com',
    'http://example.com/path?x=1 www.example.com example.com me@example.com',
  ),
  (
    '* star ** two *bold* a*b _under_ a_b __ a~b a^b a|b a\\b 3=3',
    '* star ** two * bold * a * b _ under _ a_b __ a ~ b a ^ b a | b a \\ b 3 = 3',
  ),
  (
    'a 12.5-inch cake, a 1,000-foot drop, a non-U.S. team, red,white-and-blue',
    'a 12.5-inch cake a 1,000-foot drop a non-u.s. team red,white-and-blue',
  ),
  ('RIF=ding a:b a;b a,b 1,2', 'rif = ding a b a b a b 1,2'),
  (
    'caf\u00e9 na\u00efve \u00fcber jalape\u00f1o \u00f1 \u65e5\u672c\u8a9e \u043f\u0440\u0438\u0432\u0435\u0442',
    'caf\u00e9 na\u00efve \u00fcber jalape\u00f1o \u00f1 \u65e5\u672c\u8a9e \u043f\u0440\u0438\u0432\u0435\u0442',
  ),
  (
    '\U0001f600 a dog \U0001f600\U0001f44d and \u2764\ufe0f \u263a \u2605 \u2022 \u00b7 \u2122 \u00ae \u00a9',
    'a dog and \u2764 \u263a \u2605 \u2022 \u00b7 \u2122 \u00ae \u00a9',
  ),
  (':) ;-) :D =( <3 :P dog', ':-rrb- ;--rrb- :d =-lrb- < 3 :p dog'),
  ('Yahoo! file.txt picture.jpg index.html', 'yahoo file.txt picture.jpg index.html'),
  ("the dog ' s bone ; a man ( left ) .", 'the dog s bone a man -lrb- left -rrb-'),
  ('', ''),
  ('   spaced    out\ttab  ', 'spaced out tab'),
  ('.', ''),
  ("A DOG RUNS , AND THE DOG 'S BALL .", "a dog runs and the dog 's ball"),
]


@pytest.mark.parametrize(('text', 'tokens'), TRICKY)
def test_as_the_real_one(text, tokens):
  assert ' '.join(caption_tokens(text)) == tokens


def test_several_lines_are_one_caption():
  assert caption_tokens('a dog\nruns .\n') == ['a', 'dog', 'runs']


@pytest.fixture(scope='module')
def flickr8k(data_dir):
  """Returns all captions of Flickr8k."""
  with zipfile.ZipFile(data_dir / 'flickr8k' / 'Flickr8k_text.zip') as archive:
    text = archive.read('Flickr8k.token.txt').decode()
  return [line.split('\t')[1] for line in text.splitlines()]


def test_captions_of_flickr8k(flickr8k):
  chosen = [
    caption
    for number, caption in enumerate(flickr8k)
    if number % 20 == 0 or re.search('[^a-zA-Z ,.]', caption)
  ]
  assert (len(flickr8k), len(chosen)) == (40460, 3621)
  written = '\n'.join(' '.join(caption_tokens(caption)) for caption in chosen)
  # Of what pycocoevalcap 1.2 gives.
  assert hashlib.sha256(written.encode()).hexdigest() == (
    'd64f98fc3f07a0a2376341ebd4aa0fecca6827d952fe619cd45357693cfa4691'
  )


@pytest.mark.slow
def test_all_captions_as_the_real_one_here(flickr8k):
  real_ones(flickr8k)


def test_tricky_captions_as_the_real_one_here():
  real_ones([text for text, _ in TRICKY])


def real_ones(captions):
  """Compares with the program where it is installed; captions are kept apart, since it reads on."""
  tokenizer = pytest.importorskip('pycocoevalcap.tokenizer.ptbtokenizer')
  if not shutil.which('java'):
    pytest.skip('no Java')
  rows = {
    number: [{'caption': caption}, {'caption': 'next'}] for number, caption in enumerate(captions)
  }
  real = tokenizer.PTBTokenizer().tokenize(rows)
  ours = {number: ' '.join(caption_tokens(caption)) for number, caption in enumerate(captions)}
  assert {number: tokens for number, (tokens, _) in real.items()} == ours
