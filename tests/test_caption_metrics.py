"""Scores of captions against pycocoevalcap 1.2: by its values, by itself where installed, by hand."""

import math
import random
import shutil
import sys

import numpy as np
import pytest

from rnn_research.errors import InputError
from rnn_research.metrics.captions import meteor as meteor_module
from rnn_research.metrics.captions.bleu import bleu
from rnn_research.metrics.captions.cider import cider, cider_table, document_frequencies
from rnn_research.metrics.captions.codes import numbered
from rnn_research.metrics.captions.diversity import diversity
from rnn_research.metrics.captions.meteor import meteor, meteor_jar, meteor_missing
from rnn_research.metrics.captions.rouge import rouge_l
from rnn_research.metrics.captions.score import score_captions, stripped, tokenized

WORDS = {
  'who': "a small dog|two dogs|a man|the man's dog|an old woman|three children|a girl (blond)",
  'does': 'runs|is running|jumps|sits down|does not run|plays with a red ball|looks',
  'where': 'on the beach|in the snow|near a tree|across 2 roads|behind the man|at night',
  'end': '.| .|!|, again .|| and waits',
}


def sentences():
  """Returns 40 captions and 3 to 5 references of each, which share some of their words."""
  rng = random.Random(0)

  def one_of(options):
    return options[int(rng.random() * len(options))]

  def caption(known):
    fresh = [one_of(options.split('|')) for options in WORDS.values()]
    return [old if rng.random() < 0.4 else new for old, new in zip(known, fresh, strict=True)]

  hypotheses, references = [], []
  for number in range(40):
    scene = caption([''] * 4)
    hypotheses.append(' '.join(caption(scene)) if number % 13 else 'dog')
    references.append([' '.join(caption(scene)) for _ in range(3 + number % 3)])
  hypotheses[7] = ''
  hypotheses[8] = references[8][1]
  hypotheses[9] = 'the the the the the the the the the the the the the a a a a a'
  return hypotheses, references


HYPOTHESES, REFERENCES = sentences()
# Of pycocoevalcap 1.2.
GOLDEN = {
  'bleu_1': 0.5568141669464536,
  'bleu_2': 0.46946203550958454,
  'bleu_3': 0.3793690522688792,
  'bleu_4': 0.29346630283568603,
  'rouge_l': 0.40902823793719045,
  'cider': 0.7010776550074844,
}
GOLDEN_CIDER = [
  *(0.08317699, 0.93579302, 1.49357298, 1.45556467, 0.48257243, 0.30194879, 0.37548122, 0.0),
  *(2.16863398, 0.01229914, 0.30595432, 0.14959676, 2.41204148, 0.0, 0.61305607, 0.13068747),
  *(0.0, 0.27795511, 2.8541354, 2.12980214, 0.32935516, 0.02062038, 0.14747226, 0.90911684),
  *(0.0, 0.05235375, 0.0, 0.0, 1.06327345, 0.7224515, 0.12652965, 1.21413943, 0.72289513),
  *(0.30408011, 0.95460259, 0.48277172, 3.57431419, 0.76942885, 0.37208292, 0.09534632),
]
GOLDEN_METEOR = 0.21627078044310102
OURS = [tokenized(text) for text in HYPOTHESES]
THEIRS = [[tokenized(text) for text in texts] for texts in REFERENCES]


def by_pycocoevalcap(hypotheses, references):
  """Returns what `score_captions` returns, and CIDEr-D of each caption."""
  from pycocoevalcap.bleu.bleu import Bleu
  from pycocoevalcap.cider.cider import Cider
  from pycocoevalcap.rouge.rouge import Rouge
  from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

  cut = PTBTokenizer().tokenize
  ours = cut({i: [{'caption': text}] for i, text in enumerate(hypotheses)})
  theirs = cut({i: [{'caption': t} for t in texts] for i, texts in enumerate(references)})
  bleus, _ = Bleu(4).compute_score(theirs, ours, verbose=0)
  mean, each = Cider().compute_score(theirs, ours)
  scores = {f'bleu_{n}': score for n, score in enumerate(bleus, 1)}
  return {**scores, 'rouge_l': Rouge().compute_score(theirs, ours)[0], 'cider': mean}, each


def test_as_pycocoevalcap():
  assert score_captions(HYPOTHESES, REFERENCES) == pytest.approx(GOLDEN, rel=1e-12)
  table = cider_table(THEIRS, document_frequencies(THEIRS))
  each = cider(table, OURS, range(len(OURS)))
  np.testing.assert_allclose(each, GOLDEN_CIDER, atol=1e-8)


