"""METEOR, which only its authors' Java program computes."""

import contextlib
import importlib.util
import os
import shutil
import subprocess
import threading
from collections.abc import Sequence

from rnn_research.errors import InputError
from rnn_research.metrics.captions.sentences import require_pairs

_TIMEOUT = 600  # seconds


def meteor(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float | None:
  """Returns METEOR of a corpus, 0 to 1; None where `meteor_missing` says why.

  Args:
    hypotheses: N captions, tokens separated by spaces.
    references: N lists of such captions.

  Raises:
    ValueError: the counts differ, there are no captions, or one has no references.
    InputError: the program ends without a score, or takes longer than ten minutes.

  Source: Denkowski and Lavie 2014, METEOR 1.5 for English, normalizing, as pycocoevalcap calls it.
  Deviates from the paper: nothing.
  """
  require_pairs(hypotheses, references)
  jar, java = meteor_jar(), shutil.which('java')
  if not jar or not java:
    return None
  # Numbers with a decimal point and texts in UTF-8, whatever the user's language.
  options = ['-Xmx2G', '-Duser.language=en', '-Dfile.encoding=UTF-8']
  with subprocess.Popen(
    [java, *options, '-jar', jar, '-', '-', '-stdio', '-l', 'en', '-norm'],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    stderr=subprocess.DEVNULL,
    encoding='utf-8',
  ) as process:
    timer = threading.Timer(_TIMEOUT, process.kill)
    timer.start()
    try:
      return _ask(process, hypotheses, references)
    except (BrokenPipeError, ValueError) as e:
      raise InputError(
        f'{jar} ended without a score, or took longer than {_TIMEOUT} s; run it by hand to see why'
      ) from e
    finally:
      timer.cancel()
      process.kill()
      with contextlib.suppress(BrokenPipeError):  # of what it has not read
        process.stdin.close()  # type: ignore[union-attr]


def meteor_missing() -> str:
  """Returns why there is no METEOR here, in one sentence, or ''."""
  if not shutil.which('java'):
    return 'METEOR needs Java, and there is no program `java`.'
  if not meteor_jar():
    return 'METEOR needs meteor-1.5.jar, which comes with `pip install pycocoevalcap`.'
  return ''


def meteor_jar() -> str:
  """Returns the path of meteor-1.5.jar in the package pycocoevalcap, or ''."""
  package = importlib.util.find_spec('pycocoevalcap')
  for folder in (package and package.submodule_search_locations) or ():
    jar = os.path.join(folder, 'meteor', 'meteor-1.5.jar')
    if os.path.isfile(jar):
      return jar
  return ''


def _ask(process, hypotheses, references):
  """Returns the score of the corpus; raises ValueError where an answer is no number."""

  def answer(question):
    process.stdin.write(f'{question}\n')
    process.stdin.flush()
    return process.stdout.readline().strip()

  lines = ([*others, hypothesis] for hypothesis, others in zip(hypotheses, references, strict=True))
  statistics = [answer(' ||| '.join(['SCORE', *map(_clean, line)])) for line in lines]
  scores = [answer(' ||| '.join(['EVAL', *statistics]))]
  scores += [process.stdout.readline().strip() for _ in hypotheses]
  return float(scores[-1])  # after one per caption


def _clean(sentence):
  return ' '.join(sentence.replace('|||', ' ').split())
