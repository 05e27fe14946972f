"""BLEU against its definition, written out in float64."""

import collections
import logging
import math

import pytest

from rnn_research.metrics.bleu import bleu_by_length, corpus_bleu

HYPOTHESES = (
  'the cat sat on the mat',
  'a dog barks at the small cat',
  'two men ride their bikes in the rain',
)
REFERENCES = (
  'the cat sat on a mat',
  'a dog barks at the small black cat',
  'two men ride bikes in the heavy rain now',
)


def bleu_by_counting(hypotheses, references):
  """Returns BLEU-4 of sentences whose tokens are separated by spaces, without smoothing."""
  matches, totals, sizes = [0] * 4, [0] * 4, [0, 0]
  for pair in zip(hypotheses, references, strict=True):
    words = [sentence.split() for sentence in pair]
    sizes = [size + len(sentence) for size, sentence in zip(sizes, words, strict=True)]
    for n in range(4):
      ours, theirs = (
        collections.Counter(zip(*(w[i:] for i in range(n + 1)), strict=False)) for w in words
      )
      matches[n] += (ours & theirs).total()
      totals[n] += ours.total()
  precisions = [match / total for match, total in zip(matches, totals, strict=True)]
  return 100 * min(1.0, math.exp(1 - sizes[1] / sizes[0])) * math.prod(precisions) ** 0.25


def test_by_hand():
  # 'the' is clipped to 1: words 5/6, pairs 3/5, triples 2/4, fours 1/3; both have 6 words, so nothing is too short.
  by_hand = 100 * (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25
  assert corpus_bleu(HYPOTHESES[:1], REFERENCES[:1]).score == pytest.approx(by_hand, rel=1e-12)


def test_a_corpus_is_no_mean_of_sentences_and_short_ones_are_punished():
  score = corpus_bleu(HYPOTHESES, REFERENCES).score
  assert score == pytest.approx(bleu_by_counting(HYPOTHESES, REFERENCES), rel=1e-12)
  assert corpus_bleu(REFERENCES, HYPOTHESES).score == pytest.approx(
    bleu_by_counting(REFERENCES, HYPOTHESES), rel=1e-12
  )
  assert score != pytest.approx(bleu_by_counting(REFERENCES, HYPOTHESES), rel=1e-2)


def test_case_and_punctuation_count_as_they_are_given():
  assert corpus_bleu(['The cat sat on a mat'], ['the cat sat on a mat']).score < 100
  assert corpus_bleu(['A cat sat, then left.'], ['A cat sat , then left .']).score == pytest.approx(
    100
  )


def test_the_signature_says_how():
  lowered = corpus_bleu(*([text.lower() for text in side] for side in (HYPOTHESES, REFERENCES)))
  without_case = corpus_bleu(HYPOTHESES, REFERENCES, lower=True)
  assert without_case.score == lowered.score and '|case:lc|' in without_case.signature
  signature = corpus_bleu(HYPOTHESES, REFERENCES).signature
  assert signature.startswith('nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.')


def test_sentences_that_look_tokenized_or_empty_raise_no_warning(caplog):
  with caplog.at_level(logging.DEBUG):
    assert corpus_bleu(['a b c d .'] * 200, ['a b c d .'] * 200).score == pytest.approx(100)
    assert corpus_bleu(['', ''], ['a b', 'c']).score == 0
  assert not caplog.records


@pytest.mark.parametrize(
  ('hypotheses', 'references', 'text'),
  [
    (['a'], [], 'there are 1 hypotheses, expected one per reference, 0'),
    ([], [], 'there are no hypotheses'),
  ],
)
def test_counts(hypotheses, references, text):
  with pytest.raises(ValueError, match=text):
    corpus_bleu(hypotheses, references)


def test_groups_of_length():
  groups = bleu_by_length(HYPOTHESES, REFERENCES, [9, 5, 10], [0, 5, 10, 20, 30])
  assert [group[:3] for group in groups] == [(5, 10, 2), (10, 20, 1)]
  wanted = [
    bleu_by_counting(HYPOTHESES[:2], REFERENCES[:2]),
    corpus_bleu(HYPOTHESES[2:], REFERENCES[2:]).score,
  ]
  assert [group.bleu for group in groups] == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(
  ('lengths', 'text'),
  [
    ([4, 6, 9], 'lengths are 4 to 9, expected 5 to 9'),
    ([5, 6, 10], 'lengths are 5 to 10, expected 5 to 9'),
    ([5, 6], 'shorter'),
  ],
)
def test_lengths_outside_all_groups(lengths, text):
  with pytest.raises(ValueError, match=text):
    bleu_by_length(HYPOTHESES, REFERENCES, lengths, [5, 7, 10])


def test_no_sentences_make_no_groups():
  assert bleu_by_length([], [], [], [0, 10]) == []