def test_as_pycocoevalcap_here():
  pytest.importorskip('pycocoevalcap')
  if not shutil.which('java'):
    pytest.skip('no Java')
  # Other captions than those of the test above: the references of every image in turn.
  hypotheses = [texts[-1] for texts in REFERENCES]
  references = [texts[:-1] for texts in REFERENCES]
  scores, each = by_pycocoevalcap(hypotheses, references)
  assert score_captions(hypotheses, references) == pytest.approx(scores, rel=1e-9)
  theirs = [[tokenized(text) for text in texts] for texts in references]
  table = cider_table(theirs, document_frequencies(theirs))
  ours = cider(table, [tokenized(text) for text in hypotheses], range(len(hypotheses)))
  np.testing.assert_allclose(ours, each, atol=1e-9)


def test_bleu_by_hand():
  # 'the' is clipped to the 2 of the second reference: 3 of 4 words match, 1 of 3 pairs; 5 and 3
  # tokens are equally near to 4, and the shorter counts.
  scores = bleu(['the the the cat'], [['the big cat', 'the cat the old one']])
  assert scores.corpus[:2] == pytest.approx([3 / 4, math.sqrt(3 / 4 * 1 / 3)], rel=1e-8)
  np.testing.assert_allclose(scores.captions, scores.corpus[None])
  # Too short by two of four, and another caption that makes up for it in the corpus alone.
  scores = bleu(['a dog', 'a b c d e f'], [['a dog runs far'], ['a b c d']])
  assert scores.captions[:, 0] == pytest.approx([math.exp(1 - 2), 4 / 6], rel=1e-8)
  assert scores.corpus[0] == pytest.approx(6 / 8, rel=1e-8)


def test_rouge_by_hand():
  # 'a dog runs' of 4 words, of references of 6 and 3: precision 3/4 by the first, recall 2/3 by the
  # second.
  precision, recall = 3 / 4, 2 / 3
  by_hand = (1 + 1.44) * precision * recall / (recall + 1.44 * precision)
  references = [['a big dog often runs far', 'a dog sits']]
  assert rouge_l(['a dog quickly runs'], references) == pytest.approx([by_hand], rel=1e-12)
  assert rouge_l(['', 'x'], [['a'], ['']]).tolist() == [0, 0]


def cider_by_loops(hypothesis, references, frequencies):
  """Returns CIDEr-D by its definition; `frequencies` are lists of all references of images."""

  def bag(text, n):
    words = text.split()
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return {g: grams.count(g) * idf(g) for g in grams}

  def idf(gram):
    n = len(gram)
    holds = sum(
      any(gram in zip(*(text.split()[i:] for i in range(n)), strict=False) for text in texts)
      for texts in frequencies
    )
    return math.log(len(frequencies) / max(1, holds))

  def norm(weights):
    return math.sqrt(sum(w * w for w in weights.values()))

  total = 0.0
  for reference in references:
    apart = max(0, len(hypothesis.split()) - 1) - max(0, len(reference.split()) - 1)
    for n in range(1, 5):
      ours, theirs = bag(hypothesis, n), bag(reference, n)
      dot = sum(min(w, theirs[g]) * theirs[g] for g, w in ours.items() if g in theirs)
      if dot:
        total += dot / norm(ours) / norm(theirs) * math.exp(-(apart**2) / 72)
  return 10 * total / 4 / len(references)


def test_cider_with_the_frequencies_of_other_images():
  training = [*THEIRS[20:], ['a word that is nowhere else', 'two dogs']]
  table = cider_table(THEIRS[:10], document_frequencies(training))
  rows = [3, 3, 0, 9, 9, 5]
  hypotheses = [OURS[3], 'a zebra a zebra and a yak', OURS[0], *OURS[8:10], '']
  wanted = [
    cider_by_loops(text, THEIRS[row], training) for text, row in zip(hypotheses, rows, strict=True)
  ]
  assert sum(wanted) > 1
  np.testing.assert_allclose(cider(table, hypotheses, rows), wanted, rtol=1e-10)


def test_the_best_cider_is_that_of_the_reference():
  # Its bags of every length agree with the only reference, and nothing is rare elsewhere.
  table = cider_table([['a b c d e'], ['f g h i j']], document_frequencies([['a b c d e'], ['x']]))
  assert cider(table, ['a b c d e', 'a b c d e'], [0, 1]) == pytest.approx([10, 0])


def test_a_word_that_nobody_knows_lowers_cider():
  table = cider_table([['a b c d e']], document_frequencies([['a b c d e'], ['x']]))
  known, unknown = cider(table, ['a b c d e', 'a b c d e zebra'], [0, 0])
  assert unknown < known


def test_captions_that_say_nothing():
  """An untrained model may write nothing, or no word of any reference."""
  for hypothesis in ('', 'zebra'):
    scores = score_captions([hypothesis], [['a dog', 'the cat']])
    assert scores['cider'] == scores['rouge_l'] == 0.0
    assert max(scores.values()) < 1e-8  # BLEU's least counts


def test_too_many_words_to_number():
  many = ' '.join(map(str, range(2**16)))
  with pytest.raises(ValueError, match='there are 65536 different words, expected 65534 at most'):
    numbered([many], {})


@pytest.mark.parametrize(
  ('hypotheses', 'references', 'text'),
  [
    (['a'], [], 'there are 1 hypotheses, expected one per list of references, 0'),
    ([], [], 'there are no hypotheses'),
    (['a', 'b'], [['a'], []], r'the references of hypothesis 1 are \[\]'),
    (['a'], ['a'], "the references of hypothesis 0 are 'a', expected a list"),
  ],
)
def test_counts(hypotheses, references, text):
  for score in (score_captions, bleu, rouge_l, meteor):
    with pytest.raises(ValueError, match=text):
      score(hypotheses, references)


def test_cider_needs_a_row_per_hypothesis():
  table = cider_table([['a']], document_frequencies([['a']]))
  with pytest.raises(ValueError, match='there are 2 hypotheses, expected one per row, 1'):
    cider(table, ['a', 'b'], [0])


def test_stripped():
  assert stripped('A man, in a t-shirt no. 12 ("red") _runs_ !') == 'A man in a tshirt no red runs'


def test_diversity():
  captions = ['a dog runs', 'a dog runs', 'a cat sits down', 'one', 'two']
  found = diversity(captions, ['a dog runs', 'a bird'], ['a', 'dog', 'runs', 'cat', 'bird', 'sky'])
  assert found == (4 / 6, 3 / 5, 4, 12 / 5)
  with pytest.raises(ValueError, match='there are 0 captions and 1 words'):
    diversity([], [], ['a'])


def test_meteor_says_why_it_is_not_there(monkeypatch):
  monkeypatch.setattr(meteor_module.shutil, 'which', lambda name: None)
  assert meteor_missing() == 'METEOR needs Java, and there is no program `java`.'
  assert meteor(['a'], [['a']]) is None
  monkeypatch.setattr(meteor_module.shutil, 'which', lambda name: '/usr/bin/java')
  monkeypatch.setattr(meteor_module.importlib.util, 'find_spec', lambda name: None)
  assert 'pip install pycocoevalcap' in meteor_missing()
  assert meteor(['a'], [['a']]) is None


def java_that(monkeypatch, tmp_path, program):
  """Puts a Python program in place of Java."""
  script = tmp_path / 'java'
  script.write_text(f'#!{sys.executable}\n{program}')
  script.chmod(0o755)
  monkeypatch.setattr(meteor_module.shutil, 'which', lambda name: str(script))
  monkeypatch.setattr(meteor_module, 'meteor_jar', lambda: 'meteor-1.5.jar')


def test_what_meteor_is_asked(monkeypatch, tmp_path):
  program = """import sys
for line in sys.stdin:
  parts = line.rstrip('\\n').split(' ||| ')
  if parts[0] == 'SCORE':
    assert parts in (['SCORE', 'a dog', 'one dog', 'a b'], ['SCORE', 'x', 'y']), parts
    print(len(parts), flush=True)
  else:
    print('0.1', '0.2', sum(map(int, parts[1:])) / 10, sep='\\n', flush=True)
"""
  java_that(monkeypatch, tmp_path, program)
  assert meteor(['a ||| b', 'y'], [['a dog', 'one dog'], ['x']]) == pytest.approx(0.7)


@pytest.mark.parametrize('program', ['', 'import time\ntime.sleep(60)'])
def test_a_meteor_that_does_not_answer(monkeypatch, tmp_path, program):
  java_that(monkeypatch, tmp_path, program)
  monkeypatch.setattr(meteor_module, '_TIMEOUT', 1)
  with pytest.raises(InputError, match='ended without a score, or took longer than 1 s'):
    meteor(['a'], [['a']])


@pytest.mark.slow  # it loads a large table of paraphrases
def test_meteor_as_pycocoevalcap():
  if meteor_missing():
    pytest.skip(meteor_missing())
  assert meteor_jar().endswith('meteor-1.5.jar')
  assert meteor(OURS, THEIRS) == pytest.approx(GOLDEN_METEOR, rel=1e-12)


def test_captions_that_share_no_word_with_their_references_score_nothing():
  scores = score_captions(['xx yy', ''], [['a dog runs'], ['two cats']])
  assert scores['cider'] == scores['rouge_l'] == 0.0
